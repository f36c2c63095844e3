"""What is shipped: its sources are named, its pairs are whole."""

from __future__ import annotations

from pathlib import Path

import pyrnn.corpora
from pyrnn.corpora import BIBLE, bible, bible_path, shakespeare_path, text_path
from pyrnn.text import split_pairs

FOLDER = Path(pyrnn.corpora.__file__).parent


def test_every_file_has_its_source() -> None:
    told = (FOLDER / "SOURCES.md").read_text(encoding="utf-8")
    shipped = {path.name for path in FOLDER.glob("*.gz")}
    assert shipped == {bible_path().name, shakespeare_path().name}
    assert all(f"| {name} |" in told for name in shipped)


def test_the_verses_are_pairs_of_few_words() -> None:
    pairs = bible()
    assert len(pairs) == len(set(pairs)) == 11_004
    assert max(len(side.split()) for pair in pairs for side in pair) == 20
    assert "¿" in "".join(pair.target for pair in pairs)
    assert "¿" not in "".join(pair.source for pair in pairs)


def test_the_held_out_verses_stay_the_same() -> None:
    train, validation, test = split_pairs(bible())
    assert (len(train), len(validation), len(test)) == (10_004, 500, 500)
    assert test[0].source == (
        "And when he was come into Jerusalem, all the city was moved, saying, Who is this?"
    )


def test_texts_have_names() -> None:
    assert text_path(BIBLE) == bible_path()
    assert text_path(Path(BIBLE)) == Path(BIBLE)
