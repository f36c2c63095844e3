"""Hard debiasing: a bias subspace from pairs of words, taken out of some words, made even in others.

Source: Bolukbasi, Chang, Zou, Saligrama and Kalai, "Man is to computer programmer as woman is to homemaker?
Debiasing word embeddings", 2016, sections 5 and 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyrnn.embeddings._checked import check_rows, named, unit_rows

#: Below this share of a unit vector nothing but rounding of float32 is left.
_NOTHING = 1e-6
_BLOCK = 1 << 16  # rows that are float64 at a time


class BiasSubspace(NamedTuple):
    """What `bias_subspace` found.

    Args:
        directions: [k, D], orthonormal, float64.
        explained: of each direction the share of the pairs' variance that lies along it, the largest first.

    Example:
        >>> BiasSubspace(torch.eye(3, dtype=torch.float64)[:1], (0.9,)).directions.shape
        torch.Size([1, 3])
    """

    directions: Tensor
    explained: tuple[float, ...]


def bias_subspace(
    vectors: Tensor, sets: Sequence[Sequence[int]], *, count: int = 1, words: Sequence[str] | None = None
) -> BiasSubspace:
    """The k directions in which words differ that ought to mean the same but for the bias.

    With unit vectors w and mu_i the mean of the set D_i, they are the first k eigenvectors of
    C = sum_i sum_{w in D_i} (w - mu_i)(w - mu_i)^T / |D_i|. A direction points to where the first words of
    the sets are.

    Args:
        vectors: [V, D], floating point.
        sets: of each defining set the rows, usually two: ("she", "he"), ("woman", "man"), ...
        count: k, at least 1.
        words: of each row its word, for what errors say.

    Raises:
        ValueError: fewer than two sets, a set of fewer than two words or with one twice, a row that is not
            there, a vector of zeros or not finite, more directions than the sets span.

    Source: Bolukbasi et al. 2016, section 5 (step 1).

    Example:
        >>> vectors = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, 2.0], [-1.0, 2.0]])
        >>> subspace = bias_subspace(vectors, [(0, 1), (2, 3)])
        >>> subspace.directions.tolist(), subspace.explained
        ([[1.0, 0.0]], (1.0,))
    """
    if len(sets) < 2:
        raise ValueError(
            f"a bias needs at least two defining pairs to be told from what one pair means, got {len(sets)}"
        )
    if count < 1:
        raise ValueError(f"expected at least one direction, got {count}")
    centred, first = [], torch.zeros(vectors.shape[1], dtype=torch.float64)
    for rows in sets:
        unit = unit_rows(vectors, _set(rows, words), words)
        own = (unit - unit.mean(0)) / len(rows) ** 0.5
        centred.append(own)
        first += own[0]
    _, sizes, directions = torch.linalg.svd(torch.cat(centred), full_matrices=False)
    spanned = int((sizes > _NOTHING).sum())
    if count > spanned:
        raise ValueError(
            f"the {len(sets)} defining pairs span {spanned} directions, got {count}: ask for at most "
            f"{spanned}, or give more pairs"
            if spanned
            else f"the words of each of the {len(sets)} defining pairs have the same vector: no direction "
            "leads from one to the other"
        )
    directions = directions[:count]
    signs = torch.where(directions @ first < 0, -1.0, 1.0)
    variances = sizes.square()
    return BiasSubspace(directions * signs[:, None], tuple((variances / variances.sum()).tolist()[:count]))


def bias_components(vectors: Tensor, rows: Sequence[int] | Tensor, directions: Tensor) -> Tensor:
    """Cosines of words with the directions, [N, k] in float64: how far each lies on which side.

    A vector of zeros has zeros.

    Args:
        vectors: [V, D], floating point.
        rows: the N words.
        directions: [k, D], orthonormal.

    Example:
        >>> vectors = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
        >>> bias_components(vectors, [0, 1], torch.tensor([[1.0, 0.0]])).tolist()
        [[0.6], [0.0]]
    """
    rows = torch.as_tensor(rows, dtype=torch.int64)
    directions = directions.double()
    parts = [_divided(vectors[block].double()) @ directions.T for block in rows.split(_BLOCK)]
    return torch.cat(parts) if parts else torch.zeros(0, len(directions), dtype=torch.float64)


def direct_bias(
    vectors: Tensor, rows: Sequence[int] | Tensor, directions: Tensor, *, strictness: float = 1.0
) -> float:
    """How much of words that ought to be neutral lies in the bias subspace, on average: from 0 to 1.

    DirectBias_c = 1/|N| sum_{w in N} |w_B|^c, where w_B is the part of the unit vector w in the subspace:
    for a single direction the size of the cosine.

    Args:
        vectors: [V, D], floating point.
        rows: the neutral words N.
        directions: [k, D], orthonormal.
        strictness: c, above 0: the larger, the less do small parts count.

    Raises:
        ValueError: no words, or a strictness that is not above 0.

    Source: Bolukbasi et al. 2016, section 5.2.

    Example:
        >>> direct_bias(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), [0, 1], torch.tensor([[1.0, 0.0]]))
        0.3
    """
    if not len(rows) or not strictness > 0:
        raise ValueError(
            f"expected words and a strictness above 0, got {len(rows)} words and strictness {strictness}"
        )
    return float(bias_components(vectors, rows, directions).norm(dim=1).pow(strictness).mean())


def neutralize(
    vectors: Tensor,
    rows: Sequence[int] | Tensor,
    directions: Tensor,
    *,
    words: Sequence[str] | None = None,
) -> Tensor:
    """Take the bias subspace out of words: w <- |w| (w - w_B) / |w - w_B|; the others stay.

    Of unit vectors it is the paper's formula; others keep their lengths. A vector of zeros stays.

    Args:
        vectors: [V, D], floating point; not changed.
        rows: the words to make neutral.
        directions: [k, D], orthonormal, of `bias_subspace`.
        words: of each row its word, for what errors say.

    Returns:
        New vectors [V, D] of the same dtype.

    Raises:
        ValueError: a row that is not there or not finite, or one that lies in the subspace entirely.

    Source: Bolukbasi et al. 2016, section 6 (step 2a).

    Example:
        >>> vectors = torch.tensor([[3.0, 4.0], [5.0, 1.0]])
        >>> neutralize(vectors, [0], torch.tensor([[1.0, 0.0]])).tolist()
        [[0.0, 5.0], [5.0, 1.0]]
    """
    neutral, directions = vectors.clone(), directions.double()
    check_rows(vectors, rows, words)
    for block in torch.as_tensor(rows, dtype=torch.int64).split(_BLOCK):
        given = vectors[block].double()
        lengths = given.norm(dim=1, keepdim=True)
        unit = given / lengths.where(lengths > 0, 1.0)
        left = unit - (unit @ directions.T) @ directions
        left -= (left @ directions.T) @ directions  # what the first subtraction's rounding left
        sizes = left.norm(dim=1, keepdim=True)
        bare = ((sizes < _NOTHING) & (lengths > 0))[:, 0]
        if not given.isfinite().all() or bare.any():
            row = int(block[int((bare | ~given.isfinite().all(1)).nonzero()[0])])
            raise ValueError(
                f"{named(row, words)} lies in the bias subspace entirely, or is not finite: nothing would be "
                "left of it; leave it out of the neutral words"
            )
        neutral[block] = (lengths * left / sizes.where(sizes > 0, 1.0)).to(vectors.dtype)
    return neutral


def equalize(
    vectors: Tensor,
    sets: Sequence[Sequence[int]],
    directions: Tensor,
    *,
    words: Sequence[str] | None = None,
) -> Tensor:
    """Make the words of a set differ in the bias alone, and lie equally far from every neutral word.

    With unit vectors, mu the mean of the set, and nu = mu - mu_B,
    w <- nu + sqrt(1 - |nu|^2) (w_B - mu_B) / |w_B - mu_B|. Both parts are at right angles and the second is
    divided by its own length, so that w has length one; it is then given the mean of the set's lengths.

    Args:
        vectors: [V, D], floating point; not changed.
        sets: of each set the rows, usually two: ("grandmother", "grandfather"), ...
        directions: [k, D], orthonormal, of `bias_subspace`.
        words: of each row its word, for what errors say.

    Returns:
        New vectors [V, D] of the same dtype.

    Raises:
        ValueError: a set of fewer than two words, a word twice, a row that is not there, zero or not finite,
            or words whose parts in the subspace are the same.

    Source: Bolukbasi et al. 2016, section 6 (step 2a).

    Example:
        >>> vectors = torch.tensor([[0.6, 0.8], [0.0, 1.0]])
        >>> pair = equalize(vectors, [(0, 1)], torch.tensor([[1.0, 0.0]]))
        >>> [[round(x, 4) for x in row] for row in pair.tolist()]
        [[0.4359, 0.9], [-0.4359, 0.9]]
    """
    equal, directions = vectors.clone(), directions.double()
    seen: set[int] = set()
    for rows in sets:
        rows = _set(rows, words)
        if twice := seen.intersection(rows):
            raise ValueError(f"{named(min(twice), words)} is in two sets to equalize; leave it in one")
        seen.update(rows)
        unit = unit_rows(vectors, rows, words)
        biased = (unit @ directions.T) @ directions
        mean = unit.mean(0)
        common = mean - (mean @ directions.T) @ directions
        sides = biased - biased.mean(0)
        sizes = sides.norm(dim=1, keepdim=True)
        if (sizes < _NOTHING).any():
            told = " and ".join(named(row, words) for row in rows)
            raise ValueError(
                f"{told} cannot be equalized: the bias subspace does not tell one of them from their "
                "mean, so there is no side to put it on"
            )
        sides *= (1 - common.square().sum()).clamp(min=0).sqrt() / sizes
        length = vectors[list(rows)].double().norm(dim=1).mean()
        equal[list(rows)] = (length * (common + sides)).to(vectors.dtype)
    return equal


def hard_debias(
    vectors: Tensor,
    *,
    directions: Tensor,
    neutral: Sequence[int] | Tensor,
    equal: Sequence[Sequence[int]] = (),
    words: Sequence[str] | None = None,
) -> Tensor:
    """Neutralise some words and equalise others; the rest stays.

    Afterwards a neutral word lies as near to one word of an equalised set as to another, by cosine, dot
    product and distance. That is all: words keep neighbours of their side, which `measure_neighbourhoods`
    measures (Gonen and Goldberg, "Lipstick on a pig", 2019).

    Args:
        vectors: [V, D], floating point; not changed.
        directions: [k, D], orthonormal, of `bias_subspace`.
        neutral: rows to take the bias out of.
        equal: sets of rows to make even.
        words: of each row its word, for what errors say.

    Returns:
        New vectors [V, D] of the same dtype.

    Raises:
        ValueError: a word that is both neutral and equalised; as `neutralize` and `equalize`.

    Source: Bolukbasi et al. 2016, section 6 (hard debiasing).

    Example:
        >>> vectors = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, 2.0], [-1.0, 2.0], [0.5, 1.0]])
        >>> directions = bias_subspace(vectors, [(0, 1), (2, 3)]).directions
        >>> after = hard_debias(vectors, directions=directions, neutral=[4], equal=[(0, 1)])
        >>> cosines = torch.cosine_similarity(after[4:], after[:2])
        >>> bool(cosines[0] == cosines[1])
        True
    """
    both = {row for rows in equal for row in rows}.intersection(torch.as_tensor(neutral).tolist())
    if both:
        told = ", ".join(named(row, words) for row in sorted(both)[:5])
        raise ValueError(
            f"neutral and equalised words must differ: {told} {'is' if len(both) == 1 else 'are'} both"
        )
    return equalize(neutralize(vectors, neutral, directions, words=words), equal, directions, words=words)


def _divided(rows: Tensor) -> Tensor:
    """Rows of length one; zeros stay."""
    lengths = rows.norm(dim=1, keepdim=True)
    return rows / lengths.where(lengths > 0, 1.0)


def _set(rows: Sequence[int], words: Sequence[str] | None) -> tuple[int, ...]:
    """The rows of a set that is one."""
    if len(set(rows)) < 2 or len(set(rows)) < len(rows):
        told = ", ".join(named(row, words) for row in rows) or "none"
        raise ValueError(f"expected pairs, or larger sets, of different words, got {told}")
    return tuple(rows)
