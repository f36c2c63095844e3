"""BLEU and chrF: equal to sacrebleu's, and sums that parts and processes add up."""

from __future__ import annotations

import math
import random
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import bleu as sacrebleu
from sacrebleu.metrics import chrf as sacrebleu_chrf
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from pyrnn import __version__
from pyrnn.corpora import shakespeare
from pyrnn.metrics import BLEU, bleu, chrf
from pyrnn.metrics._tokens import tokenizer

#: Few words, so that n-grams match; with all that the tokenizations look at, and other scripts.
WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "1,000",
    "3.5",
    "mats.",
    "U.S.",
    "it's",
    "--",
    "7-8",
    "&amp;",
    "<skipped>",
    "¿Qué?",
    "(a,b)",
    "猫坐",
    "на",
    "кошка",
    "é́",
    "…",
]
SENTENCE = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
#: Pairs of a hypothesis and one to three references.
PAIRS = st.lists(st.tuples(SENTENCE, st.lists(SENTENCE, min_size=1, max_size=3)), min_size=1, max_size=6)
OPTIONS = st.fixed_dictionaries(
    {
        "tokenize": st.sampled_from(["13a", "char", "none", "intl", "zh"]),
        "lowercase": st.booleans(),
        "effective_order": st.booleans(),
    }
)
SMOOTHING = st.one_of(
    st.sampled_from([("none", None), ("exp", None), ("floor", None), ("add-k", None)]),
    st.tuples(st.sampled_from(["floor", "add-k"]), st.sampled_from([0.0, 0.01, 0.5, 2.0])),
)


def theirs(pairs: list[tuple[str, list[str]]], options: dict[str, Any], smoothing: tuple[str, Any]) -> Any:
    """What sacrebleu finds: the score, and the signature."""
    scorer = sacrebleu.BLEU(**options, smooth_method=smoothing[0], smooth_value=smoothing[1], force=True)
    most = max(len(references) for _, references in pairs)
    streams: Any = [[own[i] if i < len(own) else None for _, own in pairs] for i in range(most)]
    score: Any = scorer.corpus_score([hypothesis for hypothesis, _ in pairs], streams)
    return score, str(scorer.get_signature())


@given(pairs=PAIRS, options=OPTIONS, smoothing=SMOOTHING)
def test_it_is_what_sacrebleu_finds(
    pairs: list[tuple[str, list[str]]], options: dict[str, Any], smoothing: tuple[Any, Any]
) -> None:
    hypotheses, references = zip(*pairs, strict=True)
    kind, value = smoothing
    ours = bleu(hypotheses, references, **options, smoothing=kind, smoothing_value=value)
    expected, signature = theirs(pairs, options, smoothing)
    assert ours.score == pytest.approx(expected.score, abs=1e-6)
    assert ours.precisions == pytest.approx(expected.precisions, abs=1e-6)
    assert ours.brevity_penalty == pytest.approx(expected.bp, abs=1e-6)
    assert (ours.hypothesis_length, ours.reference_length) == (expected.sys_len, expected.ref_len)
    assert ours.signature.rpartition("|")[0] == signature.rpartition("|")[0]
    assert ours.signature.endswith(f"|version:pyrnn-{__version__}")


@given(sentence=st.text() | SENTENCE | st.text(st.sampled_from("a1.,-&<>;'\"\n \t{}[]^`~@/:")))
def test_13a_cuts_as_sacrebleu_does(sentence: str) -> None:
    assert tokenizer("13a")(sentence) == Tokenizer13a()(sentence).split()


def changed(sentence: str, draw: random.Random) -> str:
    """Like a translation: words are left out, moved and replaced."""
    words = sentence.split()
    kept = [draw.choice(words) if draw.random() < 0.2 else word for word in words if draw.random() < 0.9]
    at = draw.randrange(len(kept) + 1)
    return " ".join(kept[at:] + kept[:at])


def test_a_real_text_is_scored_as_by_sacrebleu() -> None:
    draw = random.Random(0)
    references = [line for line in shakespeare().split("\n") if line][:2000]
    hypotheses = [changed(line, draw) for line in references]
    score = sacrebleu.BLEU().corpus_score(hypotheses, [references])
    ours = bleu(hypotheses, references)
    assert 10 < ours.score < 90
    assert ours.score == pytest.approx(score.score, abs=1e-6)
    assert str(ours) == str(score)


def test_the_clipped_precision_of_the_paper() -> None:
    """Papineni et al., section 2.1: seven times "the" matches twice."""
    references = ["The cat is on the mat.", "There is a cat on the mat."]
    scores = bleu(["the the the the the the the"], [references], smoothing="none", lowercase=True)
    assert scores.precisions == pytest.approx((200 / 7, 0, 0, 0))
    assert scores.score == 0


@given(pairs=PAIRS, cut=st.integers(0, 6))
def test_parts_add_up_to_the_whole(pairs: list[tuple[str, list[str]]], cut: int) -> None:
    whole, first, second = BLEU(), BLEU(), BLEU()
    for place, pair in enumerate(pairs):
        whole.update(*pair)
        (first if place < cut else second).update(*pair)
    assert first.add(second).compute() == whole.compute()
    taken = BLEU()
    taken.load_state(first.state())
    assert taken.signature == whole.signature
    many = np.stack([BLEU().statistics(*pair) for pair in pairs])
    assert whole.scores(many).shape == (len(pairs),)
    assert whole.scores(many.sum(0)) == whole.score


def test_nothing_counted_is_no_score() -> None:
    assert math.isnan(BLEU().compute()["bleu"])
    assert BLEU().signature.startswith("nrefs:var|")


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="2 hypotheses need as many references, got 1"):
        bleu(["a", "b"], [["a", "b"]])
    with pytest.raises(TypeError, match="references must be several strings, got one"):
        bleu(["a"], "a")
    with pytest.raises(ValueError, match="at least one reference, got none"):
        bleu(["a"], [[]])
    with pytest.raises(ValueError, match="tokenize must be one of 13a, char"):
        BLEU(tokenize="14")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="smoothing must be one of none, floor"):
        BLEU(smoothing="more")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="of smoothing floor or add-k, got 1 for 'exp'"):
        BLEU(smoothing_value=1)
    with pytest.raises(ValueError, match="a number from 0"):
        BLEU(smoothing="floor", smoothing_value=-1)


@given(pairs=PAIRS, words=st.sampled_from([0, 2]), lowercase=st.booleans())
def test_chrf_is_sacrebleus(pairs: list[tuple[str, list[str]]], words: int, lowercase: bool) -> None:
    hypotheses, references = zip(*pairs, strict=True)
    most = max(map(len, references))
    streams: Any = [[own[i] if i < len(own) else None for own in references] for i in range(most)]
    expected = sacrebleu_chrf.CHRF(word_order=words, lowercase=lowercase).corpus_score(hypotheses, streams)
    assert chrf(hypotheses, references, word_order=words, lowercase=lowercase) == expected.score


def test_a_missing_sacrebleu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer.__globals__["_sacrebleu_tokenizer"].cache_clear()
    for name in ("sacrebleu.metrics.chrf", "sacrebleu.tokenizers.tokenizer_zh"):
        monkeypatch.setitem(sys.modules, name, None)
    assert bleu(["a"], ["a"], effective_order=True).score == pytest.approx(100)
    with pytest.raises(ImportError, match=r"'zh' needs sacrebleu: pip install pyrnn\[text\]"):
        BLEU(tokenize="zh")
    with pytest.raises(ImportError, match=r"chrF needs sacrebleu: pip install pyrnn\[text\]"):
        chrf(["a"], ["a"])


def test_chrf_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sentence, and a reference of each"):
        chrf([], [])
    with pytest.raises(ValueError, match="at least one sentence, and a reference of each"):
        chrf(["a"], [[]])
