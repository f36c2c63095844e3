"""What `explain` says is what the operator does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import pyrnn
import pyrnn.nn
from pyrnn import _native
from pyrnn.models import LanguageModel, LanguageModelConfig
from pyrnn.ops.recurrent import cpu
from pyrnn.ops.recurrent.eager import EagerRecurrent

X = torch.randn(8, 4, 3)


def test_each_layer_is_named() -> None:
    layer = pyrnn.LSTM(3, 20, 2, bidirectional=True, proj_size=5)
    explanation = pyrnn.explain(layer, X)
    assert [entry.sizes for entry in explanation.layers] == ["I = 3, H = 20, P = 5", "I = 10, H = 20, P = 5"]
    assert {entry.path for entry in explanation.layers} == {"native"}
    assert {entry.isa for entry in explanation.layers} == {_native.isa()}
    assert {entry.kernel for entry in explanation.layers} == {"lstm, float32, both directions"}
    assert explanation.call.startswith(f"{layer}: T = 8, B = 4, padded")


def test_the_split_is_the_one_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    problems: list[Any] = []
    forward = cpu.forward

    def recorded(call: Any, problem: Any, **options: Any) -> Any:
        problems.append(problem)
        return forward(call, problem, **options)

    monkeypatch.setattr(cpu, "forward", recorded)
    monkeypatch.setattr(
        EagerRecurrent, "__call__", lambda *_, **__: "left out"
    )  # the same kernels, called from C++
    explained: list[Any] = []
    split = cpu.split
    monkeypatch.setattr(
        cpu, "split", lambda problem, **options: (explained.append(problem), split(problem, **options))[1]
    )
    packed = pack_padded_sequence(X, torch.tensor([8, 5, 5, 1]))
    for layer, input in (
        (pyrnn.GRU(3, 4, 2, bidirectional=True), X),
        (pyrnn.GRU(3, 4, 2, batch_first=True), X),
        (pyrnn.LSTM(3, 4, 2, proj_size=2, checkpoint_every=3), X[:, 0]),
        (pyrnn.RNN(3, 4, nonlinearity="relu"), packed),
    ):
        layer(input)
        pyrnn.explain(layer, input)
    assert len(problems) == 7
    assert explained == [problem for problem in problems for _ in ("forward", "backward")]


@pytest.mark.parametrize("threads", [1, 2])
def test_threads(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        (entry,) = pyrnn.explain(pyrnn.GRU(64, 256), torch.zeros(16, 64, 64)).layers
    finally:
        torch.set_num_threads(before)
    assert entry.threads == threads


def test_passes_that_split_differently_are_both_told(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = pyrnn.GRU(3, 4), torch.zeros(8, 4, 3)
    split = _native.Split(2, 1, 2, "one reason")
    monkeypatch.setattr(
        cpu,
        "split",
        lambda _, *, backward: _native.Split(1, 2, 1, "another") if backward else split,
    )
    told = pyrnn.explain(layer, x).layers[0].split
    assert told is not None
    assert told.startswith("forward 1 direction x 2 parts of the batch")
    assert "one reason; backward 1 direction x 1 part" in told
    with torch.no_grad():
        assert "backward" not in str(pyrnn.explain(layer, x).layers[0].split)


def test_other_instruction_set() -> None:
    before = _native.isa()
    _native.set_isa("baseline")
    try:
        assert pyrnn.explain(pyrnn.GRU(3, 4), X).layers[0].isa == "baseline"
    finally:
        _native.set_isa(before)


def test_the_reference_is_named_with_its_reason() -> None:
    explanation = pyrnn.explain(pyrnn.GRU(3, 4).half(), X.half())
    (entry,) = explanation.layers
    assert entry.path == "reference"
    assert "not in torch.float16" in entry.reason
    assert entry.kernel == "pyrnn.reference.recurrent, gru, float16, one direction"
    assert (entry.isa, entry.threads, entry.engine, entry.split) == (None, None, None, None)
    assert "instruction" not in str(explanation)


def test_autocast_is_seen() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert pyrnn.explain(pyrnn.GRU(3, 4), X).layers[0].kernel == "gru, bfloat16, one direction"
    with torch.autocast("cpu", dtype=torch.float16):
        assert pyrnn.explain(pyrnn.GRU(3, 4), X).layers[0].path == "reference"


def test_memory() -> None:
    layer = pyrnn.LSTM(3, 16)

    def memory() -> str:
        return pyrnn.explain(layer, X).layers[0].memory

    # 8 * 4 tokens, 5 * 16 numbers of 4 bytes, and 16 of the output
    assert memory() == "12.0 KiB beside the output: every gate and a copy of it"
    layer.checkpoint_every = 4
    assert memory() == "0.5 KiB beside the output, checkpoint_every = 4: the gates are computed again"
    with torch.no_grad():
        assert memory() == "nothing is kept: no gradient is asked for"
    layer.requires_grad_(False)
    assert memory() == "nothing is kept: no gradient is asked for"
    rnn = pyrnn.RNN(3, 16)
    assert pyrnn.explain(rnn, X).layers[0].memory == "2.0 KiB beside the output: a copy of it"
    rnn.checkpoint_every = 4
    assert pyrnn.explain(rnn, X).layers[0].memory.startswith("nothing beside the output")


def test_lengths_and_packed_sequences() -> None:
    layer = pyrnn.GRU(3, 4)
    assert "T = 8, B = 4, with lengths" in pyrnn.explain(layer, X, lengths=[8, 5, 5, 1]).call
    packed = pack_padded_sequence(X, torch.tensor([8, 5, 5, 1]))
    assert "T = 8, B = 4, packed" in pyrnn.explain(layer, packed).call


def test_it_reads_like_a_page() -> None:
    lines = str(pyrnn.explain(pyrnn.GRU(3, 4, 2), X)).splitlines()
    assert lines[0].startswith("GRU(3, 4, num_layers=2): T = 8, B = 4")
    assert [line.split()[0] for line in lines[1:]] == [
        "layer",
        "route",
        "kernel",
        "small",
        "machine",
        "split",
        "memory",
    ] * 2


def test_misuse() -> None:
    with pytest.raises(TypeError, match=r"got torch.nn.modules.rnn.GRU; pyrnn.accelerate"):
        pyrnn.explain(nn.GRU(3, 4), X)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="Expected 3, got 5"):
        pyrnn.explain(pyrnn.GRU(3, 4), torch.zeros(8, 4, 5))


# ---- attention and Transformers ------------------------------------------------------------------


def test_attention() -> None:
    layer = pyrnn.nn.MultiheadAttention(16, 4, causal=True, window=(3, 0))
    x = torch.randn(5, 2, 16)
    explanation = pyrnn.explain(layer, x, x, x, need_weights=False)
    (entry,) = explanation.layers
    assert explanation.call == "MultiheadAttention: 1 attention"
    assert entry.sizes == "self-attention, B = 2, H = 4, T = 5, S = 5, D = 4"
    assert entry.kernel == "attention, float32, causal, window (3, 0)"
    assert (entry.path, entry.isa, entry.threads) == ("native", _native.isa(), torch.get_num_threads())
    assert entry.memory.startswith("0.2 KiB beside queries, keys")  # 2 * 4 * 5 numbers of 4 bytes
    with torch.no_grad():
        assert pyrnn.explain(layer, x, x, x).layers[0].memory.startswith("nothing is kept")
    words = str(explanation).splitlines()
    assert [line.split()[0] for line in words[1:]] == [
        *("layer", "route", "kernel", "small", "machine"),
        *("linear", "memory"),
    ]
    assert entry.linear is not None
    assert entry.linear.startswith("torch: ")


def test_attention_that_turns_queries() -> None:
    rotary = pyrnn.nn.RotaryEmbedding(4)
    x = torch.zeros(5, 2, 16)
    for dtype, words in (
        (torch.float32, "native: CPU kernels for torch.float32"),
        (torch.float16, "reference: "),
    ):
        layer = pyrnn.nn.TransformerEncoderLayer(16, 4, 8, dtype=dtype, rotary=rotary)
        explanation = pyrnn.explain(layer, x.to(dtype))
        assert str(explanation.layers[0].rotary).startswith(words)
        assert f"  rotary   {words}" in str(explanation)


def test_attention_by_the_reference() -> None:
    layer = pyrnn.nn.MultiheadAttention(16, 4, batch_first=True).half()
    (entry,) = pyrnn.explain(layer, torch.zeros(2, 5, 16).half(), *[torch.zeros(2, 7, 16).half()] * 2).layers
    assert entry.sizes == "attention, B = 2, H = 4, T = 5, S = 7, D = 4"
    assert (entry.path, entry.isa) == ("reference", None)
    assert entry.kernel == "pyrnn.reference.scaled_dot_product_attention, float16"
    assert "not in torch.float16" in entry.reason
    assert "keeps several times the weights of" in entry.memory


def test_every_attention_of_a_transformer_is_named() -> None:
    model = pyrnn.nn.Transformer(8, 2, 2, 1, 16)
    explanation = pyrnn.explain(model, torch.zeros(7, 3, 8), torch.zeros(5, 3, 8))
    assert [entry.sizes for entry in explanation.layers] == [
        "self-attention, B = 3, H = 2, T = 7, S = 7, D = 4",
        "self-attention, B = 3, H = 2, T = 7, S = 7, D = 4",
        "self-attention, B = 3, H = 2, T = 5, S = 5, D = 4",
        "attention, B = 3, H = 2, T = 5, S = 7, D = 4",
    ]


def test_keys_of_a_cache_are_counted() -> None:
    decoder = pyrnn.nn.TransformerDecoder(pyrnn.nn.TransformerDecoderLayer(8, 2, 16), 2)
    memory, cache = torch.zeros(7, 3, 8), decoder.new_cache()
    decoder(torch.zeros(4, 3, 8), memory, cache=cache)
    token = torch.zeros(1, 3, 8)
    entries = pyrnn.explain(decoder, token, memory, cache=cache).layers
    assert [entry.sizes.split(", ")[3:5] for entry in entries] == [["T = 1", "S = 5"], ["T = 1", "S = 7"]] * 2
    assert entries[0].kernel == "attention, float32, causal"


def test_torch_s_attention_is_not_explained() -> None:
    layer = pyrnn.nn.TransformerEncoderLayer(8, 2, 16)
    layer.self_attn = nn.MultiheadAttention(8, 2)
    with pytest.raises(TypeError, match=r"activation\.MultiheadAttention; pyrnn\.accelerate"):
        pyrnn.explain(layer, X)


def test_a_forward_put_on_the_instance_is_told_of() -> None:
    """It may name its arguments otherwise: the call is read as that of the class."""
    words = "its forward was replaced on the instance"
    encoder, x = pyrnn.nn.TransformerEncoderLayer(8, 2, 16), torch.zeros(5, 3, 8)
    assert words not in str(pyrnn.explain(encoder, x))
    for layer, input in ((encoder, x), (pyrnn.GRU(3, 4), X)):
        forward: Any = layer.forward
        layer.forward = lambda *given, forward=forward: forward(*given)  # type: ignore[method-assign]
        explanation = pyrnn.explain(layer, input)
        assert words in explanation.call
        assert explanation.layers[0].path == "native"
    own: Any = encoder.self_attn.forward
    del encoder.forward
    encoder.self_attn.forward = lambda *given, **named: own(*given, **named)
    explanation = pyrnn.explain(encoder, x)
    assert words not in explanation.call
    assert words in explanation.layers[0].reason


# ---- cells and whole models ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kernel"), [("RNNCell", "rnn_tanh"), ("GRUCell", "gru"), ("LSTMCell", "lstm")]
)
def test_a_cell_is_explained(name: str, kernel: str) -> None:
    cell = getattr(pyrnn, name)(3, 4)
    explanation = pyrnn.explain(cell, torch.randn(2, 3), hx=cell(torch.randn(2, 3)))
    assert explanation.call == f"{cell}: one step, B = 2, cpu"
    assert [entry.kernel for entry in explanation.layers] == [f"{kernel}, float32, one direction"]
    with pytest.raises(RuntimeError, match="inconsistent input_size: got 5 expected 3"):
        pyrnn.explain(cell, torch.randn(2, 5))
    if name == "LSTMCell":
        pyrnn.explain(cell, torch.randn(2, 3), [torch.zeros(2, 4), torch.zeros(2, 4)])  # as the cell takes it


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op")
def test_a_cell_without_features_has_no_kernel() -> None:
    (entry,) = pyrnn.explain(pyrnn.GRUCell(3, 0), torch.randn(2, 3)).layers
    assert (entry.path, entry.kernel) == ("reference", "torch.nn, gru")


def test_every_argument_of_the_layer_is_taken() -> None:
    layer = pyrnn.LSTM(3, 4)
    state = (torch.zeros(1, 4, 4), torch.zeros(1, 4, 4))
    pyrnn.explain(layer, X, state, lengths=[8, 1, 2, 3], return_cells=True)
    pyrnn.explain(pyrnn.nn.MultiheadAttention(8, 2), *[torch.randn(5, 2, 8)] * 3, average_attn_weights=False)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 8)
        self.norm = nn.BatchNorm1d(8)
        self.parts = nn.ModuleList([nn.TransformerEncoderLayer(8, 2, 16), nn.GRUCell(8, 4)])
        self.steps: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.rnn(x)[0].permute(1, 2, 0)).permute(2, 0, 1)
        with torch.no_grad():
            y = self.parts[0](y)
        state = None
        for step, row in enumerate(y):
            self.steps.append(step)
            state = self.parts[1](row, state)
        assert state is not None
        return state


def test_a_model_is_explained_by_its_layers() -> None:
    model = Decoder()
    pyrnn.accelerate(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    explanation: Any = pyrnn.explain(model, X)

    assert [(name, calls) for name, calls, _ in explanation.parts] == [
        ("rnn", 1), ("parts.0", 1), ("parts.1", 8),
    ]  # fmt: skip
    assert {layer.path for layer in explanation.layers} == {"native"}
    memory = [layer.memory.split(":")[0] for layer in explanation.layers]
    assert memory[1] == "nothing is kept"  # the grad mode is that of the call
    assert "nothing" not in memory[0]
    assert "parts.1, 8 calls:\n  GRUCell(8, 4): one step, B = 4, cpu" in str(explanation)
    # The model itself is as it was.
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not model.steps
    assert not model.rnn._forward_pre_hooks


def test_a_model_without_our_layers_is_refused() -> None:
    for model in (nn.Sequential(nn.GRU(3, 4)), nn.GRU(3, 4), nn.Linear(3, 4)):
        with pytest.raises(TypeError, match=r"a layer of pyrnn's or a model that has one.*pyrnn\.accelerate"):
            pyrnn.explain(model, X)


@pytest.mark.parametrize("architecture", ["lstm", "transformer"])
def test_a_language_model_is_explained(architecture: Any) -> None:
    config = LanguageModelConfig(vocabulary_size=9, architecture=architecture, num_layers=2, hidden_size=64)
    explanation = pyrnn.explain(LanguageModel(config), torch.zeros(5, 2, dtype=torch.int64))
    assert len(explanation.layers) == 2
