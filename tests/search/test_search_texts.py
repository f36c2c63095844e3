"""Texts by beam search."""

from __future__ import annotations

import pytest
import torch

from pyrnn.search import SamplingConfig, SearchConfig, beam_search, generate_text, search_text
from pyrnn.text import Tokenizer, Vocabulary, VocabularyTokenizer, train_tokenizer
from tests.search.models import chain_model, constant_model, small_model

TEXT = "the cat sat.\nthe dog isn't here!\n"
CONFIG = SearchConfig(beam_width=4, n_best=3, max_tokens=8)
LEVELS = ("character", "word", "subword")


def _tokenizer(level: str) -> Tokenizer:
    size = 280 if level == "subword" else None
    return train_tokenizer(lambda: [TEXT], level=level, max_size=size)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", LEVELS)
def test_a_beam_of_one_writes_what_is_likeliest(level: str) -> None:
    tokenizer = _tokenizer(level)
    model, prompts = small_model(len(tokenizer)), ["the", "the cat ", "dog"]
    greedy = generate_text(model, tokenizer, prompts, SamplingConfig(temperature=0, max_tokens=8))
    found = search_text(model, tokenizer, prompts, SearchConfig(beam_width=1, max_tokens=8))
    assert [best.text for [best] in found] == greedy


@pytest.mark.parametrize("stops", [False, True])
def test_texts_are_the_hypotheses(stops: bool) -> None:
    tokenizer = _tokenizer("word")
    assert tokenizer.eos_id is not None
    assert tokenizer.unk_id is not None
    model = small_model(len(tokenizer))
    [found] = search_text(model, tokenizer, ["the "], CONFIG, stop_at_eos=stops)
    [expected] = beam_search(
        model,
        [tokenizer.encode("the ")],
        CONFIG,
        eos_id=tokenizer.eos_id if stops else None,
        suppress_ids=[tokenizer.unk_id],
    )
    assert [text.text for text in found] == [
        tokenizer.decode(torch.tensor(each.content, dtype=torch.int64)) for each in expected
    ]
    assert [(text.score, text.finished) for text in found] == [
        (each.score, each.finished) for each in expected
    ]


def test_a_text_ends_before_the_end_of_its_sentence() -> None:
    tokenizer = VocabularyTokenizer("character", Vocabulary("abc\n", eos="\n"))
    [[best]] = search_text(
        chain_model(4, [0, 1, 2, 3]),
        tokenizer,
        ["a"],
        SearchConfig(beam_width=1, max_tokens=9),
        stop_at_eos=True,
    )
    assert (best.text, best.finished) == ("bc", True)
    [[cut]] = search_text(
        chain_model(4, [0, 1, 2, 3]), tokenizer, ["a"], SearchConfig(beam_width=1, max_tokens=3)
    )
    assert (cut.text, cut.finished) == ("bc\n", False)


def test_unknown_tokens_are_not_written() -> None:
    tokenizer = _tokenizer("word")
    assert tokenizer.unk_id is not None
    logits = torch.zeros(len(tokenizer))
    logits[tokenizer.unk_id] = 20
    for found in search_text(constant_model(logits), tokenizer, ["the zebra", ""], CONFIG):
        for text in found:
            assert tokenizer.unk_id not in tokenizer.encode(text.text)


def test_bad_prompts_of_text_are_refused() -> None:
    tokenizer = VocabularyTokenizer("character", Vocabulary("abc"))
    for prompt, words in (("", "a prompt is empty"), ("abz", "not in the vocabulary: 'z'")):
        with pytest.raises(ValueError, match=words):
            search_text(small_model(3), tokenizer, ["a", prompt], CONFIG)
    with pytest.raises(ValueError, match="stop_at_eos needs a tokenizer that has an end-of-sentence token"):
        search_text(small_model(3), tokenizer, ["a"], CONFIG, stop_at_eos=True)
    with pytest.raises(TypeError, match="expected a list of texts, got one string, 'abc'"):
        search_text(small_model(3), tokenizer, "abc", CONFIG)
