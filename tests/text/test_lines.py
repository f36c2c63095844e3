"""Lines as they come."""

from __future__ import annotations

import os
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.text import LineReader, as_lines, gathered, read_sentences


@given(lines=st.lists(st.text("ab\r\ufeffé", max_size=4)), ending=st.sampled_from(["\n", "\r\n"]))
def test_lines_are_those_of_the_text(lines: list[str], ending: str) -> None:
    expected = [line.removesuffix("\r") for line in lines] if ending == "\n" else lines
    if expected:
        expected = [expected[0].removeprefix("\ufeff"), *expected[1:]]
    data = "".join(line + ending for line in lines).encode()
    assert list(LineReader(BytesIO(data))) == expected


def test_a_last_line_needs_no_end() -> None:
    assert list(LineReader(BytesIO(b"a\n\nb"))) == ["a", "", "b"]
    assert list(as_lines(["a\n", "b"])) == ["a", "b"]


def test_what_is_not_utf8_is_named_and_the_rest_can_be_read() -> None:
    lines = LineReader(BytesIO(b"a\nb\xff\nc"))
    assert next(lines) == "a"
    with pytest.raises(ValueError, match="standard input, line 2 is not UTF-8 at byte 1"):
        next(lines)
    assert (next(lines), lines.number) == ("c", 3)


def test_what_is_there_is_answered_before_more_comes() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as sink:
        lines = LineReader(stream)
        parts = gathered(lines, lambda: lines.ready, most=3)
        sink.write(b"a\nb\nhalf")
        assert next(parts) == ["a", "b"]
        sink.write(b" a line\n1\n2\n3\n4\n")
        assert next(parts) == ["half a line", "1", "2"]
        assert next(parts) == ["3", "4"]


def test_a_line_without_an_end_is_refused_and_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrnn.text.lines.LONGEST_LINE", 100_000)
    stream = BytesIO(b"one\n" + b"x" * 400_000 + b"\ntwo\nthree")
    reader = LineReader(stream)
    assert next(reader) == "one"
    with pytest.raises(ValueError, match="standard input, line 2 has more than 100,000 bytes"):
        next(reader)
    assert list(reader) == ["two", "three"]
    assert reader.number == 4


def test_empty_lines_are_nothing_to_wait_for() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as sink:
        lines = LineReader(stream)
        parts = gathered((line for line in lines if line), lambda: lines.ready, most=3)
        sink.write(b"to be\n\n")
        assert next(parts) == ["to be"]
        sink.write(b"or\n\nnot\n")
        assert next(parts) == ["or", "not"]


def test_a_paragraph_is_answered_while_the_next_one_is_written() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as sink:
        lines = LineReader(stream)
        parts = gathered(read_sentences(lines), lambda: lines.paragraph_ready, most=3)
        sink.write(b"the\nend\n\nof\n")
        assert next(parts) == [["the", "end"]]
        sink.write(b"it\n\n")
        assert next(parts) == [["of", "it"]]
        sink.write(b"all\n\n\nno\n\n")
        assert next(parts) == [["all"], ["no"]]
