from itertools import islice

import pytest
import torch

from pyrnn.models import LanguageModel, LanguageModelConfig, sample, sample_text
from pyrnn.text import Vocabulary

VOCABULARY = Vocabulary.from_text("abcdef\n")


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(3)
    return LanguageModel(LanguageModelConfig(len(VOCABULARY), embedding_size=6, hidden_size=8))


def test_the_passage_uses_the_vocabulary_and_has_its_length(model: LanguageModel) -> None:
    passage = sample_text(model, VOCABULARY, "ab", 200)
    assert len(passage) == 200
    assert set(passage) <= set(VOCABULARY.symbols)
    assert len(set(passage)) > 1


def test_a_seed_fixes_the_passage(model: LanguageModel) -> None:
    first, again, other = (sample_text(model, VOCABULARY, "ab", 50, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_the_global_generator_is_left_alone(model: LanguageModel) -> None:
    before = torch.get_rng_state()
    sample_text(model, VOCABULARY, "ab", 5, seed=9)
    assert torch.equal(torch.get_rng_state(), before)


def test_temperature_zero_takes_the_likeliest(model: LanguageModel) -> None:
    prompt = VOCABULARY.encode("abc")
    drawn = list(islice(sample(model, prompt, temperature=0), 12))
    read = prompt
    for expected in drawn:
        logits, _ = model(read.unsqueeze(1))  # from the start each time: the carried state must not matter
        assert int(logits[-1, 0].argmax()) == expected
        read = torch.cat([read, torch.tensor([expected])])


def test_draws_follow_the_distribution(model: LanguageModel) -> None:
    model.eval()
    prompt = VOCABULARY.encode("abc")
    with torch.no_grad():
        expected = torch.softmax(model(prompt.unsqueeze(1))[0][-1, 0] / 0.5, dim=0)
    generator = torch.Generator().manual_seed(0)
    draws = [next(sample(model, prompt, temperature=0.5, generator=generator)) for _ in range(2000)]
    counted = torch.bincount(torch.tensor(draws), minlength=len(VOCABULARY)) / len(draws)
    torch.testing.assert_close(counted, expected, atol=0.04, rtol=0)


def test_an_empty_prompt_is_refused(model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="at least one symbol"):
        sample_text(model, VOCABULARY, "", 5)


def test_an_unknown_prompt_is_refused(model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="not in the vocabulary: 'z'"):
        sample_text(model, VOCABULARY, "az", 5)


@pytest.mark.parametrize("temperature", [-1.0, float("nan")])
def test_a_bad_temperature_is_refused(model: LanguageModel, temperature: float) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        sample_text(model, VOCABULARY, "a", 5, temperature=temperature)
