"""verax restore --model: from the photo to the restoration with one paid call in between."""

import base64
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import invoke
from counting import counting
from verax import image as images
from verax.errors import InputError, ProviderRefused, ProviderUncertain
from verax.provenance import read
from verax.provenance.statement import BESIDE


def scene(path, seed=0, size=(96, 72)):
    """Something with edges, so that the service's answer can be registered."""
    rng = np.random.default_rng(seed)
    levels = np.full((*size[::-1], 3), 90, np.uint8)
    for _ in range(25):
        x, y = rng.integers(0, size[0] - 12), rng.integers(0, size[1] - 12)
        w, h = rng.integers(4, 26, 2)
        levels[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    Image.fromarray(levels).save(path)
    return path


@pytest.fixture
def at_service(service, monkeypatch):
    monkeypatch.setenv("VERAX_BASE_URL", service.base_url)
    monkeypatch.setenv("VERAX_API_KEY", "sk-test")
    monkeypatch.setenv("VERAX_RETRIES", "0")
    return service


def verax(*words):
    return invoke("restore", *words)


COMMON = ("--model", "gpt-image-2.6-flare", "--quality", "low", "--task", "dehaze")


def test_a_photo_is_asked_about_and_restored_at_its_own_size(at_service, tmp_path):
    photo = scene(tmp_path / "a.png")
    record = json.loads(verax(photo, *COMMON, "--json").stdout)

    assert (record["width"], record["height"]) == (96, 72)
    assert record["model"] == "gpt-image-2.6-flare"
    assert images.read(tmp_path / "a_restored.png").pixels.shape == (72, 96, 3)
    assert len(at_service.ledger()) == 1


@pytest.mark.parametrize("step", ["link:empty", "link:relative", "usage:zeros", "stream:nested"])
def test_what_relays_send_is_restored_and_paid_once(at_service, tmp_path, step):
    photo = scene(tmp_path / "a.png")
    at_service.script([step])
    for _ in range(2):
        assert verax(photo, *COMMON, "--max-cost", "0.1").exit_code == 0

    assert images.read(tmp_path / "a_restored.png").pixels.shape == (72, 96, 3)
    assert len(at_service.ledger()) == 1


def test_a_failure_that_was_billed_is_not_repeated_by_the_same_command(at_service, tmp_path):
    photo = scene(tmp_path / "a.png")
    at_service.script(["billed:502"] * 5)
    for _ in range(2):
        with pytest.raises(ProviderUncertain):
            verax(photo, *COMMON)
    at_service.script([])
    assert verax(photo, *COMMON, "--retry-uncertain").exit_code == 0

    assert len(at_service.ledger()) == 2


def test_the_same_command_again_pays_nothing(at_service, tmp_path):
    photo = scene(tmp_path / "a.png")
    first, second = (verax(photo, *COMMON) for _ in range(2))

    assert len(at_service.ledger()) == 1
    assert "Expected cost: $0.0" in first.stderr
    assert "1 of 1 answer stored already" in second.stderr


def test_what_leaves_is_said_before_the_first_paid_call(at_service, tmp_path):
    stderr = verax(scene(tmp_path / "a.png"), *COMMON).stderr

    assert at_service.base_url in stderr
    assert "1 picture, 0." in stderr
    assert "MB, without metadata" in stderr


def test_a_dry_run_asks_nobody_and_writes_nothing(at_service, tmp_path):
    stdout = verax(scene(tmp_path / "a.png"), *COMMON, "--dry-run").stdout

    assert "1 call would cost $0.0" in stdout
    assert at_service.requests() == []
    assert not (tmp_path / "a_restored.png").exists()


def test_an_ended_model_is_an_error_even_on_a_dry_run(at_service, tmp_path):
    photo = scene(tmp_path / "a.png")

    with pytest.raises(InputError, match="was shut down on 2026-10-23; use gpt"):
        verax(photo, "--model", "gpt-image-1", "--dry-run")


def folder(tmp_path, count):
    (tmp_path / "in").mkdir()
    for index in range(count):
        scene(tmp_path / "in" / f"{index}.png", seed=index)
    return tmp_path / "in"


def test_a_folder_goes_on_past_a_refused_photo_and_lists_it(at_service, tmp_path):
    at_service.script(["refuse:output"])
    source = folder(tmp_path, 3)
    result = verax(source, *COMMON, "-o", tmp_path / "out")

    assert result.exit_code == 1
    assert "2 of 3 restored" in result.stderr
    assert "refused the request at the output stage" in result.stderr
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_folder_through_the_batch_api_costs_half_and_serves_later_runs(at_service, tmp_path):
    source = folder(tmp_path, 2)
    batched = verax(source, *COMMON, "-o", tmp_path / "out", "--batch", "--batch-poll", "0")
    verax(source, *COMMON, "-o", tmp_path / "out2")
    full = [
        5e-6 * one["input_tokens_details"]["text_tokens"]
        + 8e-6 * one["input_tokens_details"]["image_tokens"]
        + 30e-6 * one["output_tokens"]
        for one in (entry["usage"] for entry in at_service.ledger())
    ]

    assert "2 of 2 restored" in batched.stderr
    assert "batch batch_000001: in_progress" in batched.stderr
    assert [entry["usd"] for entry in at_service.ledger()] == pytest.approx([x / 2 for x in full])
    assert len(full) == 2


def test_the_limit_holds_over_the_whole_folder(at_service, tmp_path):
    source = folder(tmp_path, 3)
    result = verax(source, *COMMON, "-o", tmp_path / "out", "--max-cost", "0.028")

    assert result.exit_code == 1
    assert "the limit of $0.0280" in result.stderr
    assert at_service.bill_usd() <= 0.028
    assert 1 <= len(at_service.ledger()) < 3


def test_a_lost_answer_is_repeated_only_when_requested(at_service, tmp_path):
    photo = scene(tmp_path / "a.png")
    at_service.script(["cut"])
    with pytest.raises(ProviderUncertain, match="may have been billed"):
        verax(photo, *COMMON)
    with pytest.raises(ProviderUncertain, match="--retry-uncertain"):
        verax(photo, *COMMON)
    verax(photo, *COMMON, "--retry-uncertain")

    assert len(at_service.ledger()) == 2


def test_a_refused_photo_is_a_clear_error(at_service, tmp_path):
    at_service.script(["refuse:input"])

    with pytest.raises(ProviderRefused, match="refused the request at the input stage"):
        verax(scene(tmp_path / "a.png"), *COMMON)


def test_the_restoration_says_how_it_was_made(at_service, tmp_path):
    verax(scene(tmp_path / "a.png"), *COMMON)
    xmp = images.read(tmp_path / "a_restored.png").metadata.xmp.decode()

    assert "DigitalSourceType" in xmp
    assert "Verax" in xmp


def test_a_restoration_is_signed_where_a_certificate_is_set(at_service, tmp_path, monkeypatch):
    pytest.importorskip("c2pa", reason="needs the c2pa extra")
    from provenance import certificates

    chain, key = certificates.write(tmp_path / "keys")
    monkeypatch.setenv("VERAX_C2PA_CERTIFICATE", str(chain))
    monkeypatch.setenv("VERAX_C2PA_KEY", str(key))
    verax(scene(tmp_path / "a.png"), *COMMON)
    manifest = read((tmp_path / "a_restored.png").read_bytes())

    assert manifest.state == "valid"
    assert manifest.ingredients[0].relationship == "parentOf"
    assert not (tmp_path / f"a_restored.png{BESIDE}").exists()


def answers(folder):
    """The picture of every answer in the journal."""
    bodies = [json.loads(path.read_bytes()) for path in folder.glob("journal/answers/*/*.json")]
    return [base64.b64decode(body["data"][0]["b64_json"]) for body in bodies]


@pytest.mark.parametrize("count", [1, 3])
def test_a_paid_photo_is_opened_decoded_and_hashed_once_and_so_is_its_answer(
    at_service, tmp_path, count
):
    (tmp_path / "in").mkdir()
    photos = [scene(tmp_path / "in" / f"{n}.png", seed=n) for n in range(count)]
    target = tmp_path / "in" if count > 1 else photos[0]
    with counting() as counts:
        done = verax(target, "--model", "gpt-image-2.6-flare", "--quality", "low")

    assert (done.exit_code, len(at_service.ledger())) == (0, count)
    assert [counts.opened[str(photo)] for photo in photos] == [1] * count
    assert [counts.decode(photo.read_bytes()) for photo in photos] == [1] * count
    home = Path(os.environ["VERAX_HOME"])
    assert [counts.decode(answer) for answer in answers(home)] == [1] * count
    assert counts.hashed() == [1] * count
    assert (counts.calls["fingerprint"], counts.calls["task"]) == (count, count)


def test_a_stored_answer_and_its_photo_are_decoded_once(at_service, tmp_path):
    photo = scene(tmp_path / "a.png")
    verax(photo, *COMMON)
    with counting() as counts:
        verax(photo, *COMMON, "-o", tmp_path / "b.png")

    (answer,) = answers(Path(os.environ["VERAX_HOME"]))
    assert len(at_service.ledger()) == 1
    assert (counts.opened[str(photo)], counts.decode(photo.read_bytes())) == (1, 1)
    assert counts.decode(answer) == 1


def test_the_record_names_the_call_in_the_journal(at_service, tmp_path):
    photo = scene(tmp_path / "a.png")
    record = json.loads(verax(photo, *COMMON, "--json").stdout)

    (answer,) = Path(os.environ["VERAX_HOME"]).glob("journal/answers/*/*.json")
    assert record["fingerprint"] == answer.stem
