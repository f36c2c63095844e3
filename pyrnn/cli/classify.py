"""pyrnn classify: the classes of the lines of the standard input."""

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
    from pyrnn.tasks.classifier import ClassifierRun
    from pyrnn.tasks.classifying import ClassProbability
    from pyrnn.text import Line

#: Of a line its classes, or none and perhaps why.
_Answer = tuple[list["ClassProbability"], str]

_AT_ONCE = 512  # lines that are read before an answer: those of like length share a batch


def classify(
    run: RunFolder,
    top: Annotated[int, option("So many classes of each line, likeliest first.", metavar="N", min=1)] = 1,
    device: Device = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
    raw: Raw = False,
) -> None:
    r"""Print the likeliest class of each line of the standard input and its probability, a tab between.

    \b
      pyrnn classify runs/reviews < sentences.txt
      pyrnn classify runs/reviews --top 3 --json < sentences.txt
      cut -d, -f 2- numbers.csv | pyrnn classify runs/numbers

    There is a line for each line, an empty one for an empty. A classifier of numbers reads them with commas
    or tabs between. A line that cannot be used gives an empty one, too; the standard error tells its number
    and why, and the exit code then is 2.
    """
    use_threads(threads)
    loaded = cast("ClassifierRun", pyrnn.tasks.load_run(run, verb="classify", device=device_of(device)))
    failed = total = 0
    for number, (found, problem) in enumerate(_classified(loaded, top), 1):
        total = number
        if problem:
            failed += 1
            tell(problem)
        write(_line(found, as_json=as_json) + "\n", raw=raw)
    if failed:
        raise ValueError(
            f"{failed} of {total} lines could not be classified, and are empty; what is above says why"
        )


def _classified(run: ClassifierRun, top: int) -> Iterator[_Answer]:
    """The answer to each line of the standard input."""
    reader = standard_input()
    lines = pyrnn.text.numbered_lines(reader)
    for part in pyrnn.text.gathered(lines, lambda: reader.ready, most=_AT_ONCE):
        if run.tokenizer is None:
            yield from _of_numbers(run, part, top)
            continue
        found = pyrnn.tasks.classify_texts(run, [line.text for line in part], top=top)
        yield from ((own, line.problem) for own, line in zip(found, part, strict=True))


def _of_numbers(run: ClassifierRun, part: list[Line], top: int) -> Iterator[_Answer]:
    """The same for lines of numbers."""
    problems = {line.number: line.problem for line in part}
    rows: dict[int, tuple[float, ...]] = {}
    for line in part:
        if line.problem or not line.text.strip():
            continue
        place, fields = f"line {line.number}", line.text.split("\t" if "\t" in line.text else ",")
        try:
            example = pyrnn.text.LabelledFeatures("", pyrnn.text.as_features(fields, place), place)
            run.labels.check_width(example)
        except ValueError as error:
            problems[line.number] = str(error)
        else:
            rows[line.number] = example.features
    found = dict(zip(rows, pyrnn.tasks.classify_features(run, list(rows.values()), top=top), strict=True))
    return ((found.get(line.number, []), problems[line.number]) for line in part)


def _line(found: list[ClassProbability], *, as_json: bool) -> str:
    if as_json:
        return to_json(
            {"labels": [each.label for each in found], "probabilities": [each.probability for each in found]}
        )
    return "\t".join(f"{each.label}\t{each.probability:.4f}" for each in found)
