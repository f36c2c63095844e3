"""The language-model benchmark: both sides train the same model, and the page shows what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyrnn.bench import language_model, record
from pyrnn.bench.language_model_table import main, table
from pyrnn.bench.speed import TransformerOfTorch

ROW: dict[str, Any] = {
    "task": "word",
    "cell": "gru",
    "seed": 1,
    "threads": 2,
    "parameters": 1234567,
    "background_load": 0.01,
    "processor": "Some CPU",
    "torch": "2.13.0",
    "commit": "abc",
    "date": "2026-01-02T03:04:05",
    "speed": {"layers": {"pyrnn": 300, "torch": 100}, "step": {"pyrnn": 2000, "torch": 1000}},
    "memory_mib": {"pyrnn": 10.4, "torch": 20.0},
    "training": {"pyrnn": {"validation_loss": 5.0, "seconds": 61.5, "background_load": 0.02}},
}


@pytest.mark.parametrize("task", [*language_model.TASKS])
def test_cells_have_about_the_same_parameters(task: str) -> None:
    jobs = [language_model.job_of(task, cell, seed=1)[0] for cell in language_model.CELLS]
    counts = [sum(p.numel() for p in language_model.LanguageModel(job.model).parameters()) for job in jobs]
    if task in ("word", "word-without-dropout"):
        assert max(counts) < 1.07 * min(counts)
    sizes = {"character": 66, "character-large": 66, "word-large": language_model.LARGE_VOCABULARY}
    assert {job.model.vocabulary_size for job in jobs} == {sizes.get(task, 10_000)}


def test_memory_is_measured() -> None:
    assert language_model.measure_memory("character", "lstm", "pyrnn", threads=1) > 10


def test_torch_s_transformer_has_the_weights_of_ours() -> None:
    job, ids = language_model.job_of("character", "transformer", seed=1)
    ours, theirs = language_model.LanguageModel(job.model), TransformerOfTorch(job.model)
    ours.load_state_dict(theirs.state_dict())
    assert ids.max() < theirs(ids[:5].unsqueeze(1))[0].shape[2]
    with pytest.raises(SystemExit, match="on the task 'character' alone"):
        language_model.job_of("word", "transformer", seed=1)


def test_the_table_shows_a_transformer() -> None:
    row = {
        **ROW,
        "cell": "transformer",
        "speed": {"step": ROW["speed"]["step"]},
        "memory_mib": {"pyrnn": 9.0},
    }
    line = table([row]).splitlines()[-1]
    assert line.startswith("| word, TRANSFORMER | 1,234,567 | 2,000 | 1,000 | 2.00x |  | 9 |  |")


def test_the_table_shows_the_row() -> None:
    line = table([ROW]).splitlines()[-1]
    speed, training = "2,000 | 1,000 | 2.00x | 3.00x | 10 | 20", "5.0000 (148.4) | 62 s | "
    assert line == f"| word, GRU | 1,234,567 | {speed} | {training} |"


def test_busy_times_are_not_shown_and_losses_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    page, path = tmp_path / "page.md", tmp_path / "language_model-x.jsonl"
    page.write_text("<!-- bench:language-model -->\n<!-- /bench -->\n")
    record.append(
        path,
        {
            **ROW,
            "background_load": 0.4,
            "training": {"pyrnn": {**ROW["training"]["pyrnn"], "background_load": None}},
        },
    )
    main(page)
    busy = " | ".join(["busy"] * 4)
    assert f"| word, GRU | 1,234,567 | {busy} | 10 | 20 | 5.0000 (148.4) | busy |  |" in page.read_text()
    record.append(path, {key: value for key, value in ROW.items() if key != "training"})
    main(page)
    speed = "2,000 | 1,000 | 2.00x | 3.00x"
    assert f"| word, GRU | 1,234,567 | {speed} | 10 | 20 | 5.0000 (148.4) | busy |  |" in page.read_text()


def test_the_page_gets_the_newest_row_of_each_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("<!-- bench:language-model -->\n<!-- /bench -->\n")
    path = tmp_path / "language_model-x.jsonl"
    for row in (ROW, {**ROW, "parameters": 7}, {**ROW, "cell": "rnn"}):
        record.append(path, row)
    main(page)
    assert "| word, GRU | 7 |" in page.read_text()
    assert "| word, RNN | 1,234,567 |" in page.read_text()
    assert "| word, GRU | 1,234,567 |" not in page.read_text()
