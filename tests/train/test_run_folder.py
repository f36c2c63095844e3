import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.models import LanguageModel, LanguageModelConfig, sample_text
from pyrnn.text import Vocabulary
from pyrnn.train import EpochMetrics, Run, TrainConfig, load_run, save_run

FILES = {"config.json", "vocab.json", "model.safetensors", "metrics.jsonl"}


def _run(**changes: Any) -> Run:
    torch.manual_seed(0)
    vocabulary = Vocabulary.from_text('naïve "text"\n')
    sizes: dict[str, Any] = {"embedding_size": 8, "hidden_size": 8, **changes}
    model = LanguageModel(LanguageModelConfig(len(vocabulary), **sizes))
    history = [EpochMetrics(1, 2.5, 2.25, 100, 0.5), EpochMetrics(2, 2.0, 1.75, 100, 0.5)]
    return Run(model, vocabulary, TrainConfig(epochs=2, betas=(0.8, 0.95)), history)


@pytest.mark.parametrize("changes", [{}, {"tied": True}, {"cell": "gru", "num_layers": 1}])
def test_a_run_survives_the_round_trip(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = _run(**changes)
    save_run(tmp_path / "new" / "run", run)
    loaded = load_run(tmp_path / "new" / "run")
    assert {path.name for path in (tmp_path / "new" / "run").iterdir()} == FILES
    assert (loaded.vocabulary, loaded.train_config, loaded.history) == (
        run.vocabulary,
        run.train_config,
        run.history,
    )
    assert loaded.model.config == run.model.config
    assert sample_text(loaded.model, loaded.vocabulary, "na", 40) == sample_text(
        run.model, run.vocabulary, "na", 40
    )


def test_tied_weights_are_still_one_parameter_after_loading(tmp_path: Path) -> None:
    save_run(tmp_path, _run(tied=True))
    model = load_run(tmp_path).model
    assert model.projection.weight is model.embedding.weight


def test_a_run_can_be_read_onto_torch_layers(tmp_path: Path) -> None:
    save_run(tmp_path, _run())
    assert isinstance(load_run(tmp_path, backend="torch").model.recurrent, torch.nn.LSTM)


def test_a_failed_write_leaves_the_earlier_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_run(tmp_path, _run())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(_: object, path: str) -> None:
        Path(path).write_bytes(b"half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr("pyrnn.train.run_folder.save_model", fail)
    with pytest.raises(OSError, match="no space left"):
        save_run(tmp_path, _run())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    save_run(tmp_path, _run())
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_run(tmp_path)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    save_run(tmp_path, _run())
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=str(tmp_path)):
        load_run(tmp_path)


def test_a_vocabulary_of_another_size_is_refused(tmp_path: Path) -> None:
    save_run(tmp_path, _run())
    (tmp_path / "vocab.json").write_text('["a", "b"]')
    with pytest.raises(ValueError, match=r"vocab\.json has 2 symbols, config.json says 10"):
        load_run(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    save_run(tmp_path, _run())
    config = json.loads((tmp_path / "config.json").read_text())
    config["model"]["hidden_size"] = 16
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"does not fit config\.json"):
        load_run(tmp_path)
