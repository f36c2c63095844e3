"""Models whose numbers are not finite: refused by every command, and never in a JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from pyrnn._files import to_json
from pyrnn.tasks import load_run
from pyrnn.tasks.tagger import TaggedRun, tag_sentences
from pyrnn.train.metrics_file import read_metrics, write_metrics
from tests.cli.conftest import Command
from tests.tasks.test_tagger import sentences, write


def spoil(run: Path) -> Path:
    """Weights that are finite, and whose products are not."""
    weights = load_file(run / "model.safetensors")
    save_file({name: tensor.fill_(3e38) for name, tensor in weights.items()}, run / "model.safetensors")
    return run


def test_a_diverged_language_model_is_refused(trained: Path, command: Command, tmp_path: Path) -> None:
    run = spoil(Path(shutil.copytree(trained, tmp_path / "run")))
    for line, stdin in (
        (f"evaluate {run} --text shakespeare", ""),
        (f"evaluate {run} --text shakespeare --json", ""),
        (f"score {run}", "to be\n"),
        (f"generate {run}", ""),
    ):
        code, out, err = command(line, stdin=stdin)
        assert (code, out) == (2, ""), line
        assert "damaged; did training diverge?" in err


def test_a_diverged_tagger_is_refused(command: Command, tmp_path: Path) -> None:
    text, run = write(tmp_path / "text.tsv", sentences(50)), tmp_path / "run"
    code, _, err = command(
        f"train tagger {run} --text {text} --max-steps 1 --hidden-size 4 --embedding-size 2"
    )
    assert code == 0, err
    spoil(run)
    loaded = load_run(run)
    assert isinstance(loaded, TaggedRun)
    with pytest.raises(ValueError, match="did training diverge"):
        tag_sentences(loaded, [["1"]])
    code, out, err = command(f"evaluate {run} --text {text}")
    assert (code, out, "did training diverge" in err) == (2, "", True)


def test_json_has_null_for_what_is_not_finite(tmp_path: Path) -> None:
    row = {"step": 1, "loss": 2.0, "grad_norm": float("inf"), "more": [float("nan"), {"a": -float("inf")}]}
    expected = {"step": 1, "loss": 2.0, "grad_norm": None, "more": [None, {"a": None}]}
    assert json.loads(to_json(row)) == expected
    write_metrics(tmp_path / "metrics.jsonl", [row])
    assert read_metrics(tmp_path / "metrics.jsonl") == [expected]
