"""Word vectors in two dimensions: principal components, and t-SNE by scikit-learn."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Components(NamedTuple):
    """What `principal_components` found.

    Args:
        coordinates: [N, k], of the centred vectors.
        directions: [k, D], orthonormal.
        explained: of each the share of the variance.

    Example:
        >>> Components(torch.zeros(3, 2), torch.eye(2), (0.6, 0.4)).explained
        (0.6, 0.4)
    """

    coordinates: Tensor
    directions: Tensor
    explained: tuple[float, ...]


def principal_components(vectors: Tensor, count: int = 2) -> Components:
    """The directions of the largest variance, by a singular value decomposition in float64.

    With C the centred vectors and C = U S V^T, the coordinates are U S and the directions the rows of V^T.
    Each has the sign that makes its largest entry positive: the same vectors give the same picture.

    Args:
        vectors: [N, D], floating point, N at least 2.
        count: k, from 1 to the smaller of N and D.

    Raises:
        ValueError: other sizes, or numbers that are not finite.

    Example:
        >>> found = principal_components(torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 0.5], [1.0, -0.5]]))
        >>> found.coordinates.tolist()[:2], found.explained
        ([[-1.0, 0.0], [1.0, 0.0]], (0.8, 0.2))
    """
    _check(vectors, least=2)
    if not 1 <= count <= min(vectors.shape):
        raise ValueError(
            f"expected 1 to {min(vectors.shape)} components of {vectors.shape[0]} vectors of "
            f"{vectors.shape[1]} numbers, got {count}"
        )
    centred = vectors.double() - vectors.double().mean(0)
    _, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
    directions = directions[:count]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * torch.where(largest < 0, -1.0, 1.0)
    variances = sizes.square()
    shares = variances / variances.sum() if variances.sum() > 0 else variances
    return Components(centred @ directions.T, directions, tuple(shares.tolist()[:count]))


def tsne(vectors: Tensor, *, perplexity: float = 30.0, seed: int = 0) -> Tensor:
    """Places in the plane where near neighbours by cosine stay near, [N, 2] in float64.

    Distances between far groups, and the sizes of groups, mean nothing in it. It begins at the principal
    components, and the same vectors, seed and version of scikit-learn give the same places.

    Args:
        vectors: [N, D], floating point, at least 4, none of them zero.
        perplexity: about how many neighbours each word has, at least 1; a third of the others where they are
            fewer than three times as many.
        seed: of a little noise, which parts words of the same vector.

    Raises:
        ValueError: too few vectors, numbers that are not finite, a vector of zeros, a perplexity below 1.
        ImportError: scikit-learn is not installed.

    Source: van der Maaten and Hinton, "Visualizing data using t-SNE", 2008; the beginning: Kobak and Berens,
    "The art of using t-SNE for single-cell transcriptomics", 2019.

    Example:
        >>> tsne(torch.randn(8, 5)).shape
        torch.Size([8, 2])
    """
    _check(vectors, least=4)
    if not perplexity >= 1:
        raise ValueError(f"expected a perplexity of at least 1, got {perplexity}")
    lengths = vectors.double().norm(dim=1, keepdim=True)
    if not (lengths > 0).all():
        raise ValueError(
            f"vector {int((lengths[:, 0] == 0).nonzero()[0])} is zero: it has no neighbours by cosine"
        )
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError(
            "t-SNE needs scikit-learn: pip install pyrnn[viz]; --method pca does without"
        ) from error
    unit = vectors.double() / lengths
    found = principal_components(unit, min(2, *unit.shape)).coordinates
    centred = torch.nn.functional.pad(found, (0, 2 - found.shape[1]))
    noise = torch.randn(centred.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    start: Any = (1e-4 * centred / centred[:, 0].std().clamp(min=1e-300) + 1e-6 * noise).numpy()
    # Euclidean distances of unit vectors order neighbours as cosines do.
    fitted = TSNE(
        perplexity=min(perplexity, (len(unit) - 1) / 3),
        init=start,
        learning_rate="auto",
        random_state=seed,
    ).fit_transform(unit.numpy())
    return torch.as_tensor(fitted, dtype=torch.float64)


def _check(vectors: Tensor, *, least: int) -> None:
    if vectors.dim() != 2 or not vectors.is_floating_point() or len(vectors) < least or not vectors.shape[1]:
        raise ValueError(
            f"expected a floating-point matrix of at least {least} vectors, got {vectors.dtype} of shape "
            f"{tuple(vectors.shape)}"
        )
    if not vectors.isfinite().all():
        raise ValueError("vectors: expected finite numbers, got inf or nan")
