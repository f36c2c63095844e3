from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.corpora import shakespeare
from pyrnn.text import Vocabulary

SYMBOLS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "<unk>", "\n"]), min_size=1)


@given(st.text(min_size=2).filter(lambda text: len(set(text)) > 1))
def test_decoding_undoes_encoding(text: str) -> None:
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == torch.int64
    assert set(ids.tolist()) == set(range(len(vocabulary)))
    assert "".join(vocabulary.tokens_of(ids)) == text


def test_ids_follow_code_points_whatever_the_order_of_the_text() -> None:
    assert Vocabulary.from_text("cab").tokens == ("a", "b", "c")
    assert Vocabulary.from_text("bca") == Vocabulary.from_text("cab")


def test_tokens_may_be_longer_than_a_character() -> None:
    vocabulary = Vocabulary(["to", " ", "be"])
    assert vocabulary.encode(["be", " ", "to"]).tolist() == [2, 1, 0]
    assert vocabulary.tokens_of([0, 1, 2]) == ["to", " ", "be"]


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
    with pytest.raises(ValueError, match=r"2 tokens are not in the vocabulary: 'x', 'é'"):
        Vocabulary("ab").encode("aéxbxé")


@pytest.mark.parametrize("ids", [[-1], [0, 2]])
def test_ids_outside_the_vocabulary_are_refused(ids: list[int]) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 2\)"):
        Vocabulary("ab").tokens_of(ids)


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([], "at least one"),
        (["a", "b", "a"], "'a' more than once"),
        (["a", ""], "empty string"),
        (["a", "b\ud800"], r"valid Unicode, got '\\ud800'"),
    ],
)
def test_bad_tokens_are_refused(tokens: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Vocabulary(tokens)


def test_ids_that_are_not_integers_are_refused() -> None:
    with pytest.raises(TypeError, match="float"):
        Vocabulary("ab").tokens_of(torch.tensor([0.0, 1.0]))


def test_tokens_must_be_strings() -> None:
    with pytest.raises(TypeError, match="tokens must be strings, got int: 3"):
        Vocabulary(["a", 3])  # type: ignore[list-item]


# ---- unknown tokens and line ends ---------------------------------------------------------------


def test_unknown_tokens_become_unk() -> None:
    vocabulary = Vocabulary(["a", "<unk>", "b"], unk="<unk>")
    assert (vocabulary.unk_id, vocabulary.eos_id) == (1, None)
    assert vocabulary.encode("axbé").tolist() == [0, 1, 2, 1]
    assert "x" not in vocabulary, "looking a token up must not add it"


def test_eos_is_a_token_like_others() -> None:
    vocabulary = Vocabulary("a\n", eos="\n")
    assert vocabulary.eos_id == 1
    assert vocabulary.encode("a\na").tolist() == [0, 1, 0]


@pytest.mark.parametrize("specials", [{"unk": "<unk>"}, {"eos": "x"}])
def test_specials_must_be_among_the_tokens(specials: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be one of the tokens"):
        Vocabulary("ab", **specials)


def test_specials_must_differ() -> None:
    with pytest.raises(ValueError, match="must differ, got 'a' for both"):
        Vocabulary("ab", unk="a", eos="a")


def test_equality_is_by_content() -> None:
    plain, special = Vocabulary("ab"), Vocabulary("ab", eos="b")
    assert plain == Vocabulary(["a", "b"])
    assert hash(plain) == hash(Vocabulary(["a", "b"]))
    assert plain != special
    assert plain != Vocabulary("ba")
    assert plain != "ab"


# ---- the most frequent tokens -------------------------------------------------------------------


@given(tokens=SYMBOLS, extra=st.integers(1, 6), min_count=st.integers(1, 3), specials=st.booleans())
def test_the_most_frequent_tokens_are_kept(
    tokens: list[str], extra: int, min_count: int, specials: bool
) -> None:
    names = ["<unk>", "\n"] if specials else []
    counts = {s: tokens.count(s) for s in tokens if s not in names and tokens.count(s) >= min_count}
    if not counts and not names:
        return
    unk, eos = ("<unk>", "\n") if specials else (None, None)
    built = Vocabulary.build(tokens, max_size=len(names) + extra, min_count=min_count, unk=unk, eos=eos)
    kept = built.tokens[len(names) :]
    assert list(built.tokens[: len(names)]) == names
    assert len(kept) == min(extra, len(counts))
    ranks = [(-counts[token], token) for token in kept]
    assert ranks == sorted(ranks)
    assert all((-counts[s], s) > ranks[-1] for s in counts if s not in kept)


@given(SYMBOLS, st.randoms())
def test_the_order_of_the_text_does_not_matter(tokens: list[str], random: Random) -> None:
    shuffled = tokens.copy()
    random.shuffle(shuffled)
    assert Vocabulary.build(tokens) == Vocabulary.build(shuffled)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_count": 0}, "min_count must be at least 1, got 0"),
        ({"max_size": 0}, "max_size must be at least 1, got 0"),
        ({"max_size": 2, "unk": "?", "eos": "."}, r"at least 3 \('\?' and '\.' take a place each\), got 2"),
        ({"min_count": 3}, "at least one token"),
    ],
)
def test_bad_limits_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Vocabulary.build("aabb", **settings)


# ---- one-hot -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 2), (2, 0, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_one_hot_equals_torch(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    ids = torch.randint(4, shape)
    rows = Vocabulary("abcd").one_hot(ids, dtype)
    assert rows.dtype == dtype
    assert torch.equal(rows, torch.nn.functional.one_hot(ids, 4).to(dtype))


def test_one_hot_takes_narrow_ids() -> None:
    rows = Vocabulary("ab").one_hot(torch.tensor([1, 0], dtype=torch.int32))
    assert rows.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("ids", [torch.tensor([-1]), torch.tensor([0, 2])])
def test_one_hot_refuses_ids_outside(ids: Tensor) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 2\)"):
        Vocabulary("ab").one_hot(ids)


@pytest.mark.parametrize("ids", [torch.tensor([1.0]), torch.tensor([True])])
def test_one_hot_refuses_what_is_no_id(ids: Tensor) -> None:
    with pytest.raises(ValueError, match="must be integers"):
        Vocabulary("ab").one_hot(ids)
