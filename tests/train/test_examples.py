import runpy
from pathlib import Path

import pytest

from pyrnn.corpora import shakespeare

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_character_model_learns_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "text.txt"
    file.write_text(shakespeare()[:6_000], encoding="utf-8")
    main = runpy.run_path(str(EXAMPLES / "character_model.py"))["main"]
    passage = main(str(file), str(tmp_path / "run"), "HAMLET:\n", epochs=1)
    assert passage.startswith("HAMLET:\n")
    assert len(passage) == 8 + 300
    assert "validation_loss" in capsys.readouterr().out
