"""Files of numbers and classes, whole or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pyrnn.data import read_features, write_features


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows, labels = torch.randn(7, 3), torch.randint(4, (7,))
    write_features(tmp_path / "a", rows.double(), labels)
    read_rows, read_labels = read_features(tmp_path / "a", num_features=3, num_classes=4)
    assert torch.equal(read_rows, rows)
    assert torch.equal(read_labels.long(), labels)


@pytest.mark.parametrize(
    ("features", "labels", "words"),
    [
        (torch.zeros(2, 4), torch.tensor([0, 1]), "features should be"),
        (torch.zeros(3, 3), torch.tensor([0, 1]), "features should be"),
        (torch.zeros(0, 3), torch.zeros(0), "expected rows of finite numbers"),
        (torch.full((1, 3), torch.nan), torch.tensor([0]), "expected rows of finite numbers"),
        (torch.zeros(1, 3), torch.tensor([2]), r"label must lie in \[0, 2\), got 2 to 2"),
        (torch.zeros(1, 3), torch.tensor([-1]), r"label must lie in \[0, 2\), got -1 to -1"),
    ],
)
def test_damage_is_refused(features: torch.Tensor, labels: torch.Tensor, words: str, tmp_path: Path) -> None:
    save_file({"features": features, "label": labels.int()}, tmp_path / "a")
    with pytest.raises(ValueError, match=words):
        read_features(tmp_path / "a", num_features=3, num_classes=2)
    save_file({"other": features}, tmp_path / "b")
    with pytest.raises(ValueError, match="does not fit its run"):
        read_features(tmp_path / "b", num_features=3, num_classes=2)
