"""BLEU: how many n-grams a translation shares with its references.

Dimension key: N sentences, S sets of sums.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pyrnn._version import __version__
from pyrnn.metrics._tokens import Tokenization, tokenizer
from pyrnn.metrics.base import Metrics

Smoothing = Literal["none", "floor", "add-k", "exp"]
SMOOTHINGS: tuple[Smoothing, ...] = get_args(Smoothing)

#: The references of a sentence: one, or several.
References = str | Sequence[str]

_ORDERS = 4
_MATCHES, _TOTALS = slice(0, _ORDERS), slice(_ORDERS, 2 * _ORDERS)
_HYPOTHESIS_LENGTH, _REFERENCE_LENGTH, _SENTENCES, _REFERENCES, _SQUARES = range(2 * _ORDERS, 2 * _ORDERS + 5)
_SMOOTHING_VALUES = {"floor": 0.1, "add-k": 1.0}


class BLEU(Metrics):
    r"""Corpus BLEU, from 0 to 100: the sums over sentences, and what follows from them.

    BLEU = 100 BP exp(1/4 sum_n log p_n), n = 1 to 4. p_n: matches of n-grams over the n-grams of the
    hypotheses; an n-gram matches as often as it occurs in the reference that has most of it. BP = 1, or
    e^(1 - r/c) where the length c of the hypotheses is below r, the sum of the reference lengths that are
    closest (the shorter of two). Equal to sacrebleu's for the same options. Without any match it is 0.

    Args:
        tokenize: "13a", as NIST's mteval-v13a; "char", each character but white space; "none", at white
            space; or sacrebleu's "intl" and "zh".
        lowercase: compare without regard to capitals.
        smoothing: of orders without a match: "none", which gives 0; "floor", value / n-grams; "add-k", value
            added to matches and n-grams of n > 1; "exp", 1 / (2^k n-grams) at the k-th such order.
        smoothing_value: of "floor", 0.1 unless given, and of "add-k", 1.
        effective_order: leave out orders that the hypotheses are too short for, as BLEU of a sentence needs.

    Raises:
        ValueError: an unknown tokenization or smoothing, a value that is negative or that nothing uses.
        ImportError: a tokenization of sacrebleu's, and that is missing.

    Source: Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation", section
    2.3; smoothing as in Chen and Cherry 2014, "A Systematic Comparison of Smoothing Techniques for
    Sentence-Level BLEU", methods 1 to 3; signature as in Post 2018, "A Call for Clarity in Reporting BLEU
    Scores".

    Example:
        >>> scores = BLEU()
        >>> scores.update("The cat sat on the mat.", "The cat sat on a mat.")
        >>> round(scores.score, 2), scores.signature.rpartition("|")[0]
        (48.89, 'nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp')
    """

    size = 2 * _ORDERS + 5

    def __init__(
        self,
        *,
        tokenize: Tokenization = "13a",
        lowercase: bool = False,
        smoothing: Smoothing = "exp",
        smoothing_value: float | None = None,
        effective_order: bool = False,
    ) -> None:
        super().__init__()
        if smoothing not in SMOOTHINGS:
            raise ValueError(f"smoothing must be one of {', '.join(SMOOTHINGS)}, got {smoothing!r}")
        if smoothing_value is None:
            smoothing_value = _SMOOTHING_VALUES.get(smoothing, 0.0)
        elif smoothing not in _SMOOTHING_VALUES or smoothing_value < 0:
            raise ValueError(
                f"smoothing_value is a number from 0 of smoothing floor or add-k, got {smoothing_value} for "
                f"{smoothing!r}"
            )
        self.tokenize, self.lowercase, self.effective_order = tokenize, lowercase, effective_order
        self.smoothing, self.smoothing_value = smoothing, smoothing_value
        self._cut = tokenizer(tokenize)

    def update(self, hypothesis: str, references: References) -> None:
        """Add a sentence; either side may be empty.

        Raises:
            ValueError: no reference.
        """
        self.sums += torch.tensor(self.statistics(hypothesis, references), dtype=torch.float64)

    def compute(self) -> dict[str, float]:
        """The score, as "bleu"; NaN where nothing was counted."""
        return {"bleu": self.score}

    @property
    def score(self) -> float:
        """BLEU, or NaN where nothing was counted."""
        return self.scores(self.sums).item() if self.sentences else float("nan")

    @property
    def sentences(self) -> int:
        """How many were added."""
        return int(self.sums[_SENTENCES])

    @property
    def precisions(self) -> tuple[float, ...]:
        """100 p_n, n = 1 to 4, smoothed."""
        return tuple(100 * self._precisions(np.asarray(self.sums))[0])

    @property
    def brevity_penalty(self) -> float:
        """BP."""
        return np.exp(_log_brevity_penalty(np.asarray(self.sums))).item()

    @property
    def hypothesis_length(self) -> int:
        """Tokens of all hypotheses, c."""
        return int(self.sums[_HYPOTHESIS_LENGTH])

    @property
    def reference_length(self) -> int:
        """Tokens of the closest references, r."""
        return int(self.sums[_REFERENCE_LENGTH])

    @property
    def signature(self) -> str:
        """All that a score has to be reported with, in the form of sacrebleu's signature."""
        sentences, references, squares = self.sums[_SENTENCES : _SQUARES + 1].tolist()
        same = sentences * squares == references**2  # no variance
        value = f"[{self.smoothing_value:.2f}]" if self.smoothing in _SMOOTHING_VALUES else ""
        parts = {
            "nrefs": int(references / sentences) if same and sentences else "var",
            "case": "lc" if self.lowercase else "mixed",
            "eff": "yes" if self.effective_order else "no",
            "tok": self.tokenize,
            "smooth": self.smoothing + value,
            "version": f"pyrnn-{__version__}",
        }
        return "|".join(f"{name}:{part}" for name, part in parts.items())

    def __str__(self) -> str:
        shown = "/".join(f"{precision:.1f}" for precision in self.precisions)
        c, r = self.hypothesis_length, self.reference_length
        ratio = c / r if r else 0
        lengths = f"BP = {self.brevity_penalty:.3f} ratio = {ratio:.3f} hyp_len = {c} ref_len = {r}"
        return f"BLEU = {self.score:.2f} {shown} ({lengths})"

    def statistics(self, hypothesis: str, references: References) -> list[int]:
        """The sums [size] of one sentence; those of a text are their sum.

        Raises:
            ValueError: no reference.
        """
        several = [references] if isinstance(references, str) else references
        if not several:
            raise ValueError("a sentence needs at least one reference, got none")
        tokens, others = self._tokens(hypothesis), [self._tokens(reference) for reference in several]
        matches = []
        for order in range(1, _ORDERS + 1):
            most: Counter[tuple[str, ...]] = Counter()
            for other in others:
                most |= _ngrams(other, order)
            matches.append((_ngrams(tokens, order) & most).total())
        totals = [max(len(tokens) - order, 0) for order in range(_ORDERS)]
        closest = min(map(len, others), key=lambda length: (abs(length - len(tokens)), length))
        return [*matches, *totals, len(tokens), closest, 1, len(others), len(others) ** 2]

    def scores(self, sums: ArrayLike) -> NDArray[np.float64]:
        """BLEU [...] of sums [..., size]: of many sets of sentences at once."""
        sums = np.asarray(sums, np.float64)
        precisions, reached = self._precisions(sums)
        with np.errstate(divide="ignore"):
            logs = np.log(precisions)
        single = np.arange(_ORDERS) == 0  # counts also where there is not a word
        counted = reached | single if self.effective_order else np.ones_like(reached)
        mean = np.where(counted, logs, 0).sum(-1) / counted.sum(-1)
        return 100 * np.exp(_log_brevity_penalty(sums) + mean)

    def _tokens(self, sentence: str) -> list[str]:
        return self._cut((sentence.lower() if self.lowercase else sentence).rstrip())

    def _precisions(self, sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Smoothed p_n [..., 4], and which orders the hypotheses are long enough for."""
        matches, totals = sums[..., _MATCHES], sums[..., _TOTALS]
        any_match = matches.any(-1, keepdims=True)
        if self.smoothing == "add-k":
            added = np.where(np.arange(_ORDERS) > 0, self.smoothing_value, 0)
            matches, totals = matches + added, totals + added
        reached = totals > 0
        missed = reached & (matches == 0)
        if self.smoothing == "floor":
            matches = np.where(missed, self.smoothing_value, matches)
        elif self.smoothing == "exp":
            matches = np.where(missed, 0.5 ** missed.cumsum(-1), matches)
        return np.where(any_match & reached, matches / np.where(reached, totals, 1), 0), reached


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[References],
    *,
    tokenize: Tokenization = "13a",
    lowercase: bool = False,
    smoothing: Smoothing = "exp",
    smoothing_value: float | None = None,
    effective_order: bool = False,
) -> BLEU:
    """BLEU of a text; of one sentence with `effective_order`.

    Args:
        hypotheses: N sentences.
        references: N items: the reference of each, or several.
        tokenize: this and the others as of `BLEU`.
        lowercase: likewise.
        smoothing: likewise.
        smoothing_value: likewise.
        effective_order: likewise.

    Returns:
        the score with its parts: `score`, `precisions`, `brevity_penalty`, `signature`.

    Raises:
        ValueError: as of `BLEU`, another number of references, or a sentence without one.
        TypeError: a string in place of several.

    Example:
        >>> found = bleu(["the cat sat on the mat"], [["the cat sat on a mat", "a cat sat on the mat"]])
        >>> round(found.score, 2), found.brevity_penalty
        (95.54, 1.0)
        >>> round(bleu(["so be it"], ["so be it"], effective_order=True).score, 2)
        100.0
    """
    scores = BLEU(
        tokenize=tokenize,
        lowercase=lowercase,
        smoothing=smoothing,
        smoothing_value=smoothing_value,
        effective_order=effective_order,
    )
    require_pairs(hypotheses, references)
    for hypothesis, own in zip(hypotheses, references, strict=True):
        scores.update(hypothesis, own)
    return scores


def require_pairs(hypotheses: Sequence[str], references: Sequence[References]) -> None:
    """Refuse hypotheses and references that do not belong together.

    Raises:
        ValueError: another number of references.
        TypeError: a string in place of several.
    """
    for name, sentences in (("hypotheses", hypotheses), ("references", references)):
        if isinstance(sentences, str):
            raise TypeError(f"{name} must be several strings, got one: put it in a list")
    if len(hypotheses) != len(references):
        raise ValueError(
            f"{len(hypotheses)} hypotheses need as many references, got {len(references)}: give an item for "
            "each hypothesis, a string or a list of several"
        )


def _ngrams(tokens: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def _log_brevity_penalty(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of BP [...] of sums [..., size]: -inf where hypotheses are empty and references are not."""
    length, reference = sums[..., _HYPOTHESIS_LENGTH], sums[..., _REFERENCE_LENGTH]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(length < reference, 1 - reference / length, 0.0)
