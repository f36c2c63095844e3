"""The reader of stories: what it looks at, and that padding and neighbours do not matter."""

from __future__ import annotations

import pytest
import torch

from pyrnn.models import Reader, ReaderConfig

STORY = [(3, 1), (2, 2), (4, 3), (2, 0)]  # tokens and number of each sentence


def example(parts: list[tuple[int, int]], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    total = sum(count for count, _ in parts)
    tokens = torch.randint(20, (total,), generator=torch.Generator().manual_seed(seed))
    counts, numbers = zip(*parts, strict=True)
    return tokens, torch.tensor(numbers).repeat_interleave(torch.tensor(counts))


@pytest.mark.parametrize("architecture", ["rnn", "gru", "lstm", "transformer"])
def test_padding_and_neighbours_do_not_change_a_reading(architecture: str) -> None:
    torch.manual_seed(0)
    config = ReaderConfig(20, architecture=architecture, hidden_size=16, num_classes=5)  # pyright: ignore[reportArgumentType]
    model = Reader(config).eval()
    items = [example(STORY, 0), example([(1, 1), (1, 0)], 1), example([(3, 0)], 2)]
    lengths = torch.tensor([len(tokens) for tokens, _ in items])
    padded = [torch.nn.utils.rnn.pad_sequence(list(own)) for own in zip(*items, strict=True)]
    padded[1][lengths[1] :, 1] = 9  # what stands behind an end is not read
    together = model.read(padded[0], lengths=lengths, sentence=padded[1])
    assert together.weights is not None
    for row, (tokens, numbers) in enumerate(items):
        alone = model.read(tokens[:, None], sentence=numbers[:, None])
        torch.testing.assert_close(together.logits[row], alone.logits[0])
        S = int(numbers.max())
        torch.testing.assert_close(together.weights[row].sum(1), torch.full((3,), float(S > 0)))
        assert not together.weights[row, :, S:].any()


def test_the_order_of_words_and_of_sentences_matters() -> None:
    torch.manual_seed(0)
    model = Reader(ReaderConfig(20, hidden_size=16, num_classes=5)).eval()
    tokens, numbers = example(STORY, 0)
    whole = model(tokens[:, None], sentence=numbers[:, None])
    words = tokens[[1, 0, 2, *range(3, 11)]]
    assert not torch.allclose(model(words[:, None], sentence=numbers[:, None]), whole, atol=1e-5)
    sentences = torch.cat([tokens[3:5], tokens[:3], tokens[5:]])
    swapped = torch.cat([numbers[:1].repeat(2), numbers[3:4].repeat(3), numbers[5:]])
    assert not torch.allclose(model(sentences[:, None], sentence=swapped[:, None]), whole, atol=1e-5)


def test_every_parameter_has_a_gradient_and_they_are_right() -> None:
    torch.manual_seed(0)
    config = ReaderConfig(
        20, architecture="gru", embedding_size=4, hidden_size=3, num_layers=1, num_classes=3
    )
    model = Reader(config).double().eval()
    tokens, numbers = example(STORY, 0)
    parameters = dict(model.named_parameters())

    def logits(*values: torch.Tensor) -> torch.Tensor:
        given = dict(zip(parameters, values, strict=True))
        options = {"sentence": numbers[:, None]}
        return torch.func.functional_call(model, given, (tokens[:, None],), options)

    values = tuple(value.detach().requires_grad_() for value in parameters.values())
    assert torch.autograd.gradcheck(logits, values, fast_mode=True)
    assert all(gradient.any() for gradient in torch.autograd.grad(logits(*values)[0, 0], values))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="give sentence"):
        Reader(ReaderConfig(5))(torch.zeros(2, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match="reads words"):
        ReaderConfig(5, architecture="feedforward", pooling="last")
    with pytest.raises(ValueError, match="hops must be at least 1"):
        ReaderConfig(5, hops=0)
