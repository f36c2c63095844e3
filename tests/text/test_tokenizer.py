import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.corpora import shakespeare
from pyrnn.text import LEVELS, Level, Tokenizer, Vocabulary, VocabularyTokenizer, train_tokenizer

ROOT = Path(__file__).resolve().parents[2]
TEXT = st.text(
    st.one_of(st.sampled_from("aab1'-<unk>.,(! \t\n\né\u0301�"), st.characters(exclude_categories=["Cs"]))
)
PLAYS = shakespeare()
SIZES: list[tuple[Level, int | None]] = [
    ("character", None),
    ("character", 40),
    ("word", None),
    ("word", 300),
    ("subword", 300),
]
NAMES = [f"{level} {size}" for level, size in SIZES]
TOKENIZERS = [train_tokenizer(lambda: [PLAYS[:50_000]], level=level, max_size=size) for level, size in SIZES]
EACH = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=NAMES)
#: Those that encode any text.
OPEN = pytest.mark.parametrize("tokenizer", TOKENIZERS[1:], ids=NAMES[1:])


def _with_all(text: str, level: Level) -> Tokenizer:
    """A tokenizer whose vocabulary holds all of the text."""
    return train_tokenizer(lambda: [text, " a b"], level=level)


# ---- there and back ------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["character", "subword"])
@given(text=TEXT)
def test_decoding_undoes_encoding(level: Level, text: str) -> None:
    tokenizer = _with_all(text, level)
    ids = tokenizer.encode(text)
    assert ids.dtype == torch.int64
    assert tokenizer.decode(ids) == text
    assert "".join(tokenizer.decode_stream(ids.tolist())) == text


@OPEN
@given(text=TEXT)
def test_decoded_text_is_stable(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert torch.equal(tokenizer.encode(tokenizer.decode(ids)), ids)


@EACH
def test_real_text_there_and_back(tokenizer: Tokenizer) -> None:
    text = PLAYS[40_000:60_000]
    ids = tokenizer.encode(text)
    assert int(ids.min()) >= 0
    assert int(ids.max()) < len(tokenizer)
    decoded = tokenizer.decode(ids)
    assert torch.equal(tokenizer.encode(decoded), ids)
    if tokenizer.level != "word" and tokenizer.unk_id is None:
        assert decoded == text


@EACH
@given(chunks=st.lists(TEXT))
def test_chunks_together_are_the_whole(tokenizer: Tokenizer, chunks: list[str]) -> None:
    if tokenizer.level == "character" and tokenizer.unk_id is None:
        tokenizer = _with_all("".join(chunks), "character")
    encoded = [torch.empty(0, dtype=torch.int64), *tokenizer.encode_chunks(chunks)]
    assert torch.equal(torch.cat(encoded), tokenizer.encode("".join(chunks)))


@EACH
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_chunks_of_real_text_together_are_the_whole(tokenizer: Tokenizer, size: int) -> None:
    text = PLAYS[:5000]
    chunks = (text[i : i + size] for i in range(0, len(text), size))
    assert torch.equal(torch.cat(list(tokenizer.encode_chunks(chunks))), tokenizer.encode(text))


@EACH
def test_ids_outside_the_vocabulary_are_refused(tokenizer: Tokenizer) -> None:
    for id in (-1, len(tokenizer)):
        with pytest.raises(ValueError, match=rf"must lie in \[0, {len(tokenizer)}\), got {id}"):
            tokenizer.decode([0, id])
        with pytest.raises(ValueError, match="must lie in"):
            tokenizer.token(id)


@EACH
def test_no_text_has_no_ids_and_no_ids_no_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.decode([]) == tokenizer.decode(torch.empty(0, dtype=torch.int64)) == ""
    assert list(tokenizer.encode_chunks([""])) == []


# ---- special tokens -----------------------------------------------------------------------------


def test_characters_have_a_line_end_when_the_text_has_one() -> None:
    with_lines, without = _with_all("ab\n", "character"), _with_all("ab", "character")
    assert with_lines.eos_id is not None
    assert with_lines.token(with_lines.eos_id) == "\n"
    assert without.eos_id is None


def test_characters_always_have_unk() -> None:
    for cut in ({}, {"max_size": 2 + 1, "min_count": 2}, {"min_count": 2}):
        tokenizer = train_tokenizer(lambda: ["aaabbc"], level="character", **cut)
        assert tokenizer.unk_id == 0
        assert tokenizer.token(0) == "<unk>"
        assert tokenizer.decode(tokenizer.encode("abcd")) == ("ab��" if cut else "abc�")


def test_a_rare_line_end_is_kept() -> None:
    tokenizer = train_tokenizer(lambda: ["aabb\n"], level="character", min_count=2)
    assert tokenizer.decode(tokenizer.encode("a\nb")) == "a\nb"


def test_a_character_that_was_cut_off_takes_the_place_of_another() -> None:
    tokenizer = train_tokenizer(lambda: ["aaabbcd"], level="character", max_size=3)
    assert [tokenizer.token(i) for i in range(len(tokenizer))] == ["<unk>", "a", "b"]


def test_unknown_characters_are_named_where_there_is_no_unk() -> None:
    with pytest.raises(ValueError, match="1 tokens are not in the vocabulary: 'x'"):
        VocabularyTokenizer("character", Vocabulary("ab")).encode("axb")


def test_words_always_have_unk_and_eos() -> None:
    tokenizer = _with_all("to be ,", "word")
    assert (tokenizer.unk_id, tokenizer.eos_id) == (0, 1)
    ids = tokenizer.encode(" \n to  see,\r\n \r\nbe !")
    assert ids.tolist().count(1) == 2
    assert tokenizer.decode(ids) == "\nto <unk>,\nbe <unk>"


def test_words_are_numbered_by_how_often_they_occur() -> None:
    tokenizer = train_tokenizer(lambda: [PLAYS], level="word")
    ids = tokenizer.encode(PLAYS)
    counts = ids.bincount(minlength=len(tokenizer))
    assert counts[0] == 0
    assert bool((counts[2:].diff() <= 0).all())
    assert [tokenizer.token(i) for i in range(3)] == ["<unk>", "<eos>", ","]


# ---- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@given(chunks=st.lists(TEXT, max_size=5))
def test_cuts_do_not_change_what_is_learned(level: Level, chunks: list[str]) -> None:
    whole = ["to be\n" + "".join(chunks)]
    assert train_tokenizer(lambda: whole, level=level, max_size=280) == train_tokenizer(
        lambda: ["to ", "be", "\n", *chunks], level=level, max_size=280
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("chunks", [[], ["", ""]])
def test_an_empty_text_is_refused(level: Level, chunks: list[str]) -> None:
    with pytest.raises(ValueError, match="the text is empty"):
        train_tokenizer(lambda: chunks, level=level)


@pytest.mark.parametrize(
    ("level", "text"), [("character", "aaa"), ("word", "a a  a"), ("word", "\n\n"), ("subword", "aaa")]
)
def test_a_text_of_one_token_is_refused(level: Level, text: str) -> None:
    with pytest.raises(ValueError, match=r"only one distinct (character|word)"):
        train_tokenizer(lambda: [text], level=level)


def test_white_space_is_no_words() -> None:
    with pytest.raises(ValueError, match="the text is empty: there are no words"):
        train_tokenizer(lambda: ["  ", "\t"], level="word")


@pytest.mark.parametrize(
    ("level", "size", "smallest"),
    [("character", 3, "4 .two tokens, '<unk>' and '.n'."), ("word", 3, "4"), ("subword", 256, "257")],
)
def test_a_size_too_small_is_refused(level: Level, size: int, smallest: str) -> None:
    with pytest.raises(ValueError, match=f"max_size must be at least {smallest}.*, got {size}"):
        train_tokenizer(lambda: ["to be or not to be\n"], level=level, max_size=size)


@pytest.mark.parametrize("level", LEVELS)
def test_the_size_is_kept(level: Level) -> None:
    for size in (4, 5, 30) if level != "subword" else (257, 258, 300):
        assert len(train_tokenizer(lambda: [PLAYS[:20_000]], level=level, max_size=size)) == size


@pytest.mark.parametrize("level", LEVELS)
def test_a_min_count_below_one_is_refused(level: Level) -> None:
    with pytest.raises(ValueError, match="min_count must be at least 1, got 0"):
        train_tokenizer(lambda: ["to be"], level=level, min_count=0)


@pytest.mark.parametrize("level", ["character", "word"])
def test_a_min_count_that_leaves_nothing_is_refused(level: Level) -> None:
    with pytest.raises(ValueError, match="no token occurs 9 times"):
        train_tokenizer(lambda: ["to be\n"], level=level, min_count=9)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="level must be one of character, word, subword, got 'byte'"):
        train_tokenizer(lambda: ["to be"], level="byte")  # type: ignore[arg-type]


def test_half_a_surrogate_pair_is_refused() -> None:
    for level in LEVELS:
        with pytest.raises(ValueError, match=r"must be valid Unicode, got '\\ud800'"):
            train_tokenizer(lambda: ["to be \ud800"], level=level)


DIGEST = """
import hashlib, json
from pyrnn.corpora import shakespeare
from pyrnn.text import LEVELS, train_tokenizer
found = [train_tokenizer(lambda: [shakespeare()[:99_999]], level=level, max_size=400) for level in LEVELS]
print(hashlib.sha256(json.dumps([tokenizer.to_json() for tokenizer in found]).encode()).hexdigest())
"""


def test_another_process_learns_the_same() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "RAYON_NUM_THREADS": "3"}
    other = subprocess.run(
        [sys.executable, "-c", DIGEST],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = [
        train_tokenizer(lambda: [PLAYS[:99_999]], level=level, max_size=400).to_json() for level in LEVELS
    ]
    assert other.stdout.strip() == hashlib.sha256(json.dumps(found).encode()).hexdigest()


# ---- as JSON -------------------------------------------------------------------------------------


@EACH
def test_a_saved_tokenizer_is_loaded_as_it_was(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    tokenizer.save(path)
    loaded = Tokenizer.load(path)
    assert loaded == tokenizer
    assert hash(loaded) == hash(tokenizer)
    assert (type(loaded), loaded.level, len(loaded)) == (type(tokenizer), tokenizer.level, len(tokenizer))
    assert (loaded.unk_id, loaded.eos_id) == (tokenizer.unk_id, tokenizer.eos_id)
    assert torch.equal(loaded.encode(PLAYS[:999]), tokenizer.encode(PLAYS[:999]))


@pytest.mark.parametrize("level", LEVELS)
@given(text=TEXT)
def test_json_holds_all_of_a_tokenizer(level: Level, text: str) -> None:
    tokenizer = _with_all(text, level)
    assert Tokenizer.from_json(json.loads(json.dumps(tokenizer.to_json()))) == tokenizer


def test_equality_is_by_content() -> None:
    for i, one in enumerate(TOKENIZERS):
        for j, other in enumerate(TOKENIZERS):
            assert (one == other) == (i == j)
    characters = Vocabulary(["<unk>", "<eos>", "a"], unk="<unk>", eos="<eos>")
    assert VocabularyTokenizer("word", characters) != characters


CHARACTERS = {"level": "character", "unk": None, "eos": None, "tokens": ["a", "b"]}
WORDS = {"level": "word", "unk": "<unk>", "eos": "<eos>", "tokens": ["<unk>", "<eos>", "to"]}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (None, "described by a table, got NoneType"),
        ([CHARACTERS], "described by a table, got list"),
        ({}, "level must be one of character, word, subword, got None"),
        ({**CHARACTERS, "level": "byte"}, "level must be one of"),
        ({**CHARACTERS, "level": ["word"]}, "level must be one of"),
        (
            {"level": "character", "tokens": ["a", "b"]},
            "described by level, unk, eos, tokens, got level, t",
        ),
        ({**CHARACTERS, "merges": []}, "described by level, unk, eos, tokens, got .*merges"),
        ({**CHARACTERS, "tokens": "ab"}, "tokens must be a list of strings"),
        ({**CHARACTERS, "tokens": ["a", 1]}, "tokens must be a list of strings"),
        ({**CHARACTERS, "tokens": []}, "at least one token"),
        ({**CHARACTERS, "tokens": ["a", "b", "a"]}, "'a' more than once"),
        ({**CHARACTERS, "tokens": ["a", ""]}, "empty string"),
        ({**CHARACTERS, "tokens": ["a", "\ud800"]}, "valid Unicode"),
        ({**CHARACTERS, "tokens": ["a", "bc"]}, "single characters, got 'bc'"),
        ({**CHARACTERS, "unk": "a"}, "unk at level character must not be a character"),
        ({**CHARACTERS, "eos": "x"}, "eos must be one of the tokens, got 'x'"),
        ({**CHARACTERS, "eos": "<eos>", "tokens": ["a", "<eos>"]}, "eos at level character must be a char"),
        ({**CHARACTERS, "unk": 0}, "unk must be a string or null, got 0"),
        ({**CHARACTERS, "eos": ["b"]}, "eos must be a string or null"),
        ({**WORDS, "unk": None}, "level word needs unk '<unk>' and eos '<eos>', got None and '<eos>'"),
        ({**WORDS, "tokens": ["<unk>", "<eos>", "to be"]}, "must not hold white space, got 'to be'"),
        ({**WORDS, "tokens": ["<unk>", "<eos>", "\n"]}, "must not hold white space"),
    ],
)
def test_hostile_descriptions_are_refused(values: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        Tokenizer.from_json(values)
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"vocab.json: .*{words}"):
        Tokenizer.load(path)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
)


@given(
    st.fixed_dictionaries(
        {"level": st.one_of(st.sampled_from(LEVELS), JSON)},
        optional={
            "unk": st.one_of(st.just("<unk>"), JSON),
            "eos": st.one_of(st.just("<eos>"), JSON),
            "tokens": st.one_of(st.lists(st.text()), JSON),
            "merges": st.one_of(st.lists(st.text("ab ")), JSON),
        },
    )
)
def test_any_description_gives_a_tokenizer_or_an_error_in_words(values: Any) -> None:
    try:
        tokenizer = Tokenizer.from_json(values)
    except ValueError:
        return
    assert Tokenizer.from_json(tokenizer.to_json()) == tokenizer


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(ValueError, match=r"vocab\.json is not valid JSON"):
        Tokenizer.load(tmp_path / "vocab.json")
    with pytest.raises(FileNotFoundError):
        Tokenizer.load(tmp_path / "nowhere.json")


def test_only_characters_and_words_have_a_vocabulary() -> None:
    with pytest.raises(ValueError, match="level must be character or word, got 'subword'"):
        VocabularyTokenizer("subword", Vocabulary("ab"))  # type: ignore[arg-type]
