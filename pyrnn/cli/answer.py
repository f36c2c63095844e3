"""pyrnn answer: answers to the questions in the stories of the standard input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, cast

import pyrnn
from pyrnn._files import to_json
from pyrnn.cli.devices import Device, Threads, device_of, use_threads
from pyrnn.cli.help import RunFolder, option
from pyrnn.cli.standard_input import standard_input
from pyrnn.cli.table import AsJson
from pyrnn.cli.terminal import Raw, tell, write

if TYPE_CHECKING:
    from pyrnn.tasks import Answer
    from pyrnn.tasks.classifier import ClassifierRun
    from pyrnn.text import StoryQuestion

_AT_ONCE = 512  # questions that are read before an answer: those that are there share a batch


def answer(
    run: RunFolder,
    top: Annotated[int, option("So many answers to each question, likeliest first.", metavar="N", min=1)] = 1,
    device: Device = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
    raw: Raw = False,
) -> None:
    r"""Answer the questions in the stories of the standard input: question, answer and its probability.

    \b
      pyrnn answer runs/stories < story.txt
      printf 'Eva went to the cellar.\nWhere is Eva?\n' | pyrnn answer runs/stories
      pyrnn answer runs/stories --json < story.txt

    A line is a sentence, or a question, which ends with "?"; an empty line begins another story. Lines may
    have numbers, and an answer behind a tab, which is not looked at. With --json the sentence that each hop
    looked at most is told, too. A line that cannot be used is told on the standard error, and the exit code
    then is 2.
    """
    use_threads(threads)
    loaded = cast("ClassifierRun", pyrnn.tasks.load_run(run, verb="answer", device=device_of(device)))
    reader, failures = standard_input(), [0]
    asked = unknown = words = 0
    for part in pyrnn.text.gathered(_questions(reader, failures), lambda: reader.ready, most=_AT_ONCE):
        for question, found in zip(part, pyrnn.tasks.answer_questions(loaded, part, top=top), strict=True):
            asked += 1
            unknown += found.unknown > 0
            words += found.unknown
            write(_line(question, found, as_json=as_json) + "\n", raw=raw)
    if words:
        tell(f"{words} words of {unknown} of {asked} stories are outside the vocabulary, and read as unknown")
    if failures[0]:
        raise ValueError(f"{failures[0]} lines could not be used; what is above says why")
    if not asked:
        raise ValueError("the standard input has no questions: give a story, and a line that ends with '?'")


def _questions(reader: pyrnn.text.LineReader, failures: list[int]) -> Iterator[StoryQuestion]:
    """The questions among lines; one that cannot be used is told, and counted."""
    stories = pyrnn.text.StoryReader("standard input")
    for line in pyrnn.text.numbered_lines(reader):
        try:
            if line.problem:
                raise ValueError(line.problem)
            question = stories.take(line.text, line.number)
        except ValueError as error:
            failures[0] += 1
            tell(str(error))
            continue
        if question is not None:
            yield question


def _line(question: StoryQuestion, found: Answer, *, as_json: bool) -> str:
    if not as_json:
        answers = "\t".join(f"{each.label}\t{each.probability:.4f}" for each in found.answers)
        return f"{question.question}\t{answers}"
    read: list[str] = []
    if found.weights is not None and found.sentences:
        read = [found.sentences[place] for place in found.weights.argmax(1).tolist()]
    return to_json(
        {
            "question": question.question,
            "answers": [each.label for each in found.answers],
            "probabilities": [each.probability for each in found.answers],
            "read": read,
        }
    )
