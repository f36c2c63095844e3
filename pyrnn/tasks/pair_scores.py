"""How likely a trained translator holds given translations, line by line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pyrnn
from pyrnn.tasks.pairs import encode, start_id
from pyrnn.tasks.translating import encoded_source
from pyrnn.tasks.translation import TranslationRun

if TYPE_CHECKING:
    from torch import Tensor

    from pyrnn.text import Line

_AT_ONCE = 1024  # pairs that are read before they are answered
_TOGETHER = 32


class _Pair(NamedTuple):
    """A line to score: its sides and their ids, or what is wrong with it."""

    text: str
    fields: dict[str, list[Tensor]] | None
    problem: str = ""


def score_pairs(run: TranslationRun, lines: Iterable[str]) -> Iterator[str]:
    r"""Read pairs from standard input, source TAB target, and print each target's log-probability.

      printf 'so be it\tasí sea\n' | pyrnn score runs/en-es

    The columns, separated by tabs: log-probability in nats, nats per token, perplexity, tokens scored,
    unknown tokens, source, target. Lines without text on either side are left out. A line that cannot be
    scored, for one side is empty, say, has "-" for numbers and, behind it, its number and why; the exit code
    then is 2.
    """
    reader = pyrnn.text.as_lines(lines)
    failed = count = 0
    every = (line for line in pyrnn.text.numbered_lines(reader) if line.text.strip() or line.problem)
    for part in pyrnn.text.gathered(every, lambda: reader.ready, most=_AT_ONCE):
        pairs = [_pair(run, line) for line in part]
        scores = iter(_scores(run, [pair.fields for pair in pairs if pair.fields is not None]))
        for pair in pairs:
            count += 1
            if pair.fields is None:
                failed += 1
                yield f"-\t-\t-\t-\t-\t{pair.text}\tnot scored: {pair.problem}"
                continue
            total, tokens, unknown = next(scores)
            perplexity = math.exp(min(-total / tokens, 700))
            yield f"{total:.4f}\t{-total / tokens:.4f}\t{perplexity:.2f}\t{tokens}\t{unknown}\t{pair.text}"
    if not count:
        raise ValueError("standard input has no pairs: give one a line, a tab between source and target")
    if failed:
        raise ValueError(f"{failed} of {count} pairs could not be scored; their lines say why")


def _pair(run: TranslationRun, line: Line) -> _Pair:
    if line.problem:
        return _Pair("", None, line.problem)
    sides = [side.strip() for side in line.text.split("\t")]
    if len(sides) != 2:
        problem = f"line {line.number}: {len(sides)} columns, expected source and target"
        return _Pair(line.text, None, problem)
    if "" in sides:
        side, other = ("source", sides[1]) if sides[1] else ("target", sides[0])
        problem = f"line {line.number}: the {side} is empty, the other side is {other[:80]!r}"
        return _Pair(line.text, None, problem)
    pair = pyrnn.text.SentencePair(*sides)
    try:
        fields = encode([pair], run.source_tokenizer, run.tokenizer, run.job.data)
    except ValueError as error:
        return _Pair(line.text, None, f"line {line.number}: {error}")
    return _Pair("\t".join(sides), fields)


def _scores(
    run: TranslationRun, pairs: Sequence[dict[str, list[Tensor]]]
) -> Iterator[tuple[float, int, int]]:
    """Log-probability, tokens and unknown tokens of each target."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    first = torch.tensor([start_id(run.tokenizer)])
    for begin in range(0, len(pairs), _TOGETHER):
        part = pairs[begin : begin + _TOGETHER]
        _, state = encoded_source(run, [pair["source"][0] for pair in part])
        outputs = [pair["output"][0] for pair in part]
        targets = [torch.cat([first, output]) for output in outputs]
        lengths = torch.tensor([len(target) for target in targets])
        totals = pyrnn.search.score_targets(run.model, state, pad_sequence(targets).T, lengths)
        unk = run.tokenizer.unk_id
        for total, output in zip(totals.tolist(), outputs, strict=True):
            yield total, len(output), 0 if unk is None else int((output == unk).sum())
