import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrnn.models import LanguageModel, LanguageModelConfig
from pyrnn.search import SentenceScore, decoder, score, scoring
from pyrnn.text import Tokenizer, Vocabulary, VocabularyTokenizer, train_tokenizer
from tests.search.models import constant_model, next_logits, small_model

TEXT = "the cat sat.\nthe dog isn't here!\n"
LINES = VocabularyTokenizer("character", Vocabulary("abc\n", eos="\n"))
NO_END = VocabularyTokenizer("character", Vocabulary("abc"))


def _step_by_step(model: LanguageModel, tokenizer: Tokenizer, sentence: str) -> float:
    """The definition: the model reads the whole prefix again for each token."""
    ids = tokenizer.encode(sentence).tolist()
    if tokenizer.eos_id is not None:
        ids = [tokenizer.eos_id, *ids, tokenizer.eos_id]
    return math.fsum(
        next_logits(model, ids[:t]).double().log_softmax(0)[ids[t]].item() for t in range(1, len(ids))
    )


def _assert_close(results: Sequence[SentenceScore], expected: Sequence[float]) -> None:
    assert [result.log_probability for result in results] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("level", ["character", "word", "subword"])
@pytest.mark.parametrize(
    "options",
    [
        {"architecture": "rnn"},
        {"architecture": "gru"},
        {"architecture": "lstm"},
        {"input": "one-hot"},
        {"architecture": "transformer", "context": 4},
    ],
)
def test_scores_are_the_sums_of_the_definition(level: Any, options: dict[str, Any]) -> None:
    tokenizer = train_tokenizer(lambda: [TEXT], level=level, max_size=None if level != "subword" else 280)
    model = small_model(len(tokenizer), **options)
    sentences = ["the cat sat.", "", "the", "the dog isn't here! the cat", "cat"]
    results = score(model, tokenizer, sentences)
    _assert_close(results, [_step_by_step(model, tokenizer, sentence) for sentence in sentences])
    assert [result.tokens for result in results] == [len(tokenizer.encode(s)) + 1 for s in sentences]


@settings(max_examples=40)
@given(
    sentences=st.lists(st.text("abc\n", max_size=9).filter(lambda s: s[-1:] != "\n"), min_size=1, max_size=6),
    batch_size=st.integers(1, 9),
    logits_at_once=st.sampled_from([1, 40, 1 << 24]),
    shortest_window=st.sampled_from([1, 3, 32]),
    architecture=st.sampled_from(["gru", "transformer"]),
)
def test_neither_batch_nor_windows_change_a_score(
    sentences: list[str], batch_size: int, logits_at_once: int, shortest_window: int, architecture: str
) -> None:
    torch.manual_seed(0)
    model = small_model(len(LINES), architecture=architecture, context=3)
    alone = [result.log_probability for sentence in sentences for result in score(model, LINES, [sentence])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "LOGITS_AT_ONCE", logits_at_once)
        patch.setattr(scoring, "_SHORTEST_WINDOW", shortest_window)
        together = score(model, LINES, sentences, batch_size=batch_size)
    _assert_close(together, alone)


def test_sentences_cost_their_own_tokens() -> None:
    model = small_model(len(LINES))
    tokens = []
    model.register_forward_hook(lambda _, __, output: tokens.append(output[0][..., 0].numel()))
    sentences = ["ab"] * 30 + ["abc" * 1000, "b" * 500]
    results = score(model, LINES, sentences)
    own = sum(result.tokens for result in results)
    assert own <= sum(tokens) <= own + 32 * len(sentences)
    assert len(tokens) < 10


def test_logits_are_made_a_bounded_number_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "LOGITS_AT_ONCE", 400)
    model = small_model(len(LINES))
    sizes = []
    model.register_forward_hook(lambda _, __, output: sizes.append(output[0].numel()))
    score(model, LINES, ["abc" * 50] * 3 + ["a"] * 20)
    assert max(sizes) <= 400


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    [result] = score(constant_model(torch.zeros(4)), LINES, ["abcab"])
    assert result.tokens == 6
    assert result.log_probability == pytest.approx(-6 * math.log(4))
    assert result.per_token == pytest.approx(math.log(4))
    assert result.perplexity == pytest.approx(4)


def test_a_long_sentence_is_summed_in_float64() -> None:
    n = 300_000
    [result] = score(constant_model(torch.zeros(4)), LINES, ["a" * n])
    assert result.log_probability == pytest.approx(-(n + 1) * math.log(4), rel=1e-7)


def test_an_end_that_is_there_gets_no_second_one() -> None:
    model = small_model(len(LINES))
    scores = score(model, LINES, ["ab", "ab\n", "ab\n\n", "", "\n"])
    assert scores[0] == scores[1] != scores[2]
    assert scores[3] == scores[4]
    assert [result.tokens for result in scores] == [3, 3, 4, 1, 1]


def test_without_an_end_the_first_token_is_context_only() -> None:
    model = small_model(len(NO_END))
    results = score(model, NO_END, ["abc", "ca", "abcabcab"])
    _assert_close(results, [_step_by_step(model, NO_END, s) for s in ("abc", "ca", "abcabcab")])
    assert [result.tokens for result in results] == [2, 1, 7]


def test_unknown_tokens_are_scored_and_counted() -> None:
    tokenizer = train_tokenizer(lambda: [TEXT], level="word")
    model = small_model(len(tokenizer))
    results = score(model, tokenizer, ["the zebra sat, twice", "the cat"])
    assert [result.unknown for result in results] == [3, 0]  # the comma too
    _assert_close(results[:1], [_step_by_step(model, tokenizer, "the <unk> sat <unk> <unk>")])


def test_an_impossible_token() -> None:
    model = constant_model(torch.tensor([0.0, -math.inf, 0.0, 0.0]))
    possible, impossible = score(model, LINES, ["acca", "ab"])
    assert possible.log_probability == pytest.approx(-5 * math.log(3))
    assert impossible.log_probability == -math.inf
    assert impossible.per_token == impossible.perplexity == math.inf


def test_a_perplexity_that_overflows_is_infinite() -> None:
    assert SentenceScore(-1e6, 10, 0).perplexity == math.inf


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_models_are_summed_in_higher(dtype: torch.dtype) -> None:
    model = small_model(len(LINES), dtype=dtype)
    sentences = ["abcabc", "b"]
    expected = [_step_by_step(model, LINES, sentence) for sentence in sentences]
    results = score(model, LINES, sentences)
    assert [result.log_probability for result in results] == pytest.approx(expected, rel=0.02)


def test_dropout_is_off_and_the_callers_modes_stay() -> None:
    model = small_model(len(LINES), dropout=0.9)
    expected = score(model, LINES, ["abc"])
    assert score(model.train(), LINES, ["abc"]) == expected
    assert model.training
    assert torch.is_grad_enabled()


def test_layers_without_lengths_score_one_sentence_at_a_time() -> None:
    model = LanguageModel(LanguageModelConfig(len(LINES)), backend="torch")
    assert len(score(model, LINES, ["abc", "a"], batch_size=1)) == 2


@pytest.mark.parametrize(
    ("tokenizer", "sentences", "words"),
    [
        (LINES, [], "at least one sentence to score, got none"),
        (LINES, ["ab", "az"], "sentence 2: 1 tokens are not in the vocabulary: 'z'"),
        (NO_END, ["ab", ""], "sentence 2: there are 0 tokens.*at least two are needed"),
        (NO_END, ["a"], "sentence 1: there are 1 tokens"),
    ],
)
def test_what_cannot_be_scored_is_refused(tokenizer: Tokenizer, sentences: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        score(small_model(len(tokenizer)), tokenizer, sentences)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        score(small_model(4), LINES, ["a"], batch_size=0)
    with pytest.raises(ValueError, match="the tokenizer has 4 tokens and the model 5"):
        score(small_model(5), LINES, ["a"])
    with pytest.raises(TypeError, match="expected a list of texts, got one string, 'abc'"):
        score(small_model(4), LINES, "abc")


def test_a_damaged_model() -> None:
    with pytest.raises(ValueError, match="the model gives NaN"):
        score(constant_model(torch.tensor([0.0, math.nan, 0.0, 0.0])), LINES, ["a", "ab"])
