"""Greedy and beam search of a Transformer of the usual size, against CTranslate2 with the same weights.

CTranslate2 is a library in C++ that runs trained Transformers. It is no dependency of pyrnn: install it for
this benchmark alone. The model is a translator of 6 + 6 layers, width 512, 8 heads, feed-forward networks of
2048 features and a vocabulary of 8,000, in float32. Its weights are drawn; a temporary folder hands them to
CTranslate2 before anything is timed.

Times include, on both sides, the encoder, all steps of decoder and search, and making a tensor of the
outputs; not: loading the model. CTranslate2 also looks words up, because it takes and gives strings. All
outputs have STEPS tokens: CTranslate2 is told so, and EOS is unlikely. It runs with its own settings, its
choice of a library for matrix products included, but for the threads: as many as ours, one translation at a
time. What else makes it fast (int8, several translations at once) is left out.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pyrnn.bench import record, report, seq2seq
from pyrnn.bench.comparison import Benchmark
from pyrnn.bench.record import Row
from pyrnn.bench.seq2seq import BEGIN, EOS, STEPS, WIDTH, Search, make_model, make_source, written
from pyrnn.bench.step import Step
from pyrnn.models import Seq2Seq
from pyrnn.nn import sinusoidal_positions

SPECIAL = {EOS: "</s>", BEGIN: "<s>", 2: "<unk>"}
MISSING = "this benchmark needs CTranslate2: .venv/bin/python -m pip install ctranslate2"


@dataclass(frozen=True)
class Case(seq2seq.Case):
    """One line of the benchmark."""

    vocabulary: ClassVar[int] = 8000
    layers: ClassVar[int] = 6
    heads: ClassVar[int] = 8

    def operations(self) -> int:
        """Of the products of encoder and decoder."""
        layer = 2 * 12 * self.H**2 + 4 * self.H * STEPS
        return self.B * STEPS * self.layers * layer + super().operations()

    def facts(self) -> Row:
        """What a row says of the case beside its fields."""
        return {
            **super().facts(),
            "includes": "encoder, all steps of decoder and search; not: loading the model",
            "ctranslate2": importlib.metadata.version("ctranslate2"),
        }

    def meaningful(self) -> bool:
        """Both have float32 on every processor."""
        return super().meaningful() and self.dtype == "float32"


def sides(case: Case) -> tuple[Step, Step]:
    """Both translate the same sentences."""
    model, source, words = make_model(case), make_source(case), words_of(case.vocabulary)
    translator = translator_of(model)
    sentences = [[words[token] for token in sentence] for sentence in source.tokens.T.tolist()]
    number = {word: token for token, word in enumerate(words)}
    with torch.no_grad():
        state = model.start(source)

    def theirs() -> Tensor:
        found = translator.translate_batch(
            sentences, beam_size=case.width, max_decoding_length=STEPS, min_decoding_length=STEPS
        )
        return torch.tensor([[number[word] for word in result.hypotheses[0]] for result in found])

    ours = Search(model, state, lambda: written(model, case, model.start(source)))
    return ours, Search(model, state, theirs)


def translator_of(model: Seq2Seq) -> Any:
    """CTranslate2's translator of a Transformer with norms before the parts, on as many threads as torch."""
    package, config = importlib.import_module("ctranslate2"), model.config
    spec = package.specs.TransformerSpec.from_config(config.num_layers, config.num_heads, pre_norm=True)
    for name, weight in weights_of(model).items():
        scope, _, field = name.rpartition("/")
        setattr(package.specs.model_spec.index_spec(spec, scope), field, weight)
    spec.register_source_vocabulary(words_of(config.source_vocabulary_size))
    spec.register_target_vocabulary(words_of(config.vocabulary_size))
    spec.validate()
    with tempfile.TemporaryDirectory() as folder:
        spec.save(folder)
        options = {"inter_threads": 1, "intra_threads": torch.get_num_threads()}
        return package.Translator(folder, device="cpu", compute_type="float32", **options)


def words_of(size: int) -> list[str]:
    """A vocabulary."""
    return [SPECIAL.get(token, str(token)) for token in range(size)]


def weights_of(model: Seq2Seq) -> dict[str, Tensor]:
    """A Transformer's weights by the names that CTranslate2's specification has for them.

    It multiplies embeddings by sqrt(E) and activates with ReLU, as we do; its own sinusoids are in another
    order, so the table of ours is among the weights.
    """
    coder: Any = model.transformer
    positions = sinusoidal_positions(2 * STEPS, model.config.hidden_size)
    found: dict[str, Any] = {
        "encoder/embeddings_0/weight": model.source_embedding.weight,
        "decoder/embeddings/weight": model.embedding.weight,
        "encoder/position_encodings/encodings": positions,
        "decoder/position_encodings/encodings": positions,
        **dict(_pair("decoder/projection", model.projection)),
    }
    for scope, stack in (("encoder", coder.encoder), ("decoder", coder.decoder)):
        found |= _pair(f"{scope}/layer_norm", stack.norm)
        for number, layer in enumerate(stack.layers):
            found |= _layer(f"{scope}/layer_{number}", layer)
    return {name: weight.detach() for name, weight in found.items()}


def _layer(scope: str, layer: Any) -> dict[str, Tensor]:
    """Self-attention, in a decoder attention to the source, and the network, each with the norm before it."""
    own, attention = layer.self_attn, getattr(layer, "multihead_attn", None)
    parts = {
        "self_attention/linear_0": (own.in_proj_weight, own.in_proj_bias),
        "self_attention/linear_1": own.out_proj,
        "self_attention/layer_norm": layer.norm1,
        "ffn/layer_norm": layer.norm2 if attention is None else layer.norm3,
        "ffn/linear_0": layer.linear1,
        "ffn/linear_1": layer.linear2,
    }
    if attention is not None:
        E = attention.embed_dim  # queries before it, keys and values behind
        parts |= {
            "attention/layer_norm": layer.norm2,
            "attention/linear_0": (attention.in_proj_weight[:E], attention.in_proj_bias[:E]),
            "attention/linear_1": (attention.in_proj_weight[E:], attention.in_proj_bias[E:]),
            "attention/linear_2": attention.out_proj,
        }
    return {key: tensor for name, part in parts.items() for key, tensor in _pair(f"{scope}/{name}", part)}


def _pair(name: str, part: Any) -> list[tuple[str, Tensor]]:
    """Weight and bias of a module or as a pair, with the names that they have in such a part."""
    weight, bias = part if isinstance(part, tuple) else (part.weight, part.bias)
    kinds = ("gamma", "beta") if name.endswith("norm") else ("weight", "bias")
    return [(f"{name}/{kind}", tensor) for kind, tensor in zip(kinds, (weight, bias), strict=True)]


def _versions(rows: Sequence[Row]) -> str:
    return f"CTranslate2 {', '.join(dict.fromkeys(row['ctranslate2'] for row in rows))}."


LAYOUT = report.Layout(
    "ctranslate2",
    across="model",
    names={"transformer": "Transformer"},
    shape=("B", "H"),
    torch="CTranslate2",
    contender="ctranslate2",
    variants={"beam": f"beam of {WIDTH}"},
    note=f"{STEPS} tokens, a vocabulary of {Case.vocabulary}, {Case.layers} + {Case.layers} layers.",
    remark=_versions,
)
SHAPES = tuple((B, 512) for B in (1, 16, 64))
BENCHMARK = Benchmark(
    LAYOUT,
    about=__doc__,
    make_case=Case,
    sides=sides,
    shapes={"greedy": SHAPES, "beam": SHAPES},
    quick={(1, 512)},
    page=record.ROOT / "docs" / "search.md",
    meaningful=Case.meaningful,
    threads=1,
)


def main(argv: list[str] | None = None) -> None:
    """Measure, record, print.

    Raises:
        SystemExit: the package is not installed.
    """
    BENCHMARK.arguments(argv)  # --help needs no package
    if importlib.util.find_spec("ctranslate2") is None:
        raise SystemExit(MISSING)
    BENCHMARK.main(argv)


if __name__ == "__main__":
    main()
