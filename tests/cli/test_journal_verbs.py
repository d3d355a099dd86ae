"""verax journal: what was called, what it cost, what is kept."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from asking import repeated
from commands import invoke
from verax.errors import InputError, ProviderRefused, ProviderUncertain
from verax.image import encode
from verax.providers import GenerateRequest
from verax.providers.answers import read_answer
from verax.providers.budget import Budget, load_tariff
from verax.providers.journal import Journal
from verax.settings import load

REQUEST = GenerateRequest(model="gpt-image-2", prompt="x", size="1024x1024", quality="low")
PICTURE = encode(np.full((4, 4, 3), 0.5, np.float32), format="png")
USAGE = {"input_tokens": 1, "output_tokens": 196}
BODY = json.dumps(
    {"data": [{"b64_json": base64.b64encode(PICTURE).decode()}], "usage": USAGE}
).encode()


def answer(request, keep):
    keep(BODY)
    return read_answer(BODY)


def raising(error):
    def send(request, keep):
        raise error

    return send


@pytest.fixture
def journal(sealed):
    """Three calls: done, refused, uncertain."""
    sends = [
        answer,
        raising(ProviderRefused("unsafe", stage="output", categories=["violence"])),
        raising(ProviderUncertain("line cut")),
    ]
    with Journal(load().home / "journal") as journal:
        for index, send in enumerate(sends):
            try:
                budget = Budget(load_tariff(), f"run{index}")
                journal.call(repeated(REQUEST, index), send, budget=budget)
            except (ProviderRefused, ProviderUncertain):
                pass
        yield journal


def verax(*words):
    return invoke("journal", *words).stdout


def test_list_shows_states_costs_and_reasons(journal):
    text = verax("list")

    assert "1 done, 1 refused, 1 uncertain" in text
    assert "output violence unsafe" in text
    assert "billed $0.0059, possibly $" in text


def test_list_can_be_narrowed(journal):
    assert "1 refused" in verax("list", "--state", "refused")
    assert "1 uncertain" in verax("list", "--run", "run2")
    assert "no calls" in verax("list", "--before", "2000-01-01")


def test_list_as_json_tells_the_whole_record(journal):
    entries = json.loads(verax("list", "--json"))

    assert [entry["state"] for entry in entries] == ["done", "refused", "uncertain"]
    assert entries[0]["cost_usd"] == pytest.approx((8 + 196 * 30) / 1e6)
    assert entries[0]["request"]["fields"]["prompt"] == "x"
    assert (entries[1]["stage"], entries[1]["categories"]) == ("output", ["violence"])


def test_show_names_the_file_of_the_answer(journal):
    entry = json.loads(verax("show", REQUEST.fingerprint()[:12]))

    assert Path(entry["answer"]).read_bytes() == BODY


def test_an_unknown_call_is_an_error(journal):
    with pytest.raises(InputError, match="no call 99; verax journal list"):
        verax("show", "99")


def test_export_writes_the_exact_bytes_that_came(journal, tmp_path):
    verax("export", str(tmp_path / "out"))
    lines = [json.loads(x) for x in (tmp_path / "out" / "calls.jsonl").read_text().splitlines()]

    assert [one["files"] for one in lines] == [["00001-0.png"], [], []]
    assert (tmp_path / "out" / "00001-0.png").read_bytes() == PICTURE


def test_prune_shows_before_it_removes_and_keeps_uncertain_calls(journal):
    first = verax("prune", "--before", "2100-01-01")
    before = len(journal.records.select())
    second = verax("prune", "--before", "2100-01-01", "--yes")

    assert first.startswith("would remove 2 calls")
    assert before == 3
    assert second.startswith("removed 2 calls")
    assert [call.state for call in journal.records.select()] == ["uncertain"]


def test_prune_without_a_choice_is_an_error(journal):
    with pytest.raises(InputError, match="say what to remove"):
        verax("prune", "--yes")


def test_a_named_uncertain_call_is_removed(journal):
    verax("prune", "3", "--yes")

    assert [call.state for call in journal.records.select()] == ["done", "refused"]
