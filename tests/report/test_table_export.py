"""Tables, plots, CSV and Parquet of a run, and the comparison of two runs."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from commands import invoke
from verax.bench import OutputRow, Record, ScoreRow
from verax.report import ticks
from verax.report.export import latex, markdown
from verax.report.leaderboard import leaderboards
from verax.report.results import Results, read

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
                key=key, dataset="set", task="haze & rain_1", item=f"p{n}", method=method,
                prior="none", degradation="", prompt="", repeat=0, generator="", licence="CC0",
                outcome="failed" if failed else "restored", reason="broken" if failed else "",
                seconds=1.0, cost_usd=0.0, width=8, height=8, registration="", photo="photo.png",
                reference="", sha256="" if failed else "f",
            )])  # fmt: skip
            if not failed:
                value = level + float(rng.normal(0, 0.1))
                record.add_scores([ScoreRow(key, "psnr", PROTOCOL, value)])
    return record


def verax(*args):
    result = invoke("bench", *args)
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
    scores = pq.read_table(tmp_path / "out/scores.parquet").to_pylist()
    assert len(scores) == 23
    assert {s["protocol"] for s in scores} == {PROTOCOL}
    with (tmp_path / "out/comparisons.csv").open(newline="") as file:
        (pair,) = csv.DictReader(file)
    assert (pair["line_a"], pair["line_b"], pair["pictures"]) == ("identity", "tone", "11")
    assert float(pair["difference"]) == pytest.approx(-1.0, abs=0.1)
    assert float(pair["p_adjusted"]) < 0.05


def test_a_planted_difference_between_two_runs_is_reported(results, tmp_path):
    write_run(tmp_path / "b", 1.5, count=10).close()
    record = json.loads(verax("compare", tmp_path / "a", tmp_path / "b", "--json"))

    tone = next(d for d in record["differences"] if d["label"] == "tone")
    assert tone["mean_b"] - tone["mean_a"] == pytest.approx(0.5, abs=1e-6)
    assert tone["comparison"]["p_value"] < 0.05
    assert tone["p_adjusted"] >= tone["comparison"]["p_value"]
    assert (record["only_a"], record["only_b"], record["other_protocols"]) == (4, 0, 0)
    assert "tone" in verax("compare", tmp_path / "a", tmp_path / "b")


def test_a_run_equals_itself(results, tmp_path):
    record = json.loads(verax("compare", tmp_path / "a", tmp_path / "a", "--json"))

    assert {d["comparison"]["p_value"] for d in record["differences"]} == {1.0}
    assert record["outcome_changes"] == {}


@pytest.mark.parametrize(("low", "high"), [(0.15, 0.87), (11.3, 15.3), (-0.01, 0.01), (0, 100)])
def test_axes_have_round_values(low, high):
    marks = ticks(low, high)

    assert 3 <= len(marks) <= 9
    assert all(low <= value <= high and len(f"{value:g}") <= 6 for value in marks)


def row(key, item, method, prior, **changes):
    """A restored picture of one dataset."""
    facts = {
        "key": key, "dataset": "set", "task": "haze", "item": item, "method": method,
        "prior": prior, "degradation": "", "prompt": "", "repeat": 0, "generator": "",
        "licence": "CC0", "outcome": "restored", "reason": "", "seconds": 1.0, "cost_usd": 0.0,
        "width": 8, "height": 8, "registration": "", "photo": "p.png", "reference": "r.png",
        "sha256": key,
    }  # fmt: skip
    return OutputRow(**(facts | changes))


def results_of(rows, values):
    scores = {key: [ScoreRow(key, "psnr", PROTOCOL, value)] for key, value in values.items()}
    return Results(rows, scores, {})


def test_lines_of_different_pictures_never_share_a_table():
    """Real outputs of an easy picture do not beat simulated ones of hard pictures."""
    rows = [row(f"i{n}", f"p{n}", "identity", "none") for n in range(4)]
    rows += [row(f"s{n}", f"p{n}", "raw-prior", "simulated") for n in range(3)]
    rows += [row("f3", "p3", "raw-prior", "files")]
    values = {"i0": 10.0, "i1": 11.0, "i2": 12.0, "i3": 30.0, "s0": 15.0, "s1": 16.0, "s2": 17.0}
    tables = leaderboards(results_of(rows, values | {"f3": 20.0}))

    means = {t.subset: {line.label: line.interval.mean for line in t.lines} for t in tables}
    assert means == {
        "simulated priors": {"raw-prior (simulated)": 16.0, "identity": 11.0},
        "generated pictures": {"identity": 30.0, "raw-prior (files)": 20.0},
    }


def test_an_item_that_abstained_keeps_its_line_in_the_table():
    rows = [row(f"i{n}", f"p{n}", "identity", "none") for n in range(3)]
    rows += [row(f"f{n}", f"p{n}", "raw-prior", "files") for n in range(2)]
    rows += [row("f2", "p2", "raw-prior", "files", outcome="abstained", sha256="")]
    values = {"i0": 10.0, "i1": 11.0, "i2": 12.0, "f0": 15.0, "f1": 16.0}
    (table,) = leaderboards(results_of(rows, values))

    line = next(line for line in table.lines if line.method == "raw-prior")
    assert (line.items, line.interval.n, line.count("abstained")) == (3, 2, 1)
    assert line.gain.difference.mean == pytest.approx(5.0)


def test_a_gain_is_measured_against_doing_nothing_on_the_same_pictures(results):
    table = leaderboards(results)[0]
    tone = next(line for line in table.lines if line.method == "tone")

    assert tone.gain.difference.mean == pytest.approx(1.0, abs=0.1)
    assert tone.gain.difference.n == 11
    assert tone.p_gain < 0.05
    assert next(line for line in table.lines if line.method == "identity").gain is None


def test_ten_pictures_of_one_scene_are_one_scene():
    rows, values, rng = [], {}, np.random.default_rng(3)
    for n in range(40):
        rows += [row(f"i{n}", f"p{n}", "identity", "none", scene=f"view{n // 10}")]
        rows += [row(f"t{n}", f"p{n}", "tone", "files", scene=f"view{n // 10}")]
        values |= {f"i{n}": 20.0, f"t{n}": 20.0 + float(rng.normal(0.5, 0.1)) + (n // 10 - 2)}
    apart = leaderboards(results_of([replace(r, scene="") for r in rows], values))[0]
    together = leaderboards(results_of(rows, values))[0]

    def width(table):
        gain = next(line for line in table.lines if line.method == "tone").gain.difference
        return gain.high - gain.low

    assert (apart.scenes, together.scenes) == (40, 4)
    assert width(together) > 2 * width(apart)


def test_equal_lines_share_their_rank():
    rows = [row(f"{m}{n}", f"p{n}", m, "files") for n in range(5) for m in ("tone", "full")]
    values = {r.key: 20.0 + int(r.item[1:]) for r in rows}
    (table,) = leaderboards(results_of(rows, values))

    assert [line.rank_shares for line in table.lines] == [(1.0, 0.0), (1.0, 0.0)]
