"""Pairs of sentences: read, turned into ids, and put into batches.

Dimension key: S source time, T target time, B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyrnn
from pyrnn._configuration import require_choices, require_range
from pyrnn.train.task import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from pyrnn.data import PaddedBatches
    from pyrnn.text import PlacedPair, SentencePair, Source, Tokenizer
    from pyrnn.train.job import Job
    from pyrnn.train.run_folder import Run

SOURCE_VOCABULARY, VOCABULARY = "source_vocab.json", "vocab.json"

#: Which fields of a pair have lengths in common.
GROUPS = {"source_lengths": ("source",), "lengths": ("output",)}


@dataclass(frozen=True)
class PairsConfig:
    """The pairs of a run, their tokens, and what counts as good.

    Args:
        pairs: a file (UTF-8, plain or gzip) of lines "source TAB target", a folder of such files, a file of
            CSV whose name ends with .csv or .csv.gz, or "bible-en-es" or "dates" for the pairs that come with
            the package. Several are joined, all of one kind. With `targets`: a file of sources, one a line.
        targets: a file of the same number of lines, the translations of `pairs`.
        columns: the two columns where a file has more, by their numbers or their names in its first line.
        swap: translate the other way.
        validation_pairs: others to validate on; some of `pairs` unless given.
        validation_targets: their translations, where they are files of their own.
        validation_size: how many of `pairs` are held out otherwise, chosen among those whose sides occur
            once.
        tokenizer: a tokenizer.json or sentencepiece model of yours for both sides, instead of one of some
            level that is learned.
        level: tokens are "character", "word" or "subword".
        max_vocabulary: tokens of each vocabulary at most; at level subword 2000 unless given.
        min_count: tokens that occur less often become <unk>.
        shared_vocabulary: one vocabulary for both sides.
        reverse_source: read sources from their end, which helps a fixed vector.
            Source: Sutskever et al., "Sequence to sequence learning with neural networks", 2014, section 3.3.
        longest: pairs with a side of more tokens are left out of training.
        batch_tokens: the pairs of an optimizer step times the tokens of their longest side, its end included,
            are at most so many, over all processes together: few long pairs or many short ones. `batch_size`
            then is that of validation; it must still be a multiple of the processes times `accumulate`. 0 for
            `batch_size` pairs.
        objective: what "best" and patience mean: "loss" of the validation pairs, or "bleu" of what the model
            writes for them, each token the likeliest one.

    Raises:
        ValueError: a count below one or beyond 64 bits, not two columns, an unknown choice, a tokenizer and
            how to learn one, or batches of fewer tokens than the longest pair has.
    """

    pairs: str | tuple[str, ...] = ""
    targets: str | tuple[str, ...] | None = None
    columns: tuple[str, str] | None = None
    swap: bool = False
    validation_pairs: str | tuple[str, ...] | None = None
    validation_targets: str | tuple[str, ...] | None = None
    validation_size: int = 500
    tokenizer: str | None = None
    level: Literal["character", "word", "subword"] = "subword"
    max_vocabulary: int | None = None
    min_count: int = 1
    shared_vocabulary: bool = True
    reverse_source: bool = False
    longest: int = 200
    batch_tokens: int = 0
    objective: Literal["loss", "bleu"] = "loss"

    def __post_init__(self) -> None:
        require_range(self, ("validation_size", "min_count", "longest"), least=1)
        require_range(self, ("batch_tokens",), least=0)
        if 0 < self.batch_tokens <= self.longest:
            raise ValueError(
                f"batch_tokens must be above longest, for a side and its end are in one batch, got "
                f"{self.batch_tokens} and {self.longest}: set batch_tokens higher or longest lower"
            )
        if self.max_vocabulary is not None:
            require_range(self, ("max_vocabulary",), least=2)
        require_choices(self, ("level", "objective"))
        if self.tokenizer is not None and (self.max_vocabulary, self.min_count) != (None, 1):
            raise ValueError(
                "a tokenizer of yours has its vocabulary: leave max_vocabulary and min_count out"
            )


@dataclass(frozen=True)
class PairBatches:
    """Batches of pairs, as of `pyrnn.data.PaddedBatches`, with what the decoder reads as "input".

    That is "output" a step later, behind the token that begins every target.

    Args:
        padded: the batches.
        start: that token.
        tokenizer: of the targets where what the model writes for them is to be scored, too.
    """

    padded: PaddedBatches
    start: int
    tokenizer: Tokenizer | None = None

    @property
    def batch_size(self) -> int:
        """Pairs of a full batch."""
        return self.padded.batch_size

    def __len__(self) -> int:
        return len(self.padded)

    def __getitem__(self, step: int) -> Batch:
        """Batch `step`."""
        batch = self.padded[step]
        output = batch["output"]
        shifted = output.roll(1, 0)
        shifted[0] = self.start
        return {**batch, "input": shifted.masked_fill_(output == pyrnn.losses.IGNORE, 0)}

    def shard(self, rank: int, world: int) -> PairBatches:
        """Part `rank` of `world` of every batch."""
        return replace(self, padded=self.padded.shard(rank, world))


def read(
    source: Source, targets: Source | None, data: PairsConfig, reusable: Callable[[Any], Any]
) -> list[SentencePair]:
    """The pairs of files or of a shipped corpus, as `data` says; `reusable` is that of `pyrnn.text.spool`."""
    return [placed.pair for placed in _placed(source, targets, data, reusable)]


def _placed(
    source: Source, targets: Source | None, data: PairsConfig, reusable: Callable[[Any], Any]
) -> Iterator[PlacedPair]:
    """The pairs with their places."""
    if targets is None and (name := _shipped_name(source)):
        return _shipped(name, data)
    columns = None
    if data.columns is not None:
        left, right = map(pyrnn.text.as_column, data.columns)
        if left == right:
            raise ValueError(f"columns must be two, got {left!r} twice")
        columns = left, right
    return pyrnn.text.read_placed_pairs(
        reusable(source),
        None if targets is None else reusable(targets),
        format="tsv" if targets is not None else pyrnn.text.table_format(source),
        columns=columns,
        swap=data.swap,
    )


def _shipped_name(source: Source) -> str | None:
    name = source[0] if isinstance(source, list | tuple) and len(source) == 1 else source
    return str(name) if name in pyrnn.corpora.PAIRS else None


def _shipped(name: str, data: PairsConfig) -> Iterator[PlacedPair]:
    for number, (left, right) in enumerate(pyrnn.corpora.named_pairs(name), 1):
        sides = (right, left) if data.swap else (left, right)
        yield pyrnn.text.PlacedPair(name, number, pyrnn.text.SentencePair(*sides))


def refuse_idle_columns(data: PairsConfig) -> None:
    """Refuse columns where all pairs come with the package, which have two.

    Raises:
        ValueError: so it is.
    """
    named = [source for source in (data.pairs, data.validation_pairs) if source]
    if data.columns is not None and all(map(_shipped_name, named)):
        raise ValueError(
            f"columns are of files, and {_shipped_name(data.pairs)}, which comes with the package, has two: "
            "leave columns out"
        )


def pairs_of(run: Run, source: Source) -> list[SentencePair]:
    r"""Pairs in columns, of the direction in which a run translates.

    Example:
        >>> import tempfile
        >>> from pyrnn.tasks.tiny import tiny_translator
        >>> with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        ...     print("one\t1\ntwo\t2", file=file, flush=True)
        ...     pairs_of(tiny_translator(), file.name)[1]
        SentencePair(source='two', target='2')
    """
    return [placed.pair for placed in placed_pairs_of(run, source)]


def placed_pairs_of(run: Run, source: Source) -> list[PlacedPair]:
    r"""`pairs_of`, each with the file and the line where it stands.

    Example:
        >>> from pyrnn.tasks.tiny import tiny_translator
        >>> str(placed_pairs_of(tiny_translator(), "dates-test")[1])
        'dates-test, line 2'
    """
    with pyrnn.text.spool() as reusable:
        return list(_placed(source, None, run.job.data, reusable))


def start_id(tokenizer: Tokenizer) -> int:
    """The token that ends every sentence and begins every target.

    Raises:
        ValueError: the tokenizer has none.
    """
    if tokenizer.eos_id is None:
        raise ValueError("the tokenizer has no token for the end of a sentence")
    return tokenizer.eos_id


def encode_source(text: str, tokenizer: Tokenizer, data: PairsConfig) -> Tensor:
    """Ids of a source, with its end behind it: an empty one has that alone."""
    import torch

    ids = tokenizer.encode(text)
    return torch.cat([ids.flip(0) if data.reverse_source else ids, torch.tensor([start_id(tokenizer)])])


def encode(
    pairs: Iterable[SentencePair], source: Tokenizer, target: Tokenizer, data: PairsConfig
) -> dict[str, list[Tensor]]:
    """Sources and targets as ids, with their ends."""
    import torch

    end = torch.tensor([start_id(target)])
    fields: dict[str, list[Tensor]] = {"source": [], "output": []}
    for pair in pairs:
        fields["source"].append(encode_source(pair.source, source, data))
        fields["output"].append(torch.cat([target.encode(pair.target), end]))
    return fields


def kept(fields: dict[str, list[Tensor]], data: PairsConfig) -> dict[str, list[Tensor]]:
    """The pairs that are short enough to train on."""
    sides = zip(fields["source"], fields["output"], strict=True)
    places = [n for n, pair in enumerate(sides) if max(map(len, pair)) <= data.longest + 1]
    if not places:
        raise ValueError(f"every pair has a side of more than {data.longest} tokens: set longest higher")
    return {name: [items[n] for n in places] for name, items in fields.items()}


def train_tokenizers(pairs: Sequence[SentencePair], data: PairsConfig) -> tuple[Tokenizer, Tokenizer]:
    """Tokenizers of sources and targets: the same one where they share a vocabulary."""
    if data.tokenizer is not None:
        given = pyrnn.text.read_tokenizer(data.tokenizer)
        return given, given
    sides = [[pair.source for pair in pairs], [pair.target for pair in pairs]]
    texts = [[*sides[0], *sides[1]]] if data.shared_vocabulary else sides
    size = data.max_vocabulary or (2000 if data.level == "subword" else None)
    found = [
        pyrnn.text.train_tokenizer(
            lambda lines=lines: (f"{line}\n" for line in lines),
            level=data.level,
            max_size=size,
            min_count=data.min_count,
        )
        for lines in texts
    ]
    return found[0], found[-1]


def load_tokenizers(folder: Path) -> tuple[Tokenizer, Tokenizer]:
    """Those of a run."""
    source, target = (pyrnn.text.Tokenizer.load(folder / name) for name in (SOURCE_VOCABULARY, VOCABULARY))
    return source, target


def training_batches(fields: Mapping[str, Sequence[Tensor]], job: Job) -> PairBatches:
    """Batches of `batch_size` pairs or of `batch_tokens` tokens, in an order that the seed decides."""
    size, tokens = job.train.batch_size, job.data.batch_tokens
    if tokens == 0:
        return _batches_of(fields, size, seed=job.train.seed)
    # So many pairs that only their tokens limit them, in as many equal shares as those of batch_size.
    return _batches_of(fields, size * tokens, seed=job.train.seed, max_tokens=tokens)


def batches_of(
    fields: Mapping[str, Sequence[Tensor]], job: Job, *, tokenizer: Tokenizer | None = None
) -> PairBatches:
    """Batches of what `encode` gave, in the order of the lengths."""
    return replace(_batches_of(fields, job.train.batch_size), tokenizer=tokenizer)


def _batches_of(fields: Mapping[str, Sequence[Tensor]], size: int, **options: Any) -> PairBatches:
    fill = {"output": pyrnn.losses.IGNORE}
    padded = pyrnn.data.PaddedBatches(fields, batch_size=size, fill=fill, groups=GROUPS, **options)
    # Every target ends with the token that begins the next one.
    return PairBatches(padded, start=int(fields["output"][0][-1]))
