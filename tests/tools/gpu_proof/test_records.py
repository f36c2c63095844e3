"""What is made of records afterwards: comparisons, pages and tables."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pyrnn.bench import record
from tools.gpu_proof import compare, publish
from tools.gpu_proof.cases import cases
from tools.gpu_proof.page import markdown

FIRST = cases()[:3]


def content(environment: record.Row, times: dict[int, float], **more: object) -> record.Row:
    """A record whose bench stage measured these cases."""
    rows = [
        {**asdict(FIRST[number]), "us_per_step": time, "ratio": 6 / time} for number, time in times.items()
    ]
    bench = {"status": "passed", "seconds": 9, "rows": rows}
    return {"format": 1, "environment": {**environment, **more}, "stages": {"bench": bench}}


def test_a_comparison_goes_row_by_row(environment: record.Row) -> None:
    a = content(environment, {0: 2.0, 1: 3.0}, commit="aaa")
    b = content(environment, {0: 1.0, 1: 6.0, 2: 1.0}, commit="bbb")
    shown = compare.comparison(a, b)
    assert shown.startswith("A: NVIDIA H200 aaa\nB: NVIDIA H200 bbb\n")
    assert f"| {FIRST[0]} | 2.00 | 1.00 | 2.00 | 3.00 | 6.00 |" in shown
    assert "A / B over 2 cases: geometric mean 1.00, smallest 0.50, largest 2.00" in shown
    assert f"Measured in B alone: {FIRST[2]}" in shown
    assert "differ" not in shown
    assert "The devices differ" in compare.comparison(a, content(environment, {}, device="NVIDIA H100"))
    assert "No case was measured in both." in compare.comparison(a, content(environment, {}))


def test_an_engine_that_was_forced_is_another_case(environment: record.Row) -> None:
    a, b = content(environment, {0: 2.0}), content(environment, {0: 2.0})
    b["stages"]["bench"]["rows"][0] |= asdict(replace(FIRST[0], engine="step"))
    assert "No case was measured in both." in compare.comparison(a, b)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"stages": {}}'])
def test_what_is_no_record_is_refused_in_words(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit) as ended:
        compare.main([str(path), str(path)])
    assert ended.value.code == 2
    assert "a.json" in capsys.readouterr().err


def test_publishing_writes_pages_and_tables_from_the_records(
    environment: record.Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "bench" / "results" / "gpu"
    results.mkdir(parents=True)
    monkeypatch.setattr(publish, "RESULTS", results)
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    pages = [tmp_path / "README.md", tmp_path / "docs" / "gpu.md"]
    for page in pages:
        page.write_text("before\n<!-- bench:gpu -->\nold\n<!-- /bench -->\nafter\n")
    assert publish.main([]) == 0
    assert "On no GPU yet." in pages[0].read_text()
    found = content(environment, {}, date="2030-01-02T03:04:05+00:00", commit="abc")
    found["stages"] = {
        "sizes": {"status": "passed", "seconds": 9, "rows": [{"case": "one", "outcome": "right"}] * 3},
        "tests": {
            "status": "failed",
            "seconds": 9,
            "rows": [
                {"test": "t", "outcome": "passed", "why": ""},
                {"test": "u", "outcome": "failed", "why": "x"},
            ],
        },
        "bench": {"status": "timed out", "seconds": 0, "rows": []},
    }
    (results / "2030-01-02-h200-abc.json").write_text(json.dumps(found))
    (results / "ptx-h200.json").write_text("{}")
    assert publish.main([]) == 0
    line = "| NVIDIA H200 | 2030-01-02 | abc | sizes: 3 right; tests: 1 passed, 1 failed; bench timed out | "
    for page, link in zip(pages, ("bench/", "../bench/"), strict=True):
        assert f"{line}[2030-01-02-h200-abc]({link}results/gpu/2030-01-02-h200-abc.md) |" in page.read_text()
        assert "old" not in page.read_text()
    assert (results / "2030-01-02-h200-abc.md").read_text() == markdown(found)
    assert "| one | right |  |  |" in markdown(found)
