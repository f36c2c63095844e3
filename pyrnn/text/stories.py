"""Stories and questions about them: numbered lines, of which some are questions with their answers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pyrnn.text.columns import read_lines
from pyrnn.text.files import Source, text_files

_NUMBERED = re.compile(r"(\d+) +(?=\S)")
_SUFFIXES = (".gz", ".txt")


class StoryQuestion(NamedTuple):
    """A question, and the story that stood before it.

    Args:
        story: its sentences.
        question: likewise without white space at its ends.
        answer: empty where none was given.
        support: places in the story, counted from 0, of the sentences that the answer follows from.
        kind: what kind of question it is.
        place: where it stands, for messages.

    Example:
        >>> StoryQuestion(("Eva went to the cellar.",), "Where is Eva?", "cellar").answer
        'cellar'
    """

    story: tuple[str, ...]
    question: str
    answer: str
    support: tuple[int, ...] = ()
    kind: str = ""
    place: str = ""


class StoryReader:
    r"""Takes the lines of stories in turn, and gives a question when its line comes.

    A line is a sentence of the story, or a question: one that ends with a question mark, or has tabs between
    the question, its answer and, if they are told, the numbers of the lines that the answer follows from. A
    line may begin with its number. An empty line, or a number that is not above the one before, begins a new
    story; without numbers the lines of a story are counted from 1. This reads the format of the bAbI tasks.

    Source: Weston et al., "Towards AI-complete question answering: a set of prerequisite toy tasks", 2015.

    Args:
        name: of what the lines are of, for messages.
        kind: of all its questions.

    Example:
        >>> reader = StoryReader("a.txt")
        >>> reader.take("1 Eva went to the cellar.", 1)
        >>> reader.take("2 Where is Eva?\tcellar\t1", 2)[:4]
        (('Eva went to the cellar.',), 'Where is Eva?', 'cellar', (0,))
    """

    def __init__(self, name: str, kind: str = "") -> None:
        self._name, self._kind = name, kind
        self._begin()

    def _begin(self) -> None:
        self._number = 0
        self._story: list[str] = []
        self._places: dict[int, int] = {}

    def take(self, line: str, number: int) -> StoryQuestion | None:
        """The question that a line holds, if it is one.

        Args:
            line: without its end.
            number: of the line in its file, for messages.

        Raises:
            ValueError: a question without a story, without words or with an empty answer, or support that is
                no sentence before it; the lines after it can still be taken.
        """
        place, line = f"{self._name}, line {number}", line.strip(" ")
        if not line.strip():
            self._begin()
            return None
        if numbered := _NUMBERED.match(line):
            line = line[numbered.end() :]
            if int(numbered[1]) <= self._number:
                self._begin()
        self._number = int(numbered[1]) if numbered else self._number + 1
        question, *rest = (field.strip() for field in line.split("\t"))
        if not rest and not question.endswith("?"):
            self._places[self._number] = len(self._story)
            self._story.append(question)
            return None
        if not self._story:
            raise ValueError(f"{place}: a question without a story: give the sentences that it asks of first")
        if not question or len(rest) > 2:
            raise ValueError(
                f"{place}: expected a question, a tab and its answer, and perhaps a tab and the numbers of "
                f"lines, got {line[:60]!r}"
            )
        if rest and not rest[0]:
            raise ValueError(f"{place}: the answer is empty: give one behind the tab")
        support = self._support(rest[1], place) if rest[1:] else ()
        answer = rest[0] if rest else ""
        return StoryQuestion(tuple(self._story), question, answer, support, self._kind, place)

    def _support(self, field: str, place: str) -> tuple[int, ...]:
        numbers = field.split()
        if unknown := [n for n in numbers if not n.isdecimal() or int(n) not in self._places]:
            raise ValueError(
                f"{place}: the answer is said to follow from line {unknown[0][:20]!r}, which is no sentence "
                "of the story before it"
            )
        return tuple(self._places[int(n)] for n in numbers)


def read_questions(source: Source) -> Iterator[StoryQuestion]:
    r"""The questions of files (UTF-8, plain or gzip), each with its story and its answer; see `StoryReader`.

    The kind of a question is the name of its file without .txt and .gz.

    Args:
        source: the files, one after another; a story ends with its file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no text, not UTF-8, no questions, one without an answer, or as `StoryReader.take`; the
            message has the file and the line's number.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "colours.txt")
        ...     _ = file.write_text("The sky is blue.\nWhat colour is the sky?\tblue\n")
        ...     [(each.answer, each.kind) for each in read_questions(file)]
        [('blue', 'colours')]
    """
    for path in text_files(source):
        for question in _questions_of(path):
            if not question.answer:
                raise ValueError(
                    f"{question.place}: the question has no answer to learn or to compare with: give it "
                    "behind a tab"
                )
            yield question


def read_stories(source: Source) -> list[StoryQuestion]:
    r"""As `read_questions`, but a question needs no answer.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `read_questions`, but for answers.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "colours.txt")
        ...     _ = file.write_text("The sky is blue.\nWhat colour is the sky?\n")
        ...     [each.question for each in read_stories(file)]
        ['What colour is the sky?']
    """
    return [question for path in text_files(source) for question in _questions_of(path)]


def _questions_of(path: Path) -> Iterator[StoryQuestion]:
    kind = path.name
    for suffix in _SUFFIXES:
        kind = kind.removesuffix(suffix)
    reader, found = StoryReader(str(path), kind), False
    for number, line in enumerate(read_lines(path), 1):
        question = reader.take(line, number)
        if question is not None:
            yield question
            found = True
    if not found:
        raise ValueError(
            f"{path} has no questions: expected sentences, and behind them a question, a tab and its answer "
            "on a line"
        )


def story_lines(question: StoryQuestion) -> list[str]:
    r"""A story and its question as `read_questions` reads them: numbered lines, the question last.

    Example:
        >>> story_lines(StoryQuestion(("The sky is blue.",), "What colour is the sky?", "blue", (0,)))
        ['1 The sky is blue.', '2 What colour is the sky?\tblue\t1']
    """
    lines = [f"{n} {sentence}" for n, sentence in enumerate(question.story, 1)]
    support = " ".join(str(place + 1) for place in question.support)
    fields = [f"{len(lines) + 1} {question.question}", question.answer, *([support] if support else [])]
    return [*lines, "\t".join(fields)]


def split_questions(
    questions: Sequence[StoryQuestion], fraction: float
) -> tuple[list[StoryQuestion], list[StoryQuestion]]:
    """Questions to train on and others to validate on, chosen by what their stories say.

    The questions of a story, which follow one another, stay together, and so do equal stories. The same
    stories in another order are split alike.

    Args:
        questions: all of them; both parts keep their order.
        fraction: how many stories to validate on, at least one.

    Example:
        >>> questions = [StoryQuestion((f"It is {n}.",), "What is it?", str(n)) for n in range(20)]
        >>> [len(part) for part in split_questions(questions, 0.1)]
        [18, 2]
    """
    groups: list[list[StoryQuestion]] = []
    for each in questions:
        if groups and each.story[: len(last := groups[-1][-1].story)] == last:
            groups[-1].append(each)
        else:
            groups.append([each])
    stories = sorted({group[-1].story for group in groups}, key=_digest)
    held_out = set(stories[: max(1, round(len(stories) * fraction))])
    parts: tuple[list[StoryQuestion], list[StoryQuestion]] = [], []
    for group in groups:
        parts[group[-1].story in held_out].extend(group)
    return parts


def is_held_out(question: StoryQuestion, share: float) -> bool:
    """Whether a question is among those that are kept to test with: a share of all that there can be.

    Example:
        >>> is_held_out(StoryQuestion(("It rains.",), "What does it do?", "rain"), share=1.0)
        True
    """
    return int.from_bytes(_digest((*question.story, question.question))[:4], "big") < share * 2**32


def _digest(content: Iterable[str]) -> bytes:
    return hashlib.sha256("\n".join(content).encode()).digest()
