import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.data import shakespeare
from pyrnn.text import Vocabulary


@given(st.text(min_size=2).filter(lambda text: len(set(text)) > 1))
def test_decoding_undoes_encoding(text: str) -> None:
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == torch.int64
    assert set(ids.tolist()) == set(range(len(vocabulary)))
    assert vocabulary.decode(ids) == text


def test_ids_follow_code_points_whatever_the_order_of_the_text() -> None:
    assert Vocabulary.from_text("cab").symbols == ("a", "b", "c")
    assert Vocabulary.from_text("bca") == Vocabulary.from_text("cab")


def test_symbols_may_be_longer_than_a_character() -> None:
    vocabulary = Vocabulary(["to", " ", "be"])
    assert vocabulary.encode(["be", " ", "to"]).tolist() == [2, 1, 0]
    assert vocabulary.decode([0, 1, 2]) == "to be"


def test_shakespeare_is_whole() -> None:
    text = shakespeare()
    assert (len(text), len(Vocabulary.from_text(text))) == (839_045, 65)
    assert text.startswith("Hamlet")


def test_encoding_nothing_gives_an_empty_vector() -> None:
    assert Vocabulary("ab").encode("").shape == (0,)


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(ValueError, match="the text is empty"):
        Vocabulary.from_text("")


def test_a_text_of_one_character_is_refused() -> None:
    with pytest.raises(ValueError, match="only one distinct character, 'a'"):
        Vocabulary.from_text("aaaa")


def test_unknown_characters_are_named() -> None:
    with pytest.raises(ValueError, match=r"2 symbols are not in the vocabulary: 'x', 'é'"):
        Vocabulary("ab").encode("aéxbxé")


@pytest.mark.parametrize("ids", [[-1], [0, 2]])
def test_ids_outside_the_vocabulary_are_refused(ids: list[int]) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 2\)"):
        Vocabulary("ab").decode(ids)


@pytest.mark.parametrize(
    ("symbols", "words"),
    [([], "at least one"), (["a", "b", "a"], "'a' more than once"), (["a", ""], "empty string")],
)
def test_bad_symbols_are_refused(symbols: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Vocabulary(symbols)


def test_symbols_must_be_strings() -> None:
    with pytest.raises(TypeError, match="symbols must be strings, got int: 3"):
        Vocabulary(["a", 3])  # type: ignore[list-item]
