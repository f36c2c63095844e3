"""Translation: sequences about other sequences, learned from pairs of them.

Dimension key: S source time, T target time, B batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyrnn
from pyrnn.models.configs import Seq2SeqConfig
from pyrnn.tasks import pairs as paired
from pyrnn.tasks.pairs import SOURCE_VOCABULARY, VOCABULARY, PairBatches, PairsConfig
from pyrnn.tasks.words import WordTask, count_unknown
from pyrnn.train.run_folder import Run
from pyrnn.train.task import ANY, Batch, Batches, Loss, Objective, Split, Tables, Unknown, Verb, epoch_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyrnn.metrics import Metrics
    from pyrnn.models import Seq2Seq
    from pyrnn.models.pretrained import Pretrained
    from pyrnn.text import Source, Tokenizer
    from pyrnn.train.config import TrainConfig
    from pyrnn.train.job import Job

TRAIN, VALIDATION = "train.safetensors", "validation.safetensors"


@dataclass(frozen=True)
class TranslationRun(Run):
    """A trained translator, with the tokenizers of both sides."""

    model: Seq2Seq
    source_tokenizer: Tokenizer
    tokenizer: Tokenizer


class Translation(WordTask):
    """Cross-entropy of a target's tokens given its source; pairs of like length share a batch."""

    name = "translation"
    summary = "Train a translator on pairs of sentences: recurrent with attention, or a transformer."
    unit = "tokens"
    data_config = PairsConfig
    model_config = Seq2SeqConfig
    sizes = ("vocabulary_size", "source_vocabulary_size")
    vocabulary_settings = ("tokenizer", "level", "max_vocabulary", "min_count", "shared_vocabulary")
    files = (SOURCE_VOCABULARY, VOCABULARY, TRAIN, VALIDATION)
    objective = Objective("loss", "min")
    score_unit = ""
    defaults: ClassVar[Mapping[str, Tables]] = {
        ANY: {
            "model": {
                "embedding_size": 256,
                "hidden_size": 256,
                "num_layers": 1,
                "dropout": 0.3,
                "input_dropout": 0.2,
                "tied": "all",
            },
            "train": {
                "epochs": 20,
                "batch_size": 32,
                "learning_rate": 0.002,
                "weight_decay": 0.01,
                "label_smoothing": 0.1,
            },
        },
        "transformer": {
            "model": {"num_layers": 3, "num_heads": 4, "dropout": 0.2, "input_dropout": 0.1},
            "train": {"learning_rate": 0.001, "warmup_steps": 400},
        },
    }
    verbs: ClassVar[Mapping[str, Verb]] = {
        "translate": Verb("pyrnn.cli.translate:translate", whole=True),
        "score": Verb("pyrnn.tasks.pair_scores:score_pairs"),
        "analyze-search": Verb("pyrnn.cli.analyze_search:analyze_search", whole=True),
    }
    examples = (
        "RUN --pairs en-es.tsv",
        "RUN --pairs train.en --targets train.es --architecture transformer",
        "RUN --pairs dates --level character --objective bleu",
    )

    def objective_of(self, job: Job) -> Objective:
        """Loss or BLEU."""
        return Objective("bleu", "max") if job.data.objective == "bleu" else self.objective

    def prepare(self, job: Job, folder: Path) -> dict[str, int]:
        """Write the pairs as ids, and the tokenizers of both sides."""
        data: PairsConfig = job.data
        if not data.pairs:
            raise ValueError("a translator needs pairs to learn from: name their file with pairs")
        if job.model.tied == "all" and not (data.shared_vocabulary or data.tokenizer):
            raise ValueError(
                "tied 'all' is one embedding for both sides, whose tokens then must be the same: set tied to "
                "'target', or shared_vocabulary to true"
            )
        if data.validation_targets is not None and data.validation_pairs is None:
            raise ValueError("validation_targets are the targets of validation_pairs, and none are given")
        paired.refuse_idle_columns(data)
        if job.model.vector_input:
            raise ValueError("sentences are tokens: set vector_input to 0")
        with pyrnn.text.spool() as reusable:  # any of the files may be a pipe
            pairs = paired.read(data.pairs, data.targets, data, reusable)
            if data.validation_pairs is None:
                pairs, validation, _ = pyrnn.text.split_pairs(pairs, validation=data.validation_size, test=0)
            else:
                validation = paired.read(data.validation_pairs, data.validation_targets, data, reusable)
        if job.train.init_from is None:
            tokenizers = paired.train_tokenizers(pairs, data)
        else:
            start = Path(job.train.init_from)
            tokenizers = paired.load_tokenizers(start)
        folder.mkdir(parents=True, exist_ok=True)
        for name, tokenizer in zip((SOURCE_VOCABULARY, VOCABULARY), tokenizers, strict=True):
            tokenizer.save(folder / name)
        parts = (
            paired.kept(paired.encode(pairs, *tokenizers, data), data),
            paired.encode(validation, *tokenizers, data),
        )
        for name, part in zip((TRAIN, VALIDATION), parts, strict=True):
            pyrnn.data.write_sequences(folder / name, part, groups=paired.GROUPS)
        source, target = tokenizers
        return {"vocabulary_size": len(target), "source_vocabulary_size": len(source)}

    def build(self, job: Job) -> Seq2Seq:
        """A fresh model."""
        return pyrnn.models.Seq2Seq(job.model)

    def batches(self, job: Job, folder: Path, split: Split) -> PairBatches:
        """Training in an order that the seed decides, validation by length."""
        V, source = job.model.vocabulary_size, job.model.source_vocabulary_size
        sizes = {"source": source, "output": V}
        name = TRAIN if split == "train" else VALIDATION
        fields = pyrnn.data.read_sequences(folder / name, sizes, groups=paired.GROUPS)
        if split == "train":
            return paired.training_batches(fields, job)
        by_bleu = job.data.objective == "bleu"
        tokenizer = pyrnn.text.Tokenizer.load(folder / VOCABULARY) if by_bleu else None
        return paired.batches_of(fields, job, tokenizer=tokenizer)

    def weight(self, batch: Batch) -> int:
        """Tokens to predict."""
        return int((batch["output"] != pyrnn.losses.IGNORE).sum())

    def loss(
        self, model: nn.Module, batch: Batch, carried: tuple[Tensor, ...] | None, config: TrainConfig
    ) -> Loss:
        """Cross-entropy of the targets."""
        read = batch["source"], batch["source_lengths"], batch["input"]
        return Loss(model(*read, batch["output"], label_smoothing=config.label_smoothing))

    def evaluate(self, model: nn.Module, batches: Batches) -> Metrics:
        """Loss, accuracy of the next token, and BLEU where the batches have a tokenizer."""
        assert isinstance(model, pyrnn.models.Seq2Seq)
        device = next(model.parameters()).device
        losses, hits = pyrnn.metrics.Perplexity(device), pyrnn.metrics.Accuracy(device)
        assert isinstance(batches, PairBatches)
        bleu, tokenizer = pyrnn.metrics.BLEU(), batches.tokenizer
        for batch in epoch_of(batches):
            source = pyrnn.models.Source(batch["source"].to(device), batch["source_lengths"].to(device))
            output = batch["output"].to(device)
            logits = model(*source, batch["input"].to(device))
            total = pyrnn.losses.sequence_cross_entropy(logits, output, reduction="sum")
            losses.update(total, self.weight(batch))
            hits.update(logits.argmax(-1), output)
            if tokenizer is not None:
                _add_greedy(bleu, model, source, batch["output"], tokenizer)
        parts = [losses, hits] if tokenizer is None else [losses, hits, bleu]
        return pyrnn.metrics.Combined(*parts)

    def sizes_of(self, model: Pretrained, batches: Batches) -> dict[str, int]:
        """Pairs of an epoch, and the tokens of both vocabularies."""
        assert isinstance(batches, PairBatches)
        config = model.config
        return {
            "pairs": batches.padded.sequences,
            "source vocabulary": config.source_vocabulary_size,
            "vocabulary": config.vocabulary_size,
        }

    def word_tables(self, job: Job, folder: Path) -> dict[str, tuple[str, ...]]:
        """The vectors of the source's words."""
        source, _ = paired.load_tokenizers(folder)
        return {"source_embedding.weight": source.word_list()}

    def load(self, folder: Path, job: Job, **options: Any) -> TranslationRun:
        """Model and tokenizers."""
        source, target = paired.load_tokenizers(folder)
        found, told = (len(target), len(source)), tuple(getattr(job.model, name) for name in self.sizes)
        if found != told:
            raise ValueError(
                f"{folder}: {VOCABULARY} and {SOURCE_VOCABULARY} have {found} tokens, config.json says {told}"
            )
        model = pyrnn.models.Seq2Seq.from_pretrained(folder, **options)
        return TranslationRun(model, job, pyrnn.train.read_run_metrics(folder), source, target)

    def read(self, run: Run, source: Source) -> PairBatches:
        """Pairs in columns, also scored by BLEU."""
        assert isinstance(run, TranslationRun)
        pairs = paired.pairs_of(run, source)
        fields = paired.encode(pairs, run.source_tokenizer, run.tokenizer, run.job.data)
        return paired.batches_of(fields, run.job, tokenizer=run.tokenizer)

    def unknown(self, run: Run, batches: Batches) -> Unknown | None:
        """Tokens of targets that the vocabulary lacks."""
        assert isinstance(run, TranslationRun)
        parts = (batch["output"] for batch in epoch_of(batches))
        return count_unknown((part[part != pyrnn.losses.IGNORE] for part in parts), run.tokenizer.unk_id)


def _add_greedy(bleu: Any, model: Seq2Seq, source: Any, output: Tensor, tokenizer: Tokenizer) -> None:
    """Add what the model writes for a batch, each token the likeliest one."""
    import torch

    end = paired.start_id(tokenizer)
    # Of the source alone: processes share a batch, and its longest target may be another's.
    config = pyrnn.search.SearchConfig(beam_width=1, max_tokens=50, max_tokens_per_source=3.0)
    found = pyrnn.search.beam_search(
        model,
        [torch.tensor([end])] * output.shape[1],
        config,
        eos_id=end,
        state=model.start(source),
        source_lengths=source.lengths,
        suppress_ids=() if tokenizer.unk_id is None else (tokenizer.unk_id,),
    )
    for (best,), row in zip(found, output.T, strict=True):
        if not bool((row != pyrnn.losses.IGNORE).any()):
            continue  # a process without a row of this batch has one of filling
        reference = row[(row != pyrnn.losses.IGNORE) & (row != end)]
        bleu.update(tokenizer.decode(best.content), tokenizer.decode(reference))
