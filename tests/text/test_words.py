import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.text._words import cut_safely, last_word_cut, spaced, words

#: Rich in what decides where a word ends.
SAMPLES = "ab1_'’-‐<unk>.,;!()[¿¡“” \t\n\r\x1c\u2028é\u0301\u200dहिन्दी中"
TEXT = st.text(st.one_of(st.sampled_from(SAMPLES), st.characters()))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        (" \t\r", []),
        ("To be, or not.", ["To", "be", ",", "or", "not", "."]),
        ("don't re-read mother-in-law's", ["don't", "re-read", "mother-in-law's"]),
        ("'tis -- dogs' end-", ["'", "tis", "-", "-", "dogs", "'", "end", "-"]),
        ("l’été", ["l’été"]),
        ("a\n\n \t\r\nb\n", ["a", "<eos>", "b", "<eos>"]),
        ("the <unk> of <unk>s", ["the", "<unk>", "of", "<unk>", "s"]),
        ("<eos> <unk", ["<", "eos", ">", "<", "unk"]),
        ("snake_case x2 3.14", ["snake_case", "x2", "3", ".", "14"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("中文，好", ["中文", "，", "好"]),
        ("😀😀", ["😀", "😀"]),
    ],
)
def test_words(text: str, tokens: list[str]) -> None:
    assert words(text) == tokens


@given(TEXT)
def test_written_words_are_the_same_words(text: str) -> None:
    tokens = words(text)
    assert words("".join(spaced(tokens))) == tokens


@pytest.mark.parametrize(
    "text", ["¿Qué? ¡No!", "“To be,” he said (or not).", "the apostles’ feet, l’été", "3% […] a; b: c"]
)
def test_punctuation_is_written_as_before(text: str) -> None:
    assert "".join(spaced(words(text))) == text


@given(TEXT)
def test_no_character_is_lost_but_white_space(text: str) -> None:
    kept = "".join(token for token in words(text) if token != "<eos>")
    assert kept == "".join(character for character in text if not character.isspace())


@given(st.lists(TEXT))
def test_cuts_part_no_token(chunks: list[str]) -> None:
    pieces = list(cut_safely(chunks, last_word_cut))
    assert "".join(pieces) == "".join(chunks)
    assert [token for piece in pieces for token in words(piece)] == words("".join(chunks))


@given(st.text(st.sampled_from("ab., \n")))
def test_single_characters_are_cut_as_soon_as_can_be(text: str) -> None:
    pieces = list(cut_safely(text, last_word_cut))
    assert all(last_word_cut(piece) == 0 for piece in pieces)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["To", "be", ",", "or", "not", "?"], "To be, or not?"),
        (["<eos>", "a", "<eos>", "b"], "\na\nb"),
        (["f", "(", "x", ")", ";"], "f (x);"),
        (["5", "%", "<unk>", "'", "s"], "5% <unk> ' s"),
    ],
)
def test_written_text(tokens: list[str], text: str) -> None:
    assert "".join(spaced(tokens)) == text


@pytest.mark.timeout(60)  # a quadratic search takes minutes
@pytest.mark.parametrize("unit", ["a", "'", "<", "a-", " ", "\n"])
def test_a_long_run_takes_time_in_proportion_to_its_length(unit: str) -> None:
    text = unit * (400_000 // len(unit))
    assert len(words(text)) <= len(text)
    assert last_word_cut(text) == 0


def test_what_is_no_text_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrnn.text._words.LONGEST_PIECE", 1000)
    chunks = iter(["x" * 100] * 50)
    with pytest.raises(ValueError, match="more than 1,000 characters follow one another without a place"):
        list(cut_safely(chunks, last_word_cut))
    assert sum(1 for _ in chunks) > 35  # the others were not read
