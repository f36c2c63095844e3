"""Models of two sequences: steps are the whole, rows keep their sources, padding changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pyrnn.models import Seq2Seq, Seq2SeqConfig, Source

V, SOURCES = 11, 13
KINDS: list[dict[str, Any]] = [
    {"architecture": "rnn", "attention": "none"},
    {"architecture": "lstm", "attention": "none", "num_layers": 3, "bidirectional": False},
    {"architecture": "gru", "attention": "dot"},
    {"architecture": "lstm", "attention": "scaled", "input_feeding": False},
    {"architecture": "lstm", "attention": "general", "tied": "target"},
    {"architecture": "lstm", "attention": "additive", "num_layers": 4, "residual": True},
    {"architecture": "gru", "attention": "location", "num_layers": 2},
    {"architecture": "rnn", "attention": "coverage"},
    {"architecture": "transformer", "num_layers": 2},
    {"architecture": "transformer", "norm_first": False},
]


def model_of(**kind: Any) -> Seq2Seq:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "embedding_size": 4, "num_layers": 1, "num_heads": 2, **kind}
    return Seq2Seq(Seq2SeqConfig(V, source_vocabulary_size=SOURCES, **sizes)).double().eval()


def sources(*lengths: int) -> Source:
    torch.manual_seed(1)
    return Source(torch.randint(SOURCES, (max(lengths), len(lengths))), torch.tensor(lengths))


def alone(model: Seq2Seq, source: Source, row: int, tokens: list[int]) -> Tensor:
    """Logits [V] after tokens about one source that nothing was beside or behind."""
    length = int(source.lengths[row])
    own = Source(source.tokens[:length, row : row + 1], source.lengths[row : row + 1])
    return model(*own, torch.tensor(tokens).unsqueeze(1))[-1, 0]


def attention_alone(model: Seq2Seq, source: Source, row: int, tokens: list[int]) -> Tensor:
    """Weights [S] of the last of tokens about one source that nothing was beside or behind."""
    length = int(source.lengths[row])
    state = model.start(Source(source.tokens[:length, row : row + 1], source.lengths[row : row + 1]))
    attention = model.step(torch.tensor([tokens]), state, need_weights=True).attention
    assert attention is not None
    return attention[0, -1]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(data=st.data())
@settings(max_examples=15)
def test_rows_take_their_past_and_their_source_along(kind: dict[str, Any], data: Any) -> None:
    """What a search does: after every step any rows go on, in any order. A forgotten `select` fails here."""
    model, source = model_of(**kind), sources(5, 1, 3)
    rows = [(n, [data.draw(st.integers(0, V - 1))]) for n in range(3)]
    with torch.no_grad():
        output = model.step(torch.tensor([tokens[0] for _, tokens in rows]), model.start(source))
        for _ in range(data.draw(st.integers(1, 4))):
            for (place, tokens), logits in zip(rows, output.logits, strict=True):
                torch.testing.assert_close(logits, alone(model, source, place, tokens))
            chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=4))
            more = [data.draw(st.integers(0, V - 1)) for _ in chosen]
            rows = [(rows[n][0], [*rows[n][1], token]) for n, token in zip(chosen, more, strict=True)]
            output = model.step(torch.tensor(more), output.state.select(torch.tensor(chosen)))
        for (place, tokens), logits in zip(rows, output.logits, strict=True):
            torch.testing.assert_close(logits, alone(model, source, place, tokens))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_steps_are_the_whole_and_a_state_is_a_value(kind: dict[str, Any]) -> None:
    model, source, target = model_of(**kind), sources(6, 2), torch.randint(V, (5, 2))
    with torch.no_grad():
        whole, first = model(*source, target), model.start(source)
        two = model.step(target[:2].T, first)
        torch.testing.assert_close(two.logits.transpose(0, 1), whole[:2])
        for _ in range(2):  # the same state once more
            state = two.state
            for tokens, expected in zip(target[2:], whole[2:], strict=True):
                output = model.step(tokens, state)
                torch.testing.assert_close(output.logits, expected)
                state = output.state


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_targets_of_unequal_lengths(kind: dict[str, Any]) -> None:
    model, source, target = model_of(**kind), sources(6, 2, 4), torch.randint(V, (5, 3))
    with torch.no_grad():
        output = model.step(target.T, model.start(source), lengths=torch.tensor([2, 5, 0]))
        further = model.step(torch.tensor([1, 2, 3]), output.state).logits
        for row, length in enumerate((2, 5, 0)):
            tokens = [*target[:length, row].tolist(), row + 1]
            torch.testing.assert_close(further[row], alone(model, source, row, tokens))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(data=st.data())
@settings(max_examples=15)
def test_unequal_lengths_in_any_step(kind: dict[str, Any], data: Any) -> None:
    """Rows that read nothing, some or all of what a step has, and are moved about between."""
    model, source = model_of(**kind), sources(5, 1, 3)
    rows: list[tuple[int, list[int]]] = [(n, []) for n in range(3)]
    with torch.no_grad():
        state = model.start(source)
        for _ in range(data.draw(st.integers(1, 4))):
            T = data.draw(st.integers(1, 3))
            tokens = torch.tensor([[data.draw(st.integers(0, V - 1)) for _ in range(T)] for _ in rows])
            lengths = None
            if data.draw(st.booleans()):
                lengths = torch.tensor([data.draw(st.integers(0, T)) for _ in rows])
            output = model.step(tokens, state, lengths=lengths, need_weights=True)
            read = [T] * len(rows) if lengths is None else lengths.tolist()
            rows = [(n, [*b, *t[:k].tolist()]) for (n, b), t, k in zip(rows, tokens, read, strict=True)]
            for row, (place, own) in enumerate(rows):
                if read[row]:
                    found = output.logits[row, read[row] - 1]
                    torch.testing.assert_close(found, alone(model, source, place, own))
                if read[row] and output.attention is not None:
                    expected = attention_alone(model, source, place, own)
                    found = output.attention[row, read[row] - 1]
                    torch.testing.assert_close(found[: len(expected)], expected)
                    assert not found[len(expected) :].any()
            chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=4))
            rows, state = [rows[n] for n in chosen], output.state.select(torch.tensor(chosen))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_stands_behind_a_source_is_not_read(kind: dict[str, Any]) -> None:
    model, source, target = model_of(**kind), sources(6, 2), torch.randint(V, (5, 2))
    other = Source(source.tokens.clone(), source.lengths)
    other.tokens[2:, 1] = 0
    torch.testing.assert_close(model(*source, target), model(*other, target), rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_parameter_learns(kind: dict[str, Any]) -> None:
    model, source, target = model_of(**kind).train(), sources(6, 2), torch.randint(V, (5, 2))
    model(*source, target).log_softmax(-1)[..., 0].sum().backward()
    silent = {"bias_key"}  # adds the same to the scores of all keys where nothing bends them
    missing = [
        name
        for name, p in model.named_parameters()
        if (p.grad is None or not p.grad.any()) and name.rpartition(".")[2] not in silent
    ]
    assert not missing


ATTENDING = [kind for kind in KINDS if kind.get("attention") != "none"]


@pytest.mark.parametrize("kind", ATTENDING, ids=str)
def test_attention_is_a_distribution_over_the_source(kind: dict[str, Any]) -> None:
    model, source = model_of(**kind), sources(6, 2)
    tokens = torch.tensor([[0, 1, 5], [1, 2, 3]])
    with torch.no_grad():
        several = model.step(tokens, model.start(source), need_weights=True).attention
        assert several is not None
        assert several.shape == (2, 3, 6)
        torch.testing.assert_close(several.sum(-1), torch.ones(2, 3, dtype=torch.float64))
        assert not several[1, :, 2:].any()
        state = model.start(source)
        for column, expected in zip(tokens.T, several.unbind(1), strict=True):
            output = model.step(column, state, need_weights=True)
            assert output.attention is not None
            assert output.attention.shape == (2, 6)
            torch.testing.assert_close(output.attention, expected)
            assert model.step(column, state).attention is None
            torch.testing.assert_close(model.step(column, state).logits, output.logits)
            state = output.state


def test_a_model_without_attention_has_none_to_give() -> None:
    model, source = model_of(architecture="gru", attention="none"), sources(6, 2)
    with torch.no_grad():
        assert model.step(torch.tensor([0, 1]), model.start(source), need_weights=True).attention is None


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_transformer_tells_what_its_last_layer_used(norm_first: bool) -> None:
    """By the formula, from what that layer was called with in every step; and no other layer is asked."""
    model = model_of(architecture="transformer", num_layers=3, norm_first=norm_first)
    assert model.transformer is not None
    attentions: list[Any] = [layer.multihead_attn for layer in model.transformer.decoder.layers]
    calls: list[list[Any]] = [[], [], []]
    for attention, seen in zip(attentions, calls, strict=True):
        attention.register_forward_pre_hook(
            lambda _, args, kwargs, seen=seen: seen.append((args[0], kwargs["need_weights"])),
            with_kwargs=True,
        )
    source, last = sources(6, 2), attentions[-1]
    with torch.no_grad():
        nn.init.normal_(last.in_proj_bias)
        nn.init.normal_(last.in_proj_weight)  # else all positions weigh alike
        state = model.start(source)
        (memory,) = state.source.tensors
        keys = nn.functional.linear(
            memory, *(part.chunk(3)[1] for part in (last.in_proj_weight, last.in_proj_bias))
        )
        for asked in (True, False, True):
            output = model.step(torch.tensor([1, 2]), state, need_weights=asked)
            state = output.state
            assert [seen[-1][1] for seen in calls] == [False, False, asked]
            if not asked:
                continue
            query = nn.functional.linear(
                calls[-1][-1][0][0], *(part.chunk(3)[0] for part in (last.in_proj_weight, last.in_proj_bias))
            )
            heads = [part.unflatten(-1, (2, 4)) for part in (query, keys)]
            scores = torch.einsum("nhd,snhd->nhs", *heads) / 2
            scores[1, :, 2:] = -torch.inf
            assert output.attention is not None
            torch.testing.assert_close(output.attention, scores.softmax(-1).mean(1))
            assert output.attention[0].max() > 0.3


def test_what_hangs_on_a_layer_is_called_with_weights_and_without() -> None:
    """A hook that changes a tensor, a forward put on the instance, and one on the whole decoder."""
    model, source = model_of(architecture="transformer", num_layers=2), sources(6, 2)
    assert model.transformer is not None
    layers: Any = model.transformer.decoder.layers
    plain = model.step(torch.tensor([1, 2]), model.start(source)).logits
    layers[1].register_forward_hook(lambda _, args, output: 2 * output)
    layers[1].multihead_attn.register_forward_hook(lambda _, args, output: (3 * output[0], *output[1:]))
    forward = layers[0].forward
    layers[0].forward = lambda *args, **kwargs: forward(*args, **kwargs) + 1
    model.transformer.register_forward_hook(lambda _, args, output: (output[0] + 1, *output[1:]))
    with torch.no_grad():
        without = model.step(torch.tensor([1, 2]), model.start(source)).logits
        asked = model.step(torch.tensor([1, 2]), model.start(source), need_weights=True)
    assert not torch.allclose(without, plain)
    torch.testing.assert_close(asked.logits, without)
    assert asked.attention is not None


@pytest.mark.parametrize("architecture", ["gru", "transformer"])
def test_vectors_as_sources(architecture: str) -> None:
    """Captions of pictures, say: one vector, or several."""
    model = model_of(architecture=architecture, vector_input=5)
    vectors, target = torch.randn(4, 2, 5, dtype=torch.float64), torch.randint(V, (3, 2))
    with torch.no_grad():
        whole = model(vectors, torch.tensor([4, 1]), target)
        one = model(vectors[:1, 1:], torch.tensor([1]), target[:, 1:])
    torch.testing.assert_close(whole[:, 1:], one)


@pytest.mark.parametrize("kind", ATTENDING, ids=str)
def test_an_unchanged_source_is_not_copied(kind: dict[str, Any]) -> None:
    model, source = model_of(**kind), sources(6, 2)
    with torch.no_grad():
        state = model.step(torch.tensor([[1], [2]]), model.start(source)).state
        twice = state.select(torch.tensor([0, 0, 1, 1]))
        assert twice.select(torch.tensor([1, 1, 3, 2])).source is twice.source
        assert twice.select(torch.tensor([0, 1, 2])).source is not twice.source


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_rows_that_keep_their_sources(kind: dict[str, Any]) -> None:
    """`select_within` is `select` for them, and copies nothing of the source, whatever the device."""
    model, source, rows = model_of(**kind), sources(6, 2, 4), torch.tensor([1, 0, 3, 3, 4, 5])
    with torch.no_grad():
        state = model.step(torch.tensor([[1, 2], [2, 0], [3, 9]]), model.start(source)).state
        state = model.step(
            torch.tensor([1, 2, 3, 4, 5, 6]), state.select(torch.tensor([0, 0, 1, 1, 2, 2]))
        ).state
        within = state.select_within(rows)
        assert within.source is state.source
        if kind["architecture"] == "transformer":
            for (own, other), (_, before) in zip(within.caches, state.caches, strict=True):
                assert other.keys.data_ptr() == before.keys.data_ptr()
                assert own.keys.data_ptr() != before.keys.data_ptr()
        tokens = torch.tensor([7, 6, 5, 4, 3, 2])
        torch.testing.assert_close(
            model.step(tokens, within).logits, model.step(tokens, state.select(rows)).logits, rtol=0, atol=0
        )


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_steps_and_selections_look_at_no_number(kind: dict[str, Any]) -> None:
    """A device whose numbers the host waits for: on this one there are none to look at."""
    model, source = model_of(**kind).to("meta"), sources(6, 2)
    with torch.no_grad():
        state = model.start(Source(source.tokens.to("meta"), source.lengths))  # lengths may be on the CPU
        tokens, lengths = torch.zeros(2, 3, dtype=torch.int64, device="meta"), source.lengths.to("meta")
        state = model.step(tokens, state, lengths=lengths).state
        rows = torch.tensor([0, 0, 1, 1], device="meta")
        state = model.step(rows, state.select(rows)).state
        within = state.select_within(rows)
        assert within.source is state.source
        output = model.step(rows, within, need_weights=True)
    assert output.logits.shape == (4, V)
    assert (output.attention is None) == (kind.get("attention") == "none")


def test_a_model_is_written_and_read(tmp_path: Any) -> None:
    for kind in KINDS:
        model = model_of(**kind).float()
        model.save_pretrained(tmp_path)
        read = Seq2Seq.from_pretrained(tmp_path)
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), read.parameters(), strict=True))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden_size": 7}, "must be even"),
        ({"attention": "hard"}, "attention must be"),
        ({"tied": "all"}, "one embedding serves vocabularies of one size"),
        ({"tied": "all", "vector_input": 3}, "no embedding to tie"),
    ],
)
def test_sizes_that_do_not_fit(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Seq2SeqConfig(V, source_vocabulary_size=SOURCES, **settings)


def test_a_start_needs_a_source() -> None:
    with pytest.raises(TypeError, match="writes about a source"):
        model_of(architecture="gru").start()


@pytest.mark.parametrize("architecture", ["gru", "transformer"])
def test_lengths_that_do_not_fit(architecture: str) -> None:
    model, tokens = model_of(architecture=architecture), torch.zeros(2, 3, dtype=torch.int64)
    state = model.start(sources(6, 2))
    for lengths, error in (
        ([1, 4], ValueError),
        ([-1, 2], ValueError),
        ([1], ValueError),
        ([1.0, 2.0], TypeError),
    ):
        with pytest.raises(error, match="lengths must"):
            model.step(tokens, state, lengths=torch.tensor(lengths))
