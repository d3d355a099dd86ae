"""verax journal fetch, reread: what was paid and did not come is had later, for nothing."""

import json
import shutil

import pytest

from commands import invoke
from verax.errors import ProviderError, ProviderUncertain
from verax.providers.journal import Journal
from verax.settings import load

COMMON = ("--model", "gpt-image-2.6-flare", "--quality", "low")


@pytest.fixture
def at_service(service, monkeypatch, tmp_path):
    monkeypatch.setenv("VERAX_BASE_URL", service.base_url)
    monkeypatch.setenv("VERAX_API_KEY", "sk-test")
    monkeypatch.setenv("VERAX_RETRIES", "0")
    monkeypatch.chdir(tmp_path)
    return service


def states():
    with Journal(load().home / "journal") as journal:
        return [call.state for call in journal.records.select()]


def test_links_that_were_dead_are_fetched_later_from_the_service_that_gave_them(
    at_service, monkeypatch
):
    at_service.script(["link:gone", "link:relative"])
    with pytest.raises(ProviderError, match="verax journal fetch"):
        invoke("generate", "a pier", *COMMON)
    dead = invoke("journal", "fetch").output
    invoke("generate", "a boat", *COMMON)
    at_service.state.linked[0].way = ""
    monkeypatch.delenv("VERAX_BASE_URL")  # the record names its service
    alive = invoke("journal", "fetch").output

    assert "0 of 1 answer complete now; nothing was paid" in dead
    assert "1 of 1 answer complete now" in alive
    assert states() == ["done", "done"]
    assert len(at_service.ledger()) == 2
    assert invoke("generate", "a pier", *COMMON, "--base-url", at_service.base_url).exit_code == 0
    assert len(at_service.ledger()) == 2


def test_a_dead_link_does_not_stop_the_others(at_service):
    at_service.script(["link:gone", "link:gone"])
    for words in ("a pier", "a boat"):
        with pytest.raises(ProviderError):
            invoke("generate", words, *COMMON)
    at_service.state.linked[1].way = ""

    assert "1 of 2 answers complete now" in invoke("journal", "fetch").output
    assert states() == ["unusable", "done"]


def test_what_a_newer_version_can_read_becomes_an_answer(at_service):
    """A body that nobody can read today stands for one that an older version could not."""
    at_service.script(["truncated"])
    with pytest.raises(ProviderError, match="cannot be read"):
        invoke("generate", "a pier", *COMMON)
    today = invoke("journal", "reread").output
    invoke("generate", "a boat", *COMMON)
    with Journal(load().home / "journal") as journal:
        unread, read = journal.records.select()
        shutil.copy(
            journal.answers.path(read.fingerprint), journal.answers.path(unread.fingerprint)
        )
    later = invoke("journal", "reread").output

    assert "0 of 1 can be read now; nothing was sent or paid" in today
    assert "1 of 1 can be read now" in later
    assert states() == ["done", "done"]


def test_of_a_broken_answer_the_parts_are_listed_exported_and_pruned(at_service, tmp_path):
    at_service.script(["half"])
    with pytest.raises(ProviderUncertain):
        invoke("generate", "a pier", *COMMON)
    shown = json.loads(invoke("journal", "show", "1").stdout)
    invoke("journal", "export", tmp_path / "out")
    (part,) = (tmp_path / "out").glob("*.part")
    pruned = invoke("journal", "prune", "1", "--yes").stdout

    assert "bytes of the answer arrived" in shown["message"]
    assert part.read_bytes().startswith(b'{"created"')
    assert "removed 1 call " in pruned
    assert list(load().home.glob("journal/answers/*/*")) == []
