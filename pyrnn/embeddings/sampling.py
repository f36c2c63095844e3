"""What is drawn at random: which occurrences of frequent words are left out, and words as noise.

Source: Mikolov et al., "Distributed representations of words and phrases and their compositionality", 2013;
the formula of what is kept is that of the program word2vec.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ALL = 0xFFFFFFFF
#: As the kernels read it (csrc/embedding/word2vec.h).
_COLUMN = np.dtype([("threshold", "<u4"), ("other", "<i4")])


def keep_thresholds(counts: NDArray[np.int64], sample: float) -> NDArray[np.uint32] | None:
    """Of each word, how many of 2^32 occurrences are kept: min(1, sqrt(t / f) + t / f), f = count / total.

    Args:
        counts: [V].
        sample: t, the frequency from about which on words are thinned out; 0 keeps all.

    Example:
        >>> kept = keep_thresholds(np.array([99_000, 1000]), 1e-2)
        >>> (kept / 2**32).round(3).tolist()
        [0.111, 1.0]
    """
    if sample == 0:
        return None
    share = sample * counts.sum() / counts
    kept = np.minimum(np.sqrt(share) + share, 1.0)
    return np.minimum(np.floor(kept * 2**32), _ALL).astype(np.uint32)


def alias_table(counts: NDArray[np.int64], exponent: float) -> NDArray[np.void]:
    """A table by which a word is drawn with probability count^exponent / sum, in constant time.

    Of V columns one is drawn; `threshold` of 2^32 draws are its own word, the others `other`.
    Source: Walker, "An efficient method for generating discrete random variables with general
    distributions", 1977; Vose, "A linear algorithm for generating random numbers with a given distribution",
    1991.

    Args:
        counts: [V].
        exponent: 0.75 in word2vec; 0 makes all words equally likely, 1 as likely as they are.

    Raises:
        ValueError: the powers are not finite numbers above zero.

    Example:
        >>> table = alias_table(np.array([3, 1]), 1.0)
        >>> table["threshold"].tolist() == [2**32 - 1, 2**31], table["other"].tolist()
        (True, [0, 0])
    """
    with np.errstate(over="ignore", under="ignore"):
        weights = counts.astype(np.float64) ** exponent
    if not (np.isfinite(weights).all() and (weights > 0).all() and np.isfinite(weights.sum())):
        raise ValueError(
            f"noise_exponent {exponent} makes probabilities that are no numbers: choose one near 0.75"
        )
    V = len(counts)
    shares = (weights * (V / weights.sum())).tolist()
    threshold, other = [1.0] * V, list(range(V))
    small = [i for i, share in enumerate(shares) if share < 1]
    large = [i for i, share in enumerate(shares) if share >= 1]
    while small and large:
        below, above = small.pop(), large[-1]
        threshold[below], other[below] = shares[below], above
        shares[above] -= 1 - shares[below]
        if shares[above] < 1:
            small.append(large.pop())
    table = np.empty(V, _COLUMN)
    table["threshold"] = np.minimum(np.floor(np.array(threshold) * 2**32), _ALL).astype(np.uint32)
    table["other"] = other
    return table
