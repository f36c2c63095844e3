"""The benchmark against CTranslate2: its cases, the names of weights, and both sides finding the same."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
import torch

from pyrnn.bench import ctranslate2, record
from pyrnn.bench.ctranslate2 import BENCHMARK, MISSING, Case, sides, weights_of, words_of
from pyrnn.bench.harness import check_agreement
from pyrnn.bench.seq2seq import BEGIN, EOS, STEPS
from pyrnn.models import Seq2Seq, Seq2SeqConfig

SMALL = Case("transformer", "float32", "infer", "greedy", B=3, H=16)

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("ctranslate2") is None, reason="CTranslate2 is not installed"
)


SIZES = Seq2SeqConfig(
    50,
    architecture="transformer",
    source_vocabulary_size=60,
    hidden_size=16,
    embedding_size=16,
    num_layers=2,
    num_heads=4,
)


def make_model(config: Seq2SeqConfig = SIZES) -> Seq2Seq:
    """No parameter is as it was made: a bias of zeros would hide that it is missing."""
    torch.manual_seed(0)
    model = Seq2Seq(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.projection.bias.data[EOS] = -100
    return model


def _of_case(case: Case) -> Seq2Seq:
    return make_model(case.config())


def test_operations() -> None:
    layer = STEPS * 2 * (4 * 16 * 16 + 2 * 16 * 64 + 2 * STEPS * 16)
    decoder = super(Case, SMALL).operations()
    assert SMALL.operations() == 3 * 6 * layer + decoder
    assert decoder > 3 * STEPS * 2 * 16 * 8000


def test_selection() -> None:
    assert len(list(BENCHMARK.cases(BENCHMARK.arguments([])))) == 2 * 3
    assert BENCHMARK.arguments([]).threads == 1


def test_every_weight_has_a_name() -> None:
    model = make_model()
    weights = weights_of(model)
    tables = [weights[f"{side}/position_encodings/encodings"] for side in ("encoder", "decoder")]
    elements = sum(weight.numel() for weight in weights.values()) - sum(table.numel() for table in tables)
    assert elements == sum(parameter.numel() for parameter in model.parameters())
    assert all(not weight.requires_grad for weight in weights.values())
    assert len(weights) == 2 + 2 + 2 + 2 * 2 + 2 * 12 + 2 * 20


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("encoder/embeddings_0/weight", (60, 16)),
        ("decoder/embeddings/weight", (50, 16)),
        ("decoder/projection/bias", (50,)),
        ("encoder/layer_norm/gamma", (16,)),
        ("encoder/layer_1/self_attention/linear_0/weight", (48, 16)),
        ("encoder/layer_1/ffn/linear_0/weight", (64, 16)),
        ("decoder/layer_0/attention/linear_0/weight", (16, 16)),
        ("decoder/layer_0/attention/linear_1/bias", (32,)),
        ("decoder/layer_0/attention/linear_2/weight", (16, 16)),
        ("decoder/layer_1/ffn/layer_norm/beta", (16,)),
    ],
)
def test_names_and_shapes(name: str, shape: tuple[int, ...]) -> None:
    assert weights_of(make_model())[name].shape == shape


def test_words() -> None:
    words = words_of(5)
    assert len(set(words)) == 5
    assert (words[EOS], words[BEGIN]) == ("</s>", "<s>")


def test_without_the_package_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="pip install ctranslate2") as error:
        ctranslate2.main(["--no-record"])
    assert error.value.code == MISSING


def test_the_page_has_the_block() -> None:
    assert "<!-- bench:ctranslate2 -->" in (record.ROOT / "docs" / "search.md").read_text()


@needs_package
@pytest.mark.parametrize("variant", ["greedy", "beam"])
def test_both_sides_find_the_same(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctranslate2, "make_model", _of_case)
    ours, theirs = sides(replace(SMALL, variant=variant))
    for side in (ours, theirs):
        side.run()
    check_agreement(ours.compared(), theirs.compared(), variant)
    assert torch.equal(ours.results[0], theirs.results[0])


@needs_package
def test_a_row_names_the_version() -> None:
    row = BENCHMARK.measure(SMALL, seconds=0.0, repeats=3)
    assert row["ctranslate2"]
    assert row["ctranslate2_s"]["median"] > 0
    assert row["includes"].startswith("encoder")
