"""Conditional language models from labelled texts in a file to new ones of a label."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.search import SamplingConfig, SearchConfig
from pyrnn.tasks import draw_texts, evaluate, load_run, make_job, search_texts
from pyrnn.tasks.conditional import ConditionalRun
from pyrnn.train import train

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "embedding_size": 8,
    "num_heads": 2,
    "batch_size": 16,
    "dropout": 0.0,
}


def names(path: Path) -> Path:
    """Of North some letters, of South others; only the label tells which come first."""
    rows = [
        f"{label}\t{a}{b}{a}\n"
        for label, letters in (("North", "abcde"), ("South", "uvwxy"))
        for a in letters
        for b in letters
    ]
    path.write_text("".join(rows))
    return path


def small_run(folder: Path, **settings: Any) -> ConditionalRun:
    given = {"text": str(names(folder / "names.tsv")), "epochs": 40, **SMALL, **settings}
    run = train(make_job("conditional-language-model", given), folder / "run")
    assert isinstance(run, ConditionalRun)
    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ConditionalRun:
    return small_run(tmp_path_factory.mktemp("conditional"), architecture="gru")


@pytest.mark.parametrize("architecture", ["lstm", "transformer"])
def test_the_label_decides_what_is_written(architecture: str, tmp_path: Path) -> None:
    run = small_run(tmp_path, architecture=architecture, learning_rate=0.01)
    labels = ["North"] * 20 + ["South"] * 20
    drawn = draw_texts(run, labels, SamplingConfig(temperature=0.5, max_tokens=9))
    right = [
        set(text) <= set("abcde" if label == "North" else "uvwxy")
        for label, text in zip(labels, drawn, strict=True)
    ]
    assert sum(right) >= 38
    turned = tmp_path / "turned.tsv"
    turned.write_text("North\tuvu\nSouth\taba\n")
    (tmp_path / "right.tsv").write_text("South\tuvu\nNorth\taba\n")
    assert evaluate(run, turned)["loss"] > evaluate(run, tmp_path / "right.tsv")["loss"] + 1


def test_a_run_that_is_read_again_writes_the_same(tmp_path: Path) -> None:
    run = small_run(tmp_path, architecture="gru", epochs=2)
    config = SamplingConfig(temperature=0.8, max_tokens=6)
    first = draw_texts(run, ["North", "South"], config, prompts=["a", ""], seed=3)
    again = load_run(tmp_path / "run")
    assert draw_texts(again, ["North", "South"], config, prompts=["a", ""], seed=3) == first


def test_the_likeliest_texts_are_found(trained: ConditionalRun) -> None:
    (north,), (south,) = search_texts(trained, ["North", "South"], SearchConfig(beam_width=4, max_tokens=9))
    assert set(north.text) <= set("abcde")
    assert set(south.text) <= set("uvwxy")
    assert north.finished
    assert south.finished
    with torch.no_grad():
        ids = trained.tokenizer.encode(f"{north.text}\n")
        read = torch.cat([ids[-1:], ids[:-1]]).unsqueeze(1)
        label = torch.tensor([trained.labels.labels.index("North")])
        total, _ = trained.model(read, condition=label, targets=ids.unsqueeze(1))
    assert north.log_probability == pytest.approx(-total.item(), abs=1e-4)


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        (["East"], {}, "no example that was trained on has the label 'East'; known are 'North', 'South'"),
        ([], {}, "at least one label and a prompt for each"),
        (["North"], {"prompts": ["a", "b"]}, "got 1 labels and 2 prompts"),
        (["North"], {"config": SamplingConfig(max_tokens=1)}, "min_tokens must be at most max_tokens"),
    ],
)
def test_what_cannot_be_written_is_said(
    labels: list[str], options: dict[str, Any], words: str, trained: ConditionalRun
) -> None:
    with pytest.raises(ValueError, match=words):
        draw_texts(trained, labels, **options)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"text": ""}, "name their file with text"),
        ({"architecture": "feedforward"}, "forgets what stands before its window"),
    ],
)
def test_what_cannot_be_trained_is_said(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        small_run(tmp_path, epochs=1, **settings)


def test_other_labels_than_the_model_has_are_damage(tmp_path: Path) -> None:
    small_run(tmp_path, epochs=1)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    (tmp_path / "copy" / "labels.json").write_text('{"labels": ["a", "b", "c"], "mean": [], "deviation": []}')
    with pytest.raises(ValueError, match=r"config\.json says"):
        load_run(tmp_path / "copy")
