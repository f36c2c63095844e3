"""pyrnn translate: what a trained translator makes of the lines of the standard input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, cast

import pyrnn
from pyrnn.cli.devices import Device, Threads, device_of, use_threads
from pyrnn.cli.help import RunFolder, option
from pyrnn.cli.settings import with_settings
from pyrnn.cli.standard_input import standard_input
from pyrnn.cli.terminal import Raw, tell, write
from pyrnn.tasks.translating import TranslateConfig, Unknown, check_options

if TYPE_CHECKING:
    from pyrnn.tasks.translating import Translated, Untranslated
    from pyrnn.tasks.translation import TranslationRun
    from pyrnn.text import Line

_AT_ONCE = 512  # lines that are read before an answer: those of like length share a batch


@with_settings({"Search": TranslateConfig}, leave_out=("forbidden",))
def translate(
    run: RunFolder,
    scores: Annotated[
        bool, option("Print score and log-probability before each translation, with tabs between.")
    ] = False,
    replace_unknown: Annotated[
        bool,
        option("Put the source's word with most attention where the model writes its unknown word."),
    ] = False,
    constraints: Annotated[
        bool,
        option("Behind a sentence stand phrases that its translation must contain, a tab before each."),
    ] = False,
    forbid: Annotated[
        list[str],
        option("A phrase that no translation may contain; may be given several times.", metavar="TEXT"),
    ] = [],  # noqa: B006
    attention_dir: Annotated[
        Optional[Path],
        option("Draw the attention of each line's best translation there: 1.png, 2.png ...", metavar="PATH"),
    ] = None,
    reference: Annotated[
        Optional[Path],
        option("A file of as many right translations: tell their BLEU with its interval.", metavar="PATH"),
    ] = None,
    batch_size: Annotated[int, option("Lines searched side by side.", metavar="N", min=1)] = 32,
    device: Device = "auto",
    threads: Threads = None,
    raw: Raw = False,
    *,
    settings: dict[str, Any],
) -> None:
    r"""Translate the standard input to the standard output: a line for each line, an empty one for an empty.

    \b
      pyrnn translate runs/en-es < sentences.en > sentences.es
      pyrnn translate runs/en-es --beam-width 10 --reference sentences.es < sentences.en > out.es
      pyrnn translate runs/en-es --n-best 5 --scores < sentences.en
      printf 'so be it\tasí\tsea\n' | pyrnn translate runs/en-es --constraints --forbid no

    A line that cannot be translated gives an empty one, too; the standard error tells its number and why, and
    the exit code then is 2.

    With --n-best N there are up to N lines for each, one for an empty line, the number of the input line and
    a tab before each.
    """
    use_threads(threads)
    config = TranslateConfig(**settings)
    loaded = cast("TranslationRun", pyrnn.tasks.load_run(run, verb="translate", device=device_of(device)))
    unknown: Unknown = "replace" if replace_unknown else "avoid"
    check_options(loaded, unknown=unknown, return_attention=attention_dir is not None)
    references = None if reference is None else list(pyrnn.text.read_lines(reference))
    if attention_dir is not None:
        attention_dir.mkdir(parents=True, exist_ok=True)
    options = {
        "batch_size": batch_size,
        "unknown": unknown,
        "forbidden": forbid,
        "return_attention": attention_dir is not None,
    }
    best, failed = list[str](), 0
    for line, found in _translated(loaded, config, options, constraints=constraints):
        number = line.number if config.n_best > 1 else None
        if isinstance(found, pyrnn.tasks.Untranslated):
            failed += 1
            where = f"line {line.number}"
            tell(found.problem if where in found.problem else f"{where}: {found.problem}")
            best.append("")
            write("\t".join([*_columns(number, ["-", "-"] if scores else []), ""]) + "\n", raw=raw)
            continue
        best.append(found[0].text)
        for each in found:
            write(_line(each, number, scores=scores) + "\n", raw=raw)
        if attention_dir is not None and found[0].target:
            _draw(found[0], attention_dir / f"{line.number}.png")
    if references is not None:
        _tell_bleu(best, references, reference)
    if failed:
        raise ValueError(
            f"{failed} of {len(best)} lines could not be translated, and are empty; what is above says why"
        )


def _translated(
    run: TranslationRun, config: TranslateConfig, options: dict[str, Any], *, constraints: bool
) -> Iterator[tuple[Line, list[Translated] | Untranslated]]:
    """The lines of the standard input with their translations, as they come."""
    reader = standard_input()
    lines = pyrnn.text.numbered_lines(reader)
    for part in pyrnn.text.gathered(lines, lambda: reader.ready, most=_AT_ONCE):
        rows = [line.text.rstrip().split("\t") if constraints else [line.text] for line in part]
        sentences, required = [row[0] for row in rows], [row[1:] for row in rows]
        found = pyrnn.tasks.try_translate(run, sentences, config, required=required, **options)
        for line, each in zip(part, found, strict=True):
            yield line, pyrnn.tasks.Untranslated(line.problem) if line.problem else each


def _line(found: Translated, number: int | None, *, scores: bool) -> str:
    text = " ".join(found.text.replace("\t", " ").splitlines())  # a model of characters may write them
    numbers = [f"{found.score:.4f}", f"{found.log_probability:.4f}"] if scores else []
    return "\t".join([*_columns(number, numbers), text])


def _columns(number: int | None, scores: list[str]) -> list[str]:
    return [*([] if number is None else [str(number)]), *scores]


def _draw(found: Translated, path: Path) -> None:
    assert found.attention is not None
    pyrnn.plot.plot_attention(found.attention, path, queries=found.target, keys=found.source)


def _tell_bleu(found: list[str], references: list[str], path: Path | None) -> None:
    if len(found) != len(references):
        raise ValueError(
            f"{path} has {len(references):,} lines, the input {len(found):,}: each line needs its reference"
        )
    score = pyrnn.metrics.bleu(found, references)
    interval = pyrnn.metrics.bootstrap_interval(found, references)
    tell(f"{score}; 95 % interval {interval.low:.2f} to {interval.high:.2f}; {score.signature}")
