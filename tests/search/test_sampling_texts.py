from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn.models import LanguageModel
from pyrnn.search import SamplingConfig, generate, generate_text, stream_text
from pyrnn.text import Tokenizer, Vocabulary, VocabularyTokenizer, train_tokenizer
from tests.search.models import Calls, chain_model, constant_model, small_model

GREEDY = SamplingConfig(temperature=0, max_tokens=6)
TEXT = "the café isn't open, (not yet) — “soon” 😀!\nthe cat sat.\n"


def _tokenizer(level: Any, **options: Any) -> Tokenizer:
    return train_tokenizer(
        lambda: [TEXT], level=level, **{"max_size": 300 if level == "subword" else None, **options}
    )


def _drawn(model: LanguageModel, prompt: Tensor, config: SamplingConfig, tokenizer: Tokenizer) -> list[int]:
    suppressed = () if tokenizer.unk_id is None else (tokenizer.unk_id,)
    return [int(tokens) for tokens in generate(model, [prompt], config, suppress_ids=suppressed)]


@pytest.mark.parametrize("level", ["character", "word", "subword"])
def test_a_text_is_the_prompt_continued(level: str) -> None:
    tokenizer = _tokenizer(level)
    model = small_model(len(tokenizer))
    prompts = ["the c", "the cat sat.\nthe", "open, ("]
    config = SamplingConfig(temperature=0, max_tokens=12)
    texts = generate_text(model, tokenizer, prompts, config)
    for prompt, text in zip(prompts, texts, strict=True):
        ids = tokenizer.encode(prompt)
        row = _drawn(model, ids, config, tokenizer)
        assert tokenizer.decode(ids) + text == tokenizer.decode([*ids.tolist(), *row])


@pytest.mark.parametrize("level", ["character", "word", "subword"])
@pytest.mark.parametrize("stop_at_eos", [False, True])
def test_streamed_pieces_are_the_whole_text(level: str, stop_at_eos: bool) -> None:
    tokenizer = _tokenizer(level)
    model = small_model(len(tokenizer), dtype=torch.float32)
    config = SamplingConfig(max_tokens=20, stop_at_eos=stop_at_eos, temperature=2)
    for prompt in ("the ca", "", "“soon"):
        for seed in range(2):
            pieces = list(stream_text(model, tokenizer, prompt, config, seed=seed))
            assert generate_text(model, tokenizer, [prompt], config, seed=seed) == ["".join(pieces)]
            assert all(pieces)


@pytest.mark.parametrize("prompt", ["the ", "the  ", "open, ( ", "the\n", "the \n", " ", "the"])
def test_a_space_behind_a_prompt_is_not_written_twice(prompt: str) -> None:
    tokenizer = _tokenizer("word")
    config = SamplingConfig(temperature=0, max_tokens=1)
    for following, token in (("cat", " cat"), (".", ".")):
        model = constant_model(torch.eye(len(tokenizer))[tokenizer.encode(following)[0]])
        [text] = generate_text(model, tokenizer, [prompt], config)
        assert "".join(stream_text(model, tokenizer, prompt, config)) == text
        assert text == (token.strip() if prompt[-1:].isspace() else token)


def test_a_piece_comes_as_soon_as_it_is_drawn() -> None:
    tokenizer = _tokenizer("word")
    model = small_model(len(tokenizer))
    calls = Calls(model)
    pieces = stream_text(model, tokenizer, "the", SamplingConfig(max_tokens=9))
    for n in range(1, 10):
        assert next(pieces)
        assert len(calls.shapes) == n


def test_a_character_of_several_subwords_comes_whole() -> None:
    tokenizer = _tokenizer("subword", max_size=257)  # bytes alone
    ids = tokenizer.encode("a😀é").tolist()
    model = chain_model(len(tokenizer), ids)
    pieces = stream_text(model, tokenizer, "a", SamplingConfig(temperature=0, max_tokens=len(ids) - 1))
    assert len(ids) == 7
    assert list(pieces) == ["😀", "é"]


def test_the_token_that_ends_a_text_is_not_shown() -> None:
    tokenizer = VocabularyTokenizer("character", Vocabulary("ab\n", eos="\n"))
    model = constant_model(torch.tensor([0.0, 0.0, 1.0]))
    config = SamplingConfig(max_tokens=40, stop_at_eos=True)
    texts = generate_text(model, tokenizer, ["a"] * 8, config)
    assert set("".join(texts)) == {"a", "b"}
    assert len({len(text) for text in texts}) > 1
    assert "\n" in generate_text(model, tokenizer, ["a"], SamplingConfig(max_tokens=40))[0]


def test_unknown_tokens_may_stand_in_a_prompt_but_are_not_drawn() -> None:
    tokenizer = _tokenizer("word")
    assert tokenizer.unk_id is not None
    logits = torch.zeros(len(tokenizer))
    logits[tokenizer.unk_id] = 20
    [text] = generate_text(constant_model(logits), tokenizer, ["the zebra"], SamplingConfig(max_tokens=50))
    assert tokenizer.unk_id not in tokenizer.encode(text)


def test_an_empty_prompt_starts_after_the_end_of_a_sentence() -> None:
    tokenizer = _tokenizer("word")
    assert tokenizer.eos_id is not None
    model = small_model(len(tokenizer))
    row = _drawn(model, torch.tensor([tokenizer.eos_id]), GREEDY, tokenizer)
    assert generate_text(model, tokenizer, [""], GREEDY) == [tokenizer.decode(row)]
    assert generate_text(model, tokenizer, ["  "], GREEDY) == [tokenizer.decode(row)]


def test_a_seed_fixes_the_texts() -> None:
    tokenizer = _tokenizer("character")
    model = small_model(len(tokenizer))
    before = torch.get_rng_state()
    first, again, other = (
        generate_text(model, tokenizer, ["the", "a"], SamplingConfig(max_tokens=15), seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


def test_no_tokens_make_empty_texts() -> None:
    tokenizer = _tokenizer("character")
    model, config = small_model(len(tokenizer)), SamplingConfig(max_tokens=0)
    assert generate_text(model, tokenizer, ["the", "a"], config) == ["", ""]
    assert list(stream_text(model, tokenizer, "the", config)) == []


def test_bad_prompts_of_text_are_refused_at_once() -> None:
    tokenizer = VocabularyTokenizer("character", Vocabulary("abc"))
    model = small_model(3)
    for prompt, words in (("", "a prompt is empty"), ("abz", "not in the vocabulary: 'z'")):
        with pytest.raises(ValueError, match=words):
            generate_text(model, tokenizer, ["a", prompt], GREEDY)
        with pytest.raises(ValueError, match=words):
            stream_text(model, tokenizer, prompt, GREEDY)
    with pytest.raises(ValueError, match="at least one prompt"):
        generate_text(model, tokenizer, [], GREEDY)
    with pytest.raises(ValueError, match="stop_at_eos needs an end-of-sentence token"):
        stream_text(model, tokenizer, "a", SamplingConfig(stop_at_eos=True))
    with pytest.raises(TypeError, match="expected a list of texts, got one string, 'abc'; put it in a list"):
        generate_text(model, tokenizer, "abc", GREEDY)


def test_the_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="the tokenizer has 3 tokens and the model 4"):
        generate_text(small_model(4), VocabularyTokenizer("character", Vocabulary("abc")), ["a"], GREEDY)
