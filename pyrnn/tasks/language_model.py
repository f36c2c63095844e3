"""Language modelling: predict each token of a text from those before it.

Dimension key: T time, B batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import pyrnn
from pyrnn._configuration import require_choices, require_range
from pyrnn.models.configs import CONFIG, LanguageModelConfig
from pyrnn.tasks.words import WordTask, count_unknown
from pyrnn.train.run_folder import Run, read_job, read_tables
from pyrnn.train.task import Batch, Batches, Loss, Objective, Split, Tables, Unknown, Verb, epoch_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyrnn.data import StreamBatches, TokenFile
    from pyrnn.metrics import Perplexity
    from pyrnn.models import LanguageModel
    from pyrnn.models.pretrained import Pretrained
    from pyrnn.text import LineReader, Source, Tokenizer
    from pyrnn.train.config import TrainConfig
    from pyrnn.train.job import Job

VOCABULARY, TOKENS, VALIDATION_TOKENS = "vocab.json", "tokens.bin", "validation.bin"

_AT_ONCE = 1024  # sentences: scores appear while a long input is still being read


@dataclass(frozen=True)
class TextConfig:
    """The text of a run, its tokens, and how they are read.

    Args:
        text: a file (UTF-8, plain or gzip), a folder of files, or "shakespeare" for the one that comes with
            the package. Several are joined in their order, each from a line of its own.
        validation_text: what to validate on, named in the same way; the end of `text` unless
            given.
        validation_fraction: how much of `text` that is.
        level: tokens are "character", "word" or "subword".
        max_vocabulary: keep the most frequent tokens only, the others become <unk>; subword: how many to
            learn, 8192 unless given.
        min_count: tokens that occur less often become <unk>.
        bptt_steps: steps T between two cuts of the graph; the `batch_size` of the recipe is the number of
            parallel streams of the text.
        validation_streams: parallel streams of the validation text; each starts once from a zero state.
        validation_steps: steps of a window of the validation; it does not change the loss.

    Raises:
        ValueError: a fraction outside (0, 1), or a count below one or beyond 64 bits.
    """

    text: str | tuple[str, ...] = "shakespeare"
    validation_text: str | tuple[str, ...] | None = None
    validation_fraction: float = 0.1
    level: Literal["character", "word", "subword"] = "character"
    max_vocabulary: int | None = None
    min_count: int = 1
    bptt_steps: int = 64
    validation_streams: int = 8
    validation_steps: int = 256

    def __post_init__(self) -> None:
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must lie between 0 and 1, got {self.validation_fraction}")
        counts = ("min_count", "bptt_steps", "validation_streams", "validation_steps")
        require_range(self, counts, least=1)
        if self.max_vocabulary is not None:
            require_range(self, ("max_vocabulary",), least=1)
        require_choices(self, ("level",))


@dataclass(frozen=True)
class TextRun(Run):
    """A trained language model, with the tokenizer that it was trained with."""

    model: LanguageModel
    tokenizer: Tokenizer


class LanguageModeling(WordTask):
    """Language models on streams of a text, by truncated back-propagation through time.

    The text is cut into `batch_size` streams that are read side by side, `bptt_steps` at a time; the state
    flows from one window to the next, its gradient does not.
    """

    name = "language-model"
    summary = (
        "Train a language model on a text: an RNN, GRU or LSTM, a transformer, or a feed-forward network."
    )
    unit = "tokens"
    data_config = TextConfig
    model_config = LanguageModelConfig
    sizes = ("vocabulary_size", "condition_size")
    vocabulary_settings = ("level", "max_vocabulary", "min_count")
    files = (VOCABULARY, TOKENS, VALIDATION_TOKENS)
    objective = Objective("loss", "min")
    score_unit = " nats per token"
    #: Those of the character model.
    defaults: ClassVar[Mapping[str, Tables]] = {
        "transformer": {
            "model": {"hidden_size": 128, "num_layers": 4, "dropout": 0.05},
            "train": {"batch_size": 16, "learning_rate": 0.004},
        },
        "feedforward": {"model": {"num_layers": 1}},
    }
    verbs: ClassVar[Mapping[str, Verb]] = {
        "generate": Verb("pyrnn.cli.generate:generate", whole=True),
        "score": Verb("pyrnn.tasks.language_model:score_lines"),
    }
    examples = (
        "RUN --text book.txt",
        "RUN --text book.txt --level word --max-vocabulary 10000",
        "RUN --text book.txt --architecture transformer",
        "RUN --text book.txt --level word --architecture feedforward --window 4",
    )

    def prepare(self, job: Job, folder: Path) -> dict[str, int]:
        """Write the text as ids, and its tokenizer."""
        data: TextConfig = job.data
        with pyrnn.text.spool() as reusable:  # for the text is read twice, and may be a pipe
            text = reusable(pyrnn.corpora.text_paths(data.text))
            if job.train.init_from is None:
                tokenizer = pyrnn.text.train_tokenizer(
                    lambda: pyrnn.text.read_text(text),
                    level=data.level,
                    max_size=data.max_vocabulary,
                    min_count=data.min_count,
                )
            else:
                tokenizer = pyrnn.text.Tokenizer.load(Path(job.train.init_from) / VOCABULARY)
            folder.mkdir(parents=True, exist_ok=True)
            tokenizer.save(folder / VOCABULARY)
            count = pyrnn.data.encode_file(text, tokenizer, folder / TOKENS)
            if data.validation_text is None:
                held_out = pyrnn.data.validation_tokens(count, data.validation_fraction)
                count -= held_out
            else:
                other = reusable(pyrnn.corpora.text_paths(data.validation_text))
                held_out = pyrnn.data.encode_file(other, tokenizer, folder / VALIDATION_TOKENS)
        pyrnn.data.require_a_window(count, batch_size=job.train.batch_size, window=data.bptt_steps)
        pyrnn.data.require_a_window(held_out, batch_size=1, window=1)
        return {"vocabulary_size": len(tokenizer), "condition_size": 0}

    def build(self, job: Job) -> LanguageModel:
        """A fresh model."""
        return pyrnn.models.LanguageModel(job.model)

    def batches(self, job: Job, folder: Path, split: Split) -> StreamBatches:
        """Windows of one of the two texts."""
        train, validation = run_ids(job, folder)
        return training_batches(train, job) if split == "train" else validation_batches(validation, job)

    def weight(self, batch: Batch) -> int:
        """Tokens to predict."""
        return int((batch["target"] != pyrnn.losses.IGNORE).sum())

    def loss(
        self, model: nn.Module, batch: Batch, carried: tuple[Tensor, ...] | None, config: TrainConfig
    ) -> Loss:
        """Cross-entropy of a window, from the state that the one before left."""
        total, state = model(
            batch["input"],
            pyrnn.models.state_of(carried),
            targets=batch["target"],
            label_smoothing=config.label_smoothing,
        )
        return Loss(total, pyrnn.models.state_tensors(pyrnn.models.detach_state(state)))

    def sizes_of(self, model: Pretrained, batches: Batches) -> dict[str, int]:
        """Tokens to predict in an epoch, and those of the vocabulary."""
        assert isinstance(batches, pyrnn.data.StreamBatches)
        return {"tokens": batches.pairs, "vocabulary": model.config.vocabulary_size}

    def word_tables(self, job: Job, folder: Path) -> dict[str, tuple[str, ...]]:
        """The vectors of words, unless the input is one-hot."""
        if job.model.input == "one-hot":
            raise ValueError("one-hot input has no vectors of words: set input to 'embedding'")
        return {"embedding.weight": pyrnn.text.Tokenizer.load(folder / VOCABULARY).word_list()}

    def carried_shapes(self, model: nn.Module, batches: Batches, steps: int) -> list[tuple[int, ...]]:
        """Those of the state after so many windows."""
        assert isinstance(batches, pyrnn.data.StreamBatches)
        assert isinstance(model, pyrnn.models.LanguageModel)
        return pyrnn.models.state_shapes(model.config, batches.batch_size, batches.steps_read(steps))

    def evaluate(self, model: nn.Module, batches: Batches) -> Perplexity:
        """Loss and perplexity over every pair of the text once."""
        device = next(model.parameters()).device
        scores, state = pyrnn.metrics.Perplexity(device), None
        for batch in epoch_of(batches):
            total, state = model(batch["input"].to(device), state, targets=batch["target"].to(device))
            scores.update(total, self.weight(batch))
        return scores

    def load(self, folder: Path, job: Job, **options: Any) -> TextRun:
        """Model and tokenizer; `backend` is an option."""
        tokenizer = pyrnn.text.Tokenizer.load(folder / VOCABULARY)
        if len(tokenizer) != (told := job.model.vocabulary_size):
            raise ValueError(f"{folder}: {VOCABULARY} has {len(tokenizer)} tokens, config.json says {told}")
        model = pyrnn.models.LanguageModel.from_pretrained(folder, **options)
        return TextRun(model, job, pyrnn.train.read_run_metrics(folder), tokenizer)

    def read(self, run: TextRun, source: Source) -> StreamBatches:
        """A text of any length, as ids in a temporary file that goes with the batches."""
        ids = pyrnn.data.encoded_text(pyrnn.corpora.text_paths(source), run.tokenizer)
        return validation_batches(ids, run.job)

    def unknown(self, run: Run, batches: Batches) -> Unknown | None:
        """Tokens to predict that the vocabulary lacks."""
        assert isinstance(run, TextRun)
        parts = (batch["target"] for batch in epoch_of(batches))
        return count_unknown((part[part != pyrnn.losses.IGNORE] for part in parts), run.tokenizer.unk_id)


def score_lines(run: TextRun, lines: Iterable[str]) -> Iterator[str]:
    r"""Read sentences from standard input, one a line, and print each one's log-probability.

      printf 'to be or not to be\nbe not or to be to\n' | pyrnn score runs/book

    The columns, separated by tabs: log-probability in nats, nats per token, perplexity, tokens scored,
    unknown tokens, sentence. Empty lines are left out. A line that cannot be scored has "-" for numbers and,
    in a seventh column, why; the exit code then is 2.

    A translator scores pairs, the source, a tab and the target in each line, and prints both.
    """
    reader = pyrnn.text.as_lines(lines)
    failed = count = 0
    sentences = _sentences(run.tokenizer, reader)
    for part in pyrnn.text.gathered(sentences, lambda: reader.ready, most=_AT_ONCE):
        encoded = [sentence.ids for sentence in part if sentence.ids is not None]
        scores = iter(pyrnn.search.score_encoded(run.model, run.tokenizer, encoded))
        for sentence in part:
            count += 1
            if sentence.ids is None:
                failed += 1
                yield f"-\t-\t-\t-\t-\t{sentence.text}\tnot scored: {sentence.problem}"
                continue
            one = next(scores)
            numbers = f"{one.log_probability:.4f}\t{one.per_token:.4f}\t{one.perplexity:.2f}"
            yield f"{numbers}\t{one.tokens}\t{one.unknown}\t{sentence.text}"
    if not count:
        raise ValueError("standard input has no sentences: give one a line")
    if failed:
        raise ValueError(f"{failed} of {count} sentences could not be scored; their lines say why")


class _Sentence(NamedTuple):
    """A line to score: its ids [N + 1], or what is wrong with it."""

    text: str
    ids: Tensor | None
    problem: str = ""


def _sentences(tokenizer: Tokenizer, reader: LineReader) -> Iterator[_Sentence]:
    """The lines that are not empty; one that cannot be used is no reason to leave the others."""
    for line in pyrnn.text.numbered_lines(reader):
        if line.problem:
            yield _Sentence("", None, line.problem)
        elif line.text:
            try:
                yield _Sentence(line.text, pyrnn.search.encode_sentence(tokenizer, line.text))
            except ValueError as error:
                yield _Sentence(line.text, None, f"line {line.number}: {error}")


def training_batches(ids: Tensor | TokenFile, job: Job) -> StreamBatches:
    """The windows of a text that a job trains on.

    Raises:
        ValueError: the text is too short for one window of all streams.
    """
    return pyrnn.data.StreamBatches(ids, batch_size=job.train.batch_size, window=job.data.bptt_steps)


def validation_batches(ids: Tensor | TokenFile, job: Job) -> StreamBatches:
    """Batches of a text to validate on: fewer streams and steps where it is short, since all of it counts.

    Raises:
        ValueError: the text has fewer than two tokens.
    """
    pairs, window = len(ids) - 1, job.data.validation_steps
    streams = max(1, min(job.data.validation_streams, pairs // window))
    return pyrnn.data.StreamBatches(ids, batch_size=streams, window=max(1, min(window, pairs)))


def run_ids(job: Job, folder: Path) -> tuple[TokenFile, TokenFile]:
    """The training and the validation text of a run as ids, which are read as they are used.

    Raises:
        FileNotFoundError: the run's token files are not there.
        ValueError: one of them is damaged.
    """
    V = job.model.vocabulary_size
    ids = pyrnn.data.open_tokens(folder / TOKENS, V)
    if job.data.validation_text is None:
        return pyrnn.data.split_validation(ids, job.data.validation_fraction)
    return ids, pyrnn.data.open_tokens(folder / VALIDATION_TOKENS, V)


def bytes_per_token(folder: Path) -> float | None:
    """How long a token of a run's validation text is in UTF-8, by its beginning; None of other runs.

    It makes losses of different tokens comparable: bits per byte are nats per token / ln 2 / this. The text
    is the one that the ids give back; of words that is without the white space that they do not keep.

    Raises:
        ValueError: a file of the run is damaged.
    """
    needed = [folder / name for name in (CONFIG, VOCABULARY, TOKENS)]
    if not all(path.exists() for path in needed) or read_tables(folder)["task"] != LanguageModeling.name:
        return None
    job = read_job(folder, LanguageModeling())
    tokenizer = pyrnn.text.Tokenizer.load(folder / VOCABULARY)
    ids = next(iter(run_ids(job, folder)[1].blocks()))
    return len(tokenizer.decode(ids).encode()) / len(ids)
