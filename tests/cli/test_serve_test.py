"""verax serve-test: everything can be tried without a key, and nothing leaves this machine."""

import contextlib
import os
import subprocess
import sys

import pytest

from commands import invoke
from verax.errors import InputError, ProviderBusy


@contextlib.contextmanager
def playing(*words):
    """The address that a `verax serve-test` process prints first, while the block runs."""
    command = [sys.executable, "-m", "verax", "serve-test", "--port", "0", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=os.environ) as process:
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def test_without_a_key_a_picture_is_made_and_play_money_is_billed(tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    words = ("--gateway", "test", "--model", "gpt-image-2.6-flare", "-o", tmp_path / "a.png")
    with playing("--ledger", str(ledger)) as (address, process):
        result = invoke("generate", "a pier", *words, "--base-url", address)
        lines = [process.stderr.readline() for _ in range(5)]

    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.png").is_file()
    assert len(ledger.read_text().splitlines()) == 1
    assert f"--gateway test --base-url {address}" in "".join(lines)


def test_where_nobody_plays_nothing_is_sent_anywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("VERAX_RETRIES", "0")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-abcdefgh")
    here = ("--base-url", "http://127.0.0.1:9/v1", "-o", tmp_path / "a.png")
    with pytest.raises(ProviderBusy, match="nothing was sent"):
        invoke("generate", "a pier", "--gateway", "test", *here)


def test_an_unknown_order_is_an_error_that_names_the_way_to_the_list():
    with pytest.raises(InputError, match="--steps"):
        invoke("serve-test", "--port", "0", "--script", "explode")


def test_the_orders_are_explained():
    output = invoke("serve-test", "--steps").stdout

    for order in ("429", "billed:502", "link:late", "usage:zeros", "refuse:output"):
        assert order in output
