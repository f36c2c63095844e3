from __future__ import annotations

import sys

import pytest
import torch

from pyrnn.embeddings.projection import principal_components, tsne

GROUPS = torch.arange(60) % 3


def grouped() -> torch.Tensor:
    """Sixty vectors about three far-apart ones."""
    return torch.eye(3, 12)[GROUPS] * 5 + torch.randn(60, 12, generator=torch.Generator().manual_seed(0))


def test_components_are_eigenvectors_of_the_covariance_and_keep_distances() -> None:
    vectors = grouped().double()
    found = principal_components(vectors, 12)
    covariance = torch.cov(vectors.T, correction=0)
    for direction, share in zip(found.directions, found.explained, strict=True):
        value = share * covariance.trace()
        assert torch.allclose(covariance @ direction, value * direction, atol=1e-9)
        assert direction[direction.abs().argmax()] > 0
    assert sum(found.explained) == pytest.approx(1)
    assert torch.allclose(torch.pdist(found.coordinates), torch.pdist(vectors))


def test_the_number_of_words_does_not_change_a_sign() -> None:
    vectors = grouped()
    turned = principal_components(vectors.flip(0)).coordinates.flip(0)
    assert torch.allclose(principal_components(vectors).coordinates, turned, atol=1e-6)


def test_equal_vectors_lie_at_one_place() -> None:
    found = principal_components(torch.ones(5, 3))
    assert not found.coordinates.any()
    assert found.explained == (0.0, 0.0)


def test_tsne_keeps_groups_together_and_has_the_same_places_each_time() -> None:
    pytest.importorskip("sklearn", reason="t-SNE needs scikit-learn")
    places = tsne(grouped(), seed=3)
    nearest = torch.cdist(places, places).fill_diagonal_(torch.inf).argmin(1)
    assert (GROUPS[nearest] == GROUPS).double().mean() > 0.9
    assert torch.equal(places, tsne(grouped(), seed=3))
    assert not torch.equal(places, tsne(grouped(), seed=4))
    assert tsne(torch.randn(4, 1)).isfinite().all()


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(ImportError, match=r"pip install pyrnn\[viz\]"):
        tsne(torch.randn(9, 5))


def test_what_cannot_be_projected_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="1 to 3 components of 9 vectors of 3 numbers, got 4"):
        principal_components(torch.randn(9, 3), 4)
    with pytest.raises(ValueError, match="at least 2 vectors"):
        principal_components(torch.randn(1, 3))
    with pytest.raises(ValueError, match="finite numbers"):
        principal_components(torch.full((3, 3), torch.nan))
    with pytest.raises(ValueError, match="at least 4 vectors"):
        tsne(torch.randn(3, 3))
    with pytest.raises(ValueError, match="perplexity of at least 1, got 0"):
        tsne(torch.randn(9, 3), perplexity=0)
    with pytest.raises(ValueError, match="vector 0 is zero"):
        tsne(torch.zeros(9, 3))
