"""The language model over a window of tokens."""

import pytest
import torch
from torch.nn import functional as F

from pyrnn.models import LanguageModel, LanguageModelConfig
from pyrnn.models._feedforward import FeedForward

V, E, H, W = 7, 3, 5, 3


def _model(**changes: object) -> LanguageModel:
    sizes: dict[str, object] = {"embedding_size": E, "hidden_size": H, "num_layers": 1, "window": W}
    config = LanguageModelConfig(V, architecture="feedforward", **{**sizes, **changes})  # type: ignore[arg-type]
    return LanguageModel(config).double().eval()


@pytest.mark.parametrize("direct", [False, True])
def test_it_is_the_model_of_bengio(direct: bool) -> None:
    """y = b + U tanh(d + H x) + W x, where x are the vectors of the window, the oldest first."""
    model = _model(direct_connections=direct)
    weights = dict(model.named_parameters())
    ids = torch.randint(0, V, (6, 2))
    logits, _ = model(ids)
    C, weight, d = (
        weights[n] for n in ("embedding.weight", "feedforward.layers.0.weight", "feedforward.layers.0.bias")
    )
    U, b = weights["projection.weight"], weights["projection.bias"]
    for t in range(6):
        for row in range(2):
            seen = [C[ids[s, row]] if s >= 0 else torch.zeros(E).double() for s in range(t - W + 1, t + 1)]
            x = torch.cat(seen)
            y = b + U[:, :H] @ torch.tanh(d + weight @ x) + (U[:, H:] @ x if direct else 0)
            torch.testing.assert_close(logits[t, row], y)


def test_what_lies_before_the_window_changes_nothing() -> None:
    model, ids = _model(num_layers=2), torch.randint(0, V, (9, 2))
    torch.testing.assert_close(model(ids)[0][-1], model(ids[-W:])[0][-1])
    other = ids.clone()
    other[-W] = (ids[-W] + 1) % V
    assert not torch.allclose(model(ids)[0][-1], model(other)[0][-1])


def test_it_learns_a_language_of_trigrams() -> None:
    """The next token is a function of the last two, and of neither alone."""
    torch.manual_seed(0)
    ids = [1, 2]
    for _ in range(400):
        ids.append((ids[-1] + 2 * ids[-2] + 1) % 5)
    text = torch.tensor(ids).unsqueeze(1)
    model = _model(hidden_size=32, window=2, dropout=0.0).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(100):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(text[:-1])[0].flatten(0, 1), text[1:].flatten())
        loss.backward()
        optimizer.step()
    assert loss < 0.05


def test_gradients_are_right() -> None:
    torch.manual_seed(0)
    layer = FeedForward(2, 3, window=2, num_layers=2, direct=True).double()
    x, state = torch.randn(4, 2, 2).double().requires_grad_(), torch.randn(1, 2, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(layer, (x, state))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"input": "one-hot"}, "a feed-forward network has no weights for one-hot input"),
        ({"locked_dropout": True}, "a feed-forward network has no locked dropout"),
        (
            {"architecture": "lstm", "direct_connections": True},
            "direct connections are those of a feed-forward",
        ),
    ],
)
def test_what_it_has_not_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LanguageModelConfig(V, **{"architecture": "feedforward", **settings})  # type: ignore[arg-type]
