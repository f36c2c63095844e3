"""torch.export: a program that is saved, loaded and run, for batches of any size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.export import Dim

from tests.integrations.model import twins


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*weights_only.*")
def test_a_saved_program(tmp_path: Path) -> None:
    _, ours = twins()
    ours.eval()
    tokens = torch.randint(0, 11, (4, 6))
    program = torch.export.export(ours, (tokens,), dynamic_shapes=({0: Dim("B", min=2, max=64)},))
    assert "pyrnn.recurrent" in program.graph_module.code
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    for B in (4, 9):
        tokens = torch.randint(0, 11, (B, 6))
        torch.testing.assert_close(loaded(tokens), ours(tokens))
