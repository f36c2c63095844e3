"""Word vectors: learned from which words stand near one another in a text.

Dimension key: V vocabulary, D width of a vector, N ids of a text.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyrnn
from pyrnn._configuration import require_choices, require_range
from pyrnn.models.word_configs import WordVectorConfig
from pyrnn.tasks.glove import PAIRS, check_settings, count_pairs, pair_batches, pairs_of
from pyrnn.tasks.words import WordTask
from pyrnn.train.run_folder import Run
from pyrnn.train.task import ANY, Batch, Batches, Objective, Split, Tables

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyrnn.data import TokenFile
    from pyrnn.embeddings import (
        CorpusBlocks,
        CountedVocabulary,
        GloveTrainer,
        PairBatches,
        PairLoss,
        PredictionLoss,
        Word2VecKernel,
        Word2VecTrainer,
        WordVectors,
    )
    from pyrnn.models import GloveModel, Word2VecModel
    from pyrnn.models.pretrained import Pretrained
    from pyrnn.text import Source
    from pyrnn.train.config import TrainConfig
    from pyrnn.train.distributed import ProcessGroup
    from pyrnn.train.job import Job

VOCABULARY, TOKENS, VALIDATION_TOKENS = "vocab.json", "tokens.bin", "validation.bin"

#: Of a text on which all is trained, what is judged nevertheless.
_JUDGED = 0.01
_SEARCHED = 1 << 16  # ids at once, for the end of a sentence


@dataclass(frozen=True)
class CorpusConfig:
    """The text of word vectors.

    Args:
        text: a file (UTF-8, plain or gzip), a folder of files, "/dev/stdin", or "shakespeare" for the one
            that comes with the package; a line is a sentence. Several are joined in their order.
        validation_text: what to judge on, named in the same way; the last sentences of `text` unless given.
        validation_fraction: how much of `text` that is; with 0 they are trained on as well.
        words: "words" finds words in running text, with signs as words of their own; "spaces" cuts at white
            space alone, for a text that was cut already.
        lowercase: read without regard to capitals.
        min_count: words that occur less often are left out, before windows are drawn.
        max_vocabulary: keep the most frequent words only.
        memory_mib: memory for GloVe's counts, in MiB; what it does not hold goes to temporary files, and no
            count depends on it. Without effect on other models.

    Raises:
        ValueError: a fraction outside [0, 1), or a count below one or beyond 64 bits.
    """

    text: str | tuple[str, ...] = "shakespeare"
    validation_text: str | tuple[str, ...] | None = None
    validation_fraction: float = 0.01
    words: Literal["words", "spaces"] = "words"
    lowercase: bool = False
    min_count: int = 5
    max_vocabulary: int | None = None
    memory_mib: float = 512.0

    def __post_init__(self) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction must be at least 0 and below 1, got {self.validation_fraction}"
            )
        require_range(self, ("min_count",), least=1)
        if self.max_vocabulary is not None:
            require_range(self, ("max_vocabulary",), least=1)
        require_range(self, ("memory_mib",), least=1 / 16)
        require_choices(self, ("words",))


@dataclass(frozen=True)
class WordVectorRun(Run):
    """Trained word vectors, with the words that they belong to."""

    model: Word2VecModel | GloveModel
    vocabulary: CountedVocabulary

    @cached_property
    def kernel(self) -> Word2VecKernel:
        """The loss that they were trained with, of skip-gram and CBOW."""
        return pyrnn.embeddings.Word2VecKernel(self.model.config, self.vocabulary, seed=self.job.train.seed)

    def word_matrix(self) -> Tensor:
        """The vectors of all words, [V, D] float32."""
        if isinstance(self.model, pyrnn.models.GloveModel):
            return pyrnn.embeddings.glove_matrix(self.model)
        return pyrnn.embeddings.word_matrix(self.model, self.kernel)


class WordVectorTraining(WordTask):
    """Skip-gram, CBOW and GloVe, by kernels of their own."""

    name = "word-vectors"
    summary = "Train word vectors on a text: skip-gram, CBOW or GloVe."
    unit = "words"
    data_config = CorpusConfig
    model_config = WordVectorConfig
    sizes = ("vocabulary_size",)
    vocabulary_settings = ("words", "lowercase", "min_count", "max_vocabulary")
    files = (VOCABULARY, TOKENS, VALIDATION_TOKENS, PAIRS)
    #: A loss that rises says that probabilities are learned by heart, not that the vectors get worse.
    objective = Objective("loss", "last")
    score_unit = " nats per prediction"
    devices = ("cpu",)
    several_processes = False
    unused = (
        "accumulate",
        "optimizer",
        "decay",
        "warmup_steps",
        "betas",
        "momentum",
        "weight_decay",
        "decayed",
        "label_smoothing",
        "clip_norm",
        "ema_decay",
        "average_epochs",
        "precision",
        "vectors",
        "freeze_vectors",
        "workers",
    )
    kind_setting = "model"
    defaults: ClassVar[Mapping[str, Tables]] = {
        ANY: {"train": {"epochs": 5, "learning_rate": 0.025, "batch_size": 100_000, "log_every": 10}},
        "glove": {
            "model": {"window": 10},
            "train": {"epochs": 25, "learning_rate": 0.05, "batch_size": 262_144},
        },
    }
    examples = (
        "RUN --text book.txt --lowercase",
        "RUN --text book.txt --model cbow --loss hierarchical-softmax",
        "RUN --text book.txt --max-n 6",
        "RUN --text book.txt --model glove --x-max 10",
    )

    def score_unit_of(self, job: Job) -> str:
        """GloVe's loss is a weighted square."""
        return "" if job.model.model == "glove" else self.score_unit

    def prepare(self, job: Job, folder: Path) -> dict[str, int]:
        """Write the text as ids, and what they mean."""
        data: CorpusConfig = job.data
        if job.model.model == "glove":
            check_settings(job)
        known = None
        if job.train.init_from is not None:
            known = pyrnn.embeddings.CountedVocabulary.load(Path(job.train.init_from) / VOCABULARY)
        folder.mkdir(parents=True, exist_ok=True)
        with pyrnn.text.spool() as reusable:  # for both texts may be the same pipe
            corpus = pyrnn.embeddings.make_corpus(
                reusable(pyrnn.corpora.text_paths(data.text)),
                folder / TOKENS,
                words=data.words,
                lowercase=data.lowercase,
                min_count=data.min_count,
                max_vocabulary=data.max_vocabulary,
                vocabulary=known,
            )
            if data.validation_text is not None:
                source = reusable(pyrnn.corpora.text_paths(data.validation_text))
                _encode(source, folder / VALIDATION_TOKENS, data, corpus.vocabulary)
        if job.model.model == "glove":
            count_pairs(corpus.ids, folder / PAIRS, job, len(corpus.vocabulary))
            (folder / TOKENS).unlink()  # nothing reads it any more
        corpus.vocabulary.save(folder / VOCABULARY)
        return {"vocabulary_size": len(corpus.vocabulary)}

    def build(self, job: Job) -> Word2VecModel | GloveModel:
        """Fresh vectors."""
        if job.model.model == "glove":
            return pyrnn.models.GloveModel(job.model)
        return pyrnn.models.Word2VecModel(job.model)

    def batches(self, job: Job, folder: Path, split: Split) -> CorpusBlocks | PairBatches:
        """Blocks of one of the two texts, or of all pairs."""
        if job.model.model == "glove":
            return pair_batches(folder, job)
        found = self._parts(job, folder, split)
        if split == "validation":
            _require_neighbours(found)
        return found

    def _parts(self, job: Job, folder: Path, split: Split) -> CorpusBlocks:
        vocabulary = _read_vocabulary(folder, job)
        ids = pyrnn.data.open_tokens(folder / TOKENS, len(vocabulary) + 1)
        data: CorpusConfig = job.data
        if data.validation_text is not None:
            other = pyrnn.data.open_tokens(folder / VALIDATION_TOKENS, len(vocabulary) + 1)
            return _blocks(ids if split == "train" else other, vocabulary, job)
        begin = _held_out(ids, data.validation_fraction or _JUDGED, end=len(vocabulary))
        if split == "validation":
            return _blocks(ids[begin:], vocabulary, job)
        if data.validation_fraction == 0:
            return _blocks(ids, vocabulary, job)
        if begin == 0:
            raise ValueError(
                "the text has too few sentences to hold one out: give more, a validation_text, or "
                "validation_fraction 0"
            )
        return _blocks(ids[:begin], vocabulary, job)

    def weight(self, batch: Batch) -> int:
        """Running words."""
        return int(batch["words"])

    def trainer(
        self, model: Pretrained, batches: Batches, config: TrainConfig, processes: ProcessGroup
    ) -> Word2VecTrainer | GloveTrainer:
        """The kernels."""
        if isinstance(batches, pyrnn.embeddings.PairBatches):
            assert isinstance(model, pyrnn.models.GloveModel)
            own = batches.shard(processes.rank, processes.world)
            return pyrnn.embeddings.GloveTrainer(model, own, config)
        assert isinstance(batches, pyrnn.embeddings.CorpusBlocks)
        assert isinstance(model, pyrnn.models.Word2VecModel)
        return pyrnn.embeddings.Word2VecTrainer(model, batches.shard(processes.rank, processes.world), config)

    def evaluate(self, model: nn.Module, batches: Batches) -> PredictionLoss | PairLoss:
        """Mean loss of a prediction, or of a pair."""
        if isinstance(batches, pyrnn.embeddings.PairBatches):
            assert isinstance(model, pyrnn.models.GloveModel)
            return pyrnn.embeddings.pair_loss(model, batches)
        assert isinstance(batches, pyrnn.embeddings.CorpusBlocks)
        assert isinstance(model, pyrnn.models.Word2VecModel)
        kernel = pyrnn.embeddings.Word2VecKernel(model.config, batches.vocabulary, seed=1)
        return pyrnn.embeddings.prediction_loss(kernel, model.input, model.output, batches)

    def sizes_of(self, model: Pretrained, batches: Batches) -> dict[str, int]:
        """Running words or pairs of an epoch, and the words of the vocabulary."""
        if isinstance(batches, pyrnn.embeddings.PairBatches):
            return {"pairs": len(batches.pairs), "vocabulary": model.config.vocabulary_size}
        assert isinstance(batches, pyrnn.embeddings.CorpusBlocks)
        return {"words": batches.words, "vocabulary": model.config.vocabulary_size}

    def load(self, folder: Path, job: Job, **options: Any) -> WordVectorRun:
        """The vectors, and their words."""
        glove = job.model.model == "glove"
        kind = pyrnn.models.GloveModel if glove else pyrnn.models.Word2VecModel
        model = kind.from_pretrained(folder, **options)
        return WordVectorRun(model, job, pyrnn.train.read_run_metrics(folder), _read_vocabulary(folder, job))

    def word_vectors(self, run: Run, folder: Path) -> WordVectors:
        """Of words, and with n-grams of every other word, too."""
        assert isinstance(run, WordVectorRun)
        if isinstance(run.model, pyrnn.models.Word2VecModel):
            return pyrnn.embeddings.word_vectors(run.model, run.kernel, run.vocabulary)
        return pyrnn.embeddings.WordVectors(run.vocabulary.words, run.word_matrix())

    def read(self, run: Run, source: Source) -> CorpusBlocks | PairBatches:
        """A text, in the words of the run; those that it does not know are left out."""
        assert isinstance(run, WordVectorRun)
        with tempfile.TemporaryDirectory() as folder:
            ids = _encode(
                pyrnn.corpora.text_paths(source), Path(folder, TOKENS), run.job.data, run.vocabulary
            )
        if run.job.model.model == "glove":
            return pairs_of(ids, run.job)
        return _blocks(ids, run.vocabulary, run.job)


def _encode(source: Source, to: Path, data: CorpusConfig, vocabulary: CountedVocabulary) -> TokenFile:
    return pyrnn.embeddings.make_corpus(
        source, to, words=data.words, lowercase=data.lowercase, vocabulary=vocabulary
    ).ids


def _blocks(ids: TokenFile, vocabulary: CountedVocabulary, job: Job) -> CorpusBlocks:
    return pyrnn.embeddings.CorpusBlocks(ids, vocabulary, job.train.batch_size)


def _require_neighbours(batches: CorpusBlocks) -> None:
    """Refuse a text to judge on in which no word has a neighbour."""
    end = len(batches.vocabulary)
    for step in range(len(batches)):
        word = batches[step]["ids"] < end
        if bool((word[1:] & word[:-1]).any()):
            return
    raise ValueError(
        "no sentence of the text to judge on has two words of the vocabulary: hold out more with "
        "validation_fraction, or name a validation_text"
    )


def _read_vocabulary(folder: Path, job: Job) -> CountedVocabulary:
    found = pyrnn.embeddings.CountedVocabulary.load(folder / VOCABULARY)
    if len(found) != (told := job.model.vocabulary_size):
        raise ValueError(f"{folder}: {VOCABULARY} has {len(found)} words, config.json says {told}")
    return found


def _held_out(ids: TokenFile, fraction: float, *, end: int) -> int:
    """Where the last sentences begin that are about `fraction` of all; `end` is the mark of an end."""
    import torch

    stop = min(int(len(ids) * (1 - fraction)), len(ids) - 1)
    while stop:
        begin = max(stop - _SEARCHED, 0)
        ends = (ids.windows(torch.tensor([begin]), stop - begin).squeeze(1) == end).nonzero()
        if len(ends):
            return begin + int(ends[-1]) + 1
        stop = begin
    return 0
