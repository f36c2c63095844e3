"""pyrnn analyze-search: whether wrong translations are the search's fault or the model's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, cast

import pyrnn
from pyrnn._files import atomic_write
from pyrnn.cli.devices import Device, Threads, device_of, use_threads
from pyrnn.cli.help import RunFolder, option
from pyrnn.cli.settings import with_settings
from pyrnn.cli.terminal import tell, write
from pyrnn.tasks.translating import TranslateConfig

if TYPE_CHECKING:
    from pyrnn.tasks.search_analysis import WidthAnalysis
    from pyrnn.tasks.translation import TranslationRun
    from pyrnn.text import SentencePair

_WIDTHS = (1, 2, 5, 10)


@with_settings({"Search": TranslateConfig}, leave_out=("forbidden", "beam_width", "n_best"))
def analyze_search(
    run: RunFolder,
    text: Annotated[
        list[str],
        option("Pairs of sentences and their right translations, as for training.", metavar="TEXT"),
    ],
    width: Annotated[
        list[int],
        option(
            f"Width of a beam; may be given several times. Unless given: {', '.join(map(str, _WIDTHS))}.",
            metavar="N",
            min=1,
        ),
    ] = [],  # noqa: B006
    sentences: Annotated[
        Optional[Path],
        option(
            "Write a line for each pair and width: width, fault, score found, score of the "
            "reference, source, what was found, reference, with tabs between.",
            metavar="PATH",
        ),
    ] = None,
    to: Annotated[
        Optional[Path],
        option("Draw the table there: .png, .svg or .pdf (needs matplotlib).", metavar="PATH"),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    *,
    settings: dict[str, Any],
) -> None:
    r"""Compare what beams of several widths find with what they should have found.

    \b
      pyrnn analyze-search runs/en-es --text test.tsv --to search.png

    A wrong translation whose reference the model gives a higher score is the search's fault, any other the
    model's. Oracle BLEU is that of the best of each sentence's hypotheses, as many as the beam is wide.

    A pair that cannot be translated is left out; the standard error tells its line and why, and the exit code
    then is 2.
    """
    use_threads(threads)
    loaded = cast(
        "TranslationRun", pyrnn.tasks.load_run(run, verb="analyze-search", device=device_of(device))
    )
    placed = pyrnn.tasks.placed_pairs_of(loaded, text)
    config = TranslateConfig(**settings)
    found = pyrnn.tasks.analyze_search(loaded, [each.pair for each in placed], config, width or _WIDTHS)
    problems = found[0].problems
    pairs = [each.pair for n, each in enumerate(placed) if n not in problems]
    for n, problem in problems.items():
        tell(f"{placed[n]}: {problem}")
    write("width\tBLEU\toracle BLEU\tscore\tright\tsearch errors\tmodel errors\n")
    for each in found:
        errors = each.errors
        numbers = f"{each.bleu:.2f}\t{each.oracle_bleu:.2f}\t{each.score:.4f}"
        write(f"{each.width}\t{numbers}\t{errors.correct}\t{errors.search}\t{errors.model}\n")
    if sentences is not None:
        with atomic_write(sentences) as path, path.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for each in found for line in _lines(each, pairs))
    if to is not None:
        rows = [
            pyrnn.plot.WidthRow(
                each.width,
                each.bleu,
                each.oracle_bleu,
                each.errors.correct,
                each.errors.search,
                each.errors.model,
            )
            for each in found
        ]
        pyrnn.plot.plot_widths(rows, to)
        write(f"{to}\n")
    if problems:
        raise ValueError(
            f"{len(problems)} of {len(placed)} pairs were left out; what is above says which and why"
        )


def _lines(found: WidthAnalysis, pairs: list[SentencePair]) -> list[str]:
    every = zip(found.faults(), found.best, found.references, pairs, strict=True)
    return [
        "\t".join(
            [
                str(found.width),
                fault,
                f"{best.score:.4f}",
                f"{reference.score:.4f}",
                *(" ".join(side.split()) for side in (pair.source, best.text, pair.target)),
            ]
        )
        for fault, best, reference, pair in every
    ]
