"""Tables, plots, CSV and Parquet of a run, and the comparison of two runs."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from verax.bench.record import OutputRow, Record, ScoreRow
from verax.cli.main import app
from verax.report.figures import ticks
from verax.report.leaderboard import leaderboards
from verax.report.results import read
from verax.report.tables import latex, markdown

PROTOCOL = json.dumps(["psnr", "rgb", 0, 1.0, "none", "", "verax", "0.1"])


def write_run(folder, gain, count=12):
    """`tone` is `gain` dB better than `identity` on every picture; one picture failed."""
    record = Record(folder)
    record.set_about("plan", {"datasets": ["x"]})
    rng = np.random.default_rng(1)
    for n in range(count):
        for method, level in (("identity", 20.0), ("tone", 20.0 + gain)):
            key = f"{method}{n}"
            failed = method == "tone" and n == 0
            record.add_outputs([OutputRow(
                key, "set", "haze & rain_1", f"p{n}", method, "none", "", "", 0, "", "CC0",
                "failed" if failed else "restored", "broken" if failed else "", 1.0, 0.0, 8, 8,
                "", "photo.png", "", "" if failed else "f",
            )])  # fmt: skip
            if not failed:
                value = level + float(rng.normal(0, 0.1))
                record.add_scores([ScoreRow(key, "psnr", PROTOCOL, value)])
    return record


def verax(*args):
    result = CliRunner().invoke(app, ["bench", *map(str, args)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def results(tmp_path):
    record = write_run(tmp_path / "a", 1.0)
    yield read(record)
    record.close()


def test_latex_marks_the_best_and_names_the_protocol(results):
    text = latex(leaderboards(results)[0])

    assert r"tone & \textbf{2" in text
    assert r"identity & \underline{2" in text
    assert r"haze \& rain\_1" in text
    assert "psnr on rgb, border 0 px, range 1" in text
    assert text.count("{") == text.count("}")


def test_markdown_counts_every_item(results):
    text = markdown(leaderboards(results)[0])

    assert "| tone | **" in text
    assert "11 of 12" in text
    assert "| failed |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_csv_and_parquet_hold_every_row(results, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    verax("export", tmp_path / "a", tmp_path / "out")
    with (tmp_path / "out/results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(tmp_path / "out/results.parquet").to_pylist()

    assert len(rows) == len(table) == 24
    assert [r["outcome"] for r in rows] == [r["outcome"] for r in table]
    assert float(rows[3]["psnr"]) == table[3]["psnr"]
    assert next(r for r in table if r["outcome"] == "failed")["psnr"] is None
    assert {p.suffix for p in (tmp_path / "out/plots").iterdir()} == {".png", ".svg", ".pdf"}


def test_a_planted_difference_between_two_runs_is_told(results, tmp_path):
    write_run(tmp_path / "b", 1.5, count=10).close()
    found = json.loads(verax("compare", tmp_path / "a", tmp_path / "b", "--json"))

    tone = next(d for d in found["differences"] if d["label"] == "tone")
    assert tone["mean_b"] - tone["mean_a"] == pytest.approx(0.5, abs=1e-6)
    assert tone["comparison"]["p_value"] < 0.05
    assert (found["only_a"], found["only_b"]) == (4, 0)
    assert "tone" in verax("compare", tmp_path / "a", tmp_path / "b")


def test_a_run_equals_itself(results, tmp_path):
    found = json.loads(verax("compare", tmp_path / "a", tmp_path / "a", "--json"))

    assert {d["comparison"]["p_value"] for d in found["differences"]} == {1.0}
    assert found["outcome_changes"] == {}


@pytest.mark.parametrize(("low", "high"), [(0.15, 0.87), (11.3, 15.3), (-0.01, 0.01), (0, 100)])
def test_axes_have_round_values(low, high):
    found = ticks(low, high)

    assert 3 <= len(found) <= 9
    assert all(low <= value <= high and len(f"{value:g}") <= 6 for value in found)
