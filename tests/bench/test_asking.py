"""A run whose priors a service makes: paid once, refusals counted, limits kept, resumable."""

import base64
import json
from pathlib import Path

import pytest

from asking import KEY
from commands import invoke
from counting import counting
from verax.bench import open_run
from verax.errors import BudgetExceeded

MODEL = "provider:gpt-image-2"


@pytest.fixture
def at_service(service, monkeypatch, tmp_path):
    monkeypatch.setenv("VERAX_BASE_URL", service.base_url)
    monkeypatch.setenv("VERAX_STREAM", "never")
    monkeypatch.setenv("VERAX_RETRIES", "0")
    monkeypatch.setenv("VERAX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return service


def bench(dataset, folder, *more):
    command = ["bench", "run", "--dataset", dataset, "--task", "dark", "--prior", MODEL,
               "--method", "raw-prior", "--metric", "psnr",
               "--quality", "low", "--workers", "2", "-o", folder, "--json", *more]  # fmt: skip
    return invoke(*command)


def rows_of(folder):
    record = open_run(folder)
    rows = list(record.outputs())
    record.close()
    return rows


def test_methods_share_one_paid_answer(at_service, dataset, tmp_path):
    both = ("--limit", "2", "--method", "low-band")
    done = bench(dataset, tmp_path / "run", *both)
    summary = json.loads(done.stdout)

    assert len(at_service.ledger()) == 2
    assert summary["items"] == 4
    assert summary["cost_usd"] == pytest.approx(at_service.bill_usd(), rel=1e-6)
    assert "Expected cost" in done.stderr
    assert {row.generator for row in rows_of(tmp_path / "run")} == {"gpt-image-2"}
    bench(dataset, tmp_path / "run", *both)
    assert len(at_service.ledger()) == 2


def test_a_service_that_refuses_half_is_counted_not_dropped(at_service, dataset, tmp_path):
    at_service.script(["refuse:input", "ok", "refuse:input", "ok"])
    bench(dataset, tmp_path / "run")

    outcomes = [row.outcome for row in rows_of(tmp_path / "run")]
    assert sorted(outcomes) == ["refused", "refused", "restored", "restored"]
    bench(dataset, tmp_path / "run")
    assert [row.outcome for row in rows_of(tmp_path / "run")] == outcomes


def test_another_size_than_asked_for_is_an_outcome_of_its_own(at_service, dataset, tmp_path):
    at_service.script(["size:640x480"] * 4)
    bench(dataset, tmp_path / "run", "--limit", "1")

    assert {row.outcome for row in rows_of(tmp_path / "run")} <= {
        "wrong_size", "prior_not_placed",
    }  # fmt: skip
    assert "wrong_size" in {row.outcome for row in rows_of(tmp_path / "run")}


def test_a_failed_service_is_asked_again_by_the_next_start(at_service, dataset, tmp_path):
    at_service.script(["429"] * 8)
    bench(dataset, tmp_path / "run", "--limit", "1")
    assert {row.outcome for row in rows_of(tmp_path / "run")} == {"failed"}
    at_service.script([])
    bench(dataset, tmp_path / "run", "--limit", "1")

    assert "failed" not in {row.outcome for row in rows_of(tmp_path / "run")}


def test_a_cost_limit_stops_the_run_and_a_higher_one_goes_on(at_service, dataset, tmp_path):
    with pytest.raises(BudgetExceeded):
        bench(dataset, tmp_path / "run", "--max-cost", "0.000001")
    assert at_service.ledger() == []
    bench(dataset, tmp_path / "run", "--max-cost", "10", "--limit", "0")

    assert len(rows_of(tmp_path / "run")) == 4


def test_a_dry_run_tells_the_price_and_asks_nobody(at_service, dataset, tmp_path):
    output = bench(dataset, tmp_path / "run", "--dry-run")

    assert "4 calls would cost" in output.output
    assert at_service.requests() == []
    assert not (tmp_path / "run").exists()


def test_the_batch_api_gives_the_same_outcomes(at_service, dataset, tmp_path):
    bench(dataset, tmp_path / "run", "--batch", "--batch-poll", "0.05", "--limit", "2")

    assert {row.outcome for row in rows_of(tmp_path / "run")} <= {
        "restored", "prior_not_placed",
    }  # fmt: skip
    assert not any(r["endpoint"].endswith("edits") for r in at_service.requests())


def test_a_paid_photo_is_opened_decoded_and_hashed_once_for_all_methods_and_so_is_its_answer(
    at_service, dataset, tmp_path
):
    with counting() as counts:
        bench(dataset, tmp_path / "run", "--limit", "1", "--method", "low-band")

    rows = rows_of(tmp_path / "run")
    photo = Path(rows[0].photo)
    (answer,) = tmp_path.glob("home/journal/answers/*/*.json")
    picture = base64.b64decode(json.loads(answer.read_bytes())["data"][0]["b64_json"])
    assert [row.outcome for row in rows] == ["restored"] * 2
    assert counts.decode(photo.read_bytes()) == counts.decode(picture) == 1
    assert (counts.hashed(), counts.calls["fingerprint"]) == ([1], 1)
    assert counts.opened[str(photo)] == 1
