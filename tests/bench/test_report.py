"""Records and reports: what is written can be read, and a table says what the rows say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrnn.bench import picture, record, report
from pyrnn.bench.recurrent import LAYOUT


def row(**changes: object) -> record.Row:
    """A recorded row, as bench/recurrent.py makes them."""
    spread = {"median": 0.01, "p20": 0.009, "p80": 0.012}
    case = {"cell": "gru", "dtype": "float32", "mode": "train", "variant": "plain"}
    shape = {"T": 64, "B": 8, "I": 256, "H": 256}
    times = {"pyrnn_s": spread, "torch_s": spread, "ratio": 2.0}
    ratios = {"ratio_spread": {"median": 2.0, "p20": 1.8, "p80": 2.2}}
    rates = {"gflops": 400.0, "peak_gflops": 500.0, "share_of_peak": 0.8, "background_load": 0.0}
    return {**case, **shape, **times, **ratios, **rates, **record.environment(), **changes}


ROWS = [
    row(),
    row(T=35, ratio=8.0),
    row(cell="lstm", mode="infer", ratio=0.5),
    row(variant="lengths", ratio=5.0),
]


def test_rows_return_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    for one in ROWS:
        record.append(path, one)
    assert record.read(path) == ROWS


def test_latest_row_of_a_case_wins() -> None:
    rows = [row(ratio=1.0), row(T=1), row(ratio=3.0)]
    assert [one["ratio"] for one in record.latest(rows, ("cell", "T"))] == [3.0, 2.0]


def test_environment_names_the_machine() -> None:
    env = record.environment()
    assert env["threads"] >= 1
    assert all(
        env[field] for field in ("vendor", "processor", "isa", "torch", "torch_blas", "commit", "date")
    )


def test_results_file_tells_day_processor_and_instruction_set() -> None:
    env = {"date": "2030-01-02T03:04:05+00:00", "processor": "AMD EPYC 9B14 (tm)", "isa": "avx2"}
    assert record.results_file("recurrent", env).name == "recurrent-2030-01-02-amd-epyc-9b14-tm-avx2.jsonl"


def test_markdown() -> None:
    lines = report.markdown(ROWS, LAYOUT).splitlines()
    assert "| T B I H | GRU training | LSTM inference |" in lines
    assert "| 64 8 256 256 | 2.00x, 400, 80% | 0.50x, 400, 80% |" in lines
    assert "| 35 8 256 256 | 8.00x, 400, 80% |  |" in lines
    assert "| **geometric mean, plain** | **4.00x** | **0.50x** |" in lines
    assert "| 64 8 256 256 lengths | 5.00x, 400, 80% |  |" in lines


def test_readme_block_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(
        "before\n<!-- bench:x -->\nold\n<!-- /bench -->\nafter\n<!-- bench:y -->\n<!-- /bench -->\n"
    )
    report.put_in_readme("x", "new", readme)
    report.put_in_readme("x", "newer", readme)
    assert readme.read_text() == (
        "before\n<!-- bench:x -->\n\nnewer\n\n<!-- /bench -->\nafter\n<!-- bench:y -->\n<!-- /bench -->\n"
    )


def test_readme_without_the_block_is_an_error(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench:x -->\n")
    with pytest.raises(ValueError, match="has no block <!-- bench:x -->"):
        report.put_in_readme("x", "new", readme)


def test_rows_of_a_busy_machine_are_not_published(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench:recurrent -->\n<!-- /bench -->\n")
    rows = [*ROWS, row(T=99, background_load=0.4)]
    with pytest.raises(ValueError, match=r"1 of 5 rows .*gru float32 train 99 8 256 256"):
        report.publish(rows, LAYOUT, tmp_path / "x.md", readme)
    assert "1 of 5 rows were measured on a busy machine" in report.markdown(rows, LAYOUT)
    report.publish(ROWS, LAYOUT, tmp_path / "results" / "x.md", readme)
    assert "busy" not in readme.read_text()
    assert "**4.00x** (2.00)" in readme.read_text()
    assert "[results/x.md](results/x.md)" in readme.read_text()


def test_projects_readme_has_the_block() -> None:
    assert "<!-- bench:recurrent -->" in (record.ROOT / "README.md").read_text()


def test_memory_is_told_where_it_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Memory" not in report.markdown(ROWS, LAYOUT)
    sizes = [row(torch_bytes=4_000_000, pyrnn_bytes=1_000_000), row(torch_bytes=90, pyrnn_bytes=90)]
    told = "MB: float32 GRU plain 2.00x (4 / 1)."
    assert told in report.markdown(sizes, LAYOUT)
    assert told in report.summary(sizes, LAYOUT, "x.md")
    report.print_table(sizes, LAYOUT)
    assert told in " ".join(capsys.readouterr().out.split())


def test_table_prints_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_table(ROWS, LAYOUT)
    printed = capsys.readouterr().out
    assert printed.count("1.80-2.20") == len(ROWS)
    assert "geometric means" in printed


def test_picture(tmp_path: Path) -> None:
    picture.draw(tmp_path / "ratios.png", ROWS, LAYOUT)
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")
