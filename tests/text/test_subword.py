import random
import re
import sys
import time
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.corpora import shakespeare
from pyrnn.text import Tokenizer, subword, train_tokenizer
from pyrnn.text.subword import SubwordTokenizer

PLAYS = shakespeare()
#: White space in runs, so that there are tokens of several: a cut inside one would show.
PROGRAM = "def f ( x ):\n    if  x  :   \n\t\treturn   x    \n" * 500
LEARNED = SubwordTokenizer.train(lambda: [PROGRAM, PLAYS], max_size=1000)
#: Rich in white space of all kinds, in contractions, and in what the library might take for special.
TEXT = st.text(
    st.one_of(
        st.sampled_from("abst'’    \t\n\r\x0b\x0c\x1c\x85\xa0\u2028\u200b19é\u0301😀中<eos>"),
        st.characters(exclude_categories=["Cs"]),
    )
)


@given(st.lists(TEXT))
def test_any_text_is_encoded_without_loss_wherever_it_is_cut(chunks: list[str]) -> None:
    text = "".join(chunks)
    ids = LEARNED.encode(text)
    assert LEARNED.decode(ids) == text
    assert int((ids == LEARNED.eos_id).sum()) == text.count("\n")
    pieces = [torch.empty(0, dtype=torch.int64), *LEARNED.encode_chunks(chunks)]
    assert torch.equal(torch.cat(pieces), ids)


@given(TEXT.filter(str.split))
def test_a_text_is_cut_at_each_lone_space(text: str) -> None:
    line = "to be " + "".join(text.split())
    assert len(list(LEARNED.encode_chunks(line))) >= 2


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_runs_of_white_space_are_not_cut(size: int) -> None:
    assert any("ĠĠ" in left + right for left, right in LEARNED.merges)
    text = PROGRAM[:2000]
    pieces = list(LEARNED.encode_chunks(text[i : i + size] for i in range(0, len(text), size)))
    assert torch.equal(torch.cat(pieces), LEARNED.encode(text))


def test_shakespeare_is_whole_and_shorter() -> None:
    ids = LEARNED.encode(PLAYS)
    assert LEARNED.decode(ids) == PLAYS
    assert len(ids) < len(PLAYS) / 2


def test_the_text_that_spells_eos_is_not_the_line_end() -> None:
    ids = LEARNED.encode("<eos>")
    assert LEARNED.eos_id not in ids
    assert LEARNED.decode(ids) == "<eos>"
    assert LEARNED.encode("\n").tolist() == [LEARNED.eos_id]


@given(st.lists(st.integers(0, len(LEARNED) - 1)))
def test_any_ids_are_decoded(ids: list[int]) -> None:
    text = LEARNED.decode(ids)
    assert "".join(LEARNED.decode_stream(ids)) == text
    assert text.count("\n") >= ids.count(LEARNED.eos_id)


def test_a_piece_is_never_half_a_character() -> None:
    tokenizer = SubwordTokenizer([])
    ids = tokenizer.encode("a😀é").tolist()
    assert len(ids) == 7
    assert list(tokenizer.decode_stream(ids)) == ["a", "😀", "é"]
    assert list(tokenizer.decode_stream(ids[:3])) == ["a", "�"]


def test_tokens_are_legible() -> None:
    tokenizer = SubwordTokenizer([("t", "h"), ("Ġ", "th")])
    ids = tokenizer.encode(" th€\n").tolist()
    assert [tokenizer.token(i) for i in ids] == [" th", r"\xe2", r"\x82", r"\xac", "<eos>"]


def test_every_byte_has_an_id() -> None:
    tokenizer = SubwordTokenizer([])
    assert len(tokenizer) == 257
    assert sorted(tokenizer._bytes[:256]) == [bytes([byte]) for byte in range(256)]


def test_two_merges_may_make_one_token() -> None:
    tokenizer = SubwordTokenizer([("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")])
    assert len(tokenizer) == 257 + 3
    assert tokenizer.decode(tokenizer.encode("abcbcab")) == "abcbcab"


def test_no_line_end_is_learned_inside_a_token() -> None:
    tokenizer = SubwordTokenizer.train(lambda: ["a\n\n\n\nb\n" * 50], max_size=300)
    assert tokenizer.merges == ()


def test_rare_pairs_are_not_merged() -> None:
    text = "the the the cat"
    merges = SubwordTokenizer.train(lambda: [text], min_count=2).merges
    assert merges
    assert all("c" not in left + right for left, right in merges)


def test_the_size_without_a_limit() -> None:
    assert len(train_tokenizer(lambda: [PLAYS], level="subword")) == 8192


@pytest.mark.parametrize(
    ("merges", "words"),
    [
        ("a b", "merges must be a list of strings"),
        ([["a", "b"]], "merges must be a list of strings"),
        (["ab"], "two tokens with a space between them, got 'ab'"),
        (["a b c"], "two tokens with a space between them, got 'a b c'"),
        ([""], "two tokens with a space between them, got ''"),
        (["a "], "before there is ''"),
        (["a bc", "b c"], "the merge of 'a' and 'bc' comes before there is 'bc'"),
        (["a \n"], r"before there is '\\n'"),
        (["a b", "a b"], "distinct, got one twice"),
    ],
)
def test_hostile_merges_are_refused(merges: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Tokenizer.from_json({"level": "subword", "merges": merges})


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValueError, match=r"valid Unicode, got '\\udc80'"):
        LEARNED.encode("a\udc80")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"pip install pyrnn\[text\]"):
        Tokenizer.from_json({"level": "subword", "merges": []})
    with pytest.raises(ImportError, match=r"pip install pyrnn\[text\]"):
        train_tokenizer(lambda: ["to be"], level="subword")


@pytest.mark.parametrize("alphabet", ["ab", "a", " ", "a1,"])
def test_a_long_text_without_word_boundaries_is_learned(alphabet: str) -> None:
    draw = random.Random(0)
    text = "to be\n" + "".join(draw.choices(alphabet, k=600_000))
    # It would not end within minutes if each merge looked through the whole word.
    tokenizer = SubwordTokenizer.train(lambda: [text[:1000], text[1000:]])
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert max(len(tokenizer.token(id)) for id in range(256, len(tokenizer) - 1)) <= 256


def test_long_runs_are_cut_at_the_same_places_wherever_the_text_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subword, "_LONG_RUN", re.compile(r"\S{5}|[^\S\n]{5}"))
    text = "abababababab cdcdcdcdcd   \n" * 20
    whole = SubwordTokenizer.train(lambda: [text])
    for size in (1, 3, 50):
        parts = [text[i : i + size] for i in range(0, len(text), size)]
        assert SubwordTokenizer.train(lambda parts=parts: parts) == whole
    assert max(len(whole.token(id)) for id in range(256, len(whole) - 1)) <= 1 + 5  # and a space


def test_learning_tells_how_it_goes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subword, "_SECONDS_BETWEEN_NEWS", 0.01)

    def slowly() -> Iterator[str]:
        yield "to be or not to be\n"
        time.sleep(0.2)
        yield "that is the question"

    with caplog.at_level("INFO", logger="pyrnn"):
        SubwordTokenizer.train(slowly)
    assert re.search(r"learning subwords: \d+ characters read, \d s", caplog.text)
