"""Phrases that translations must contain or may not, at every level of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyrnn.tasks import TranslateConfig, Untranslated, make_job, translate, try_translate
from pyrnn.tasks.translation import TranslationRun
from pyrnn.train import train
from tests.tasks.test_translation import SMALL

WORDS = {"one": "uno", "two": "dos", "three": "tres", "red house": "casa roja", "dog": "perro"}


def run_of(folder: Path, **settings: Any) -> TranslationRun:
    file = folder / "pairs.tsv"
    file.write_text("".join(f"{a} {b}\t{WORDS[a]} {WORDS[b]}\n" for a in WORDS for b in WORDS) * 16)
    settings = {**SMALL, "validation_pairs": str(file), "epochs": 8, "learning_rate": 0.02, **settings}
    run = train(make_job("translation", {"pairs": str(file), **settings}), folder / "run")
    assert isinstance(run, TranslationRun)
    return run


def texts_of(run: TranslationRun, sentences: list[str], **options: Any) -> list[str]:
    return [found[0].text for found in translate(run, sentences, **options)]


@pytest.mark.parametrize("level", ["character", "word", "subword"])
def test_phrases_are_required_and_forbidden(level: str, tmp_path: Path) -> None:
    more = {"max_vocabulary": 300} if level == "subword" else {}
    run = run_of(tmp_path, level=level, **more)
    plain = texts_of(run, ["one two", "dog one", "two dog"])
    required = [["casa roja", "roja dos"], [], ["uno"]]
    found = texts_of(run, ["one two", "dog one", "two dog"], required=required)
    assert all(phrase in text for text, phrases in zip(found, required, strict=True) for phrase in phrases)
    assert "casa roja dos" in found[0]
    assert found[0] != plain[0]
    assert found[1] == plain[1]
    assert plain[0].startswith("uno")
    assert "dos perro" in plain[2]
    # At the beginning of a sentence and inside one.
    for text in texts_of(run, ["one two", "two dog"], forbidden=["uno", "dos perro"]):
        assert "uno" not in text
        assert "dos perro" not in text


def test_phrases_that_cannot_be(tmp_path: Path) -> None:
    run = run_of(tmp_path, level="word", epochs=1)
    for required, words in (
        ([["gato"]], "does not know all of the phrase 'gato'"),
        ([[" "]], "a phrase must have some text"),
        ([["uno", "dos"], []], "required phrases for each of 1 sentences, got 2"),
        ([["uno " * 50]], "its output may have 28"),
    ):
        with pytest.raises(ValueError, match=words):
            translate(run, ["one two three"], required=required)
    long = [" uno" * 50]
    first, good, last = try_translate(run, ["one two", "two", "dog one"], required=[long, [], long])
    assert isinstance(first, Untranslated)
    assert isinstance(last, Untranslated)
    assert "its output may have 26" in first.problem
    assert isinstance(good, list)
    assert good[0].text == texts_of(run, ["two"])[0]
    words = "'casa roja' is required and has 'roja', which is forbidden: leave one of them out"
    with pytest.raises(ValueError, match=words):
        translate(run, ["one"], required=[["casa roja"]], forbidden=["roja"])
    # By the length of the source.
    config = TranslateConfig(max_tokens=0, max_tokens_per_source=0.4)
    none, some = try_translate(run, ["one", "two dog"], config)
    assert isinstance(none, Untranslated)
    assert "at least one token" in none.problem
    assert isinstance(some, list)
    with pytest.raises(ValueError, match="sentence 1: an empty sentence is translated by nothing"):
        translate(run, [" "], required=[["uno"]])
    for options in ({"required": [["gato"]]}, {"forbidden": ["gato"]}):
        with pytest.raises(ValueError, match=r"'gato': where words .* neither required nor forbidden"):
            translate(run, ["one"], unknown="replace", **options)  # type: ignore[arg-type]
    for options in ({"required": ["uno"]}, {"forbidden": "uno"}):
        with pytest.raises(TypeError, match="list of phrases, got one string, 'uno'; put it in a list"):
            translate(run, ["one"], **options)  # type: ignore[arg-type]
