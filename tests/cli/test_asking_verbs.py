"""verax models, probe, edit, generate as users call them, against the test service."""

import base64
import json
import os
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from asking import KEY
from commands import invoke
from counting import counting
from verax import image as images
from verax.cli import prior_calls
from verax.cli.services import age
from verax.errors import (
    BudgetExceeded,
    InputError,
    ProviderRefused,
    ProviderRejected,
    SettingsError,
    SizeMismatchError,
    UnknownNameError,
)

SMALL = ("--model", "gpt-image-2", "--quality", "low")


@pytest.fixture
def at_service(service, monkeypatch, tmp_path):
    """Environment of a user of the test service, in a folder of their own."""
    monkeypatch.setenv("VERAX_BASE_URL", service.base_url)
    monkeypatch.setenv("VERAX_STREAM", "never")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    return service


@pytest.fixture
def photo(tmp_path, scene):
    images.write(tmp_path / "photo.png", scene)
    return tmp_path / "photo.png"


def edit(photo, instruction, *args):
    return invoke("edit", photo, instruction, *SMALL, "-o", photo.with_name("out.png"), *args)


def test_models_says_when_its_prices_were_checked_and_whether_that_is_long_ago():
    assert "were checked on 2026-" in invoke("models").stdout
    assert json.loads(invoke("models", "--json").stdout)["checked"].startswith("2026-")
    assert "100 days ago" in age(date(2026, 1, 1), date(2026, 4, 11))
    assert "ago" not in age(date(2026, 1, 1), date(2026, 1, 11))


@pytest.mark.parametrize("name", ["gpt-image-2.6-flair", "openai/gpt-image-2.6-flare"])
def test_a_price_nobody_knows_needs_a_word_and_gets_a_suggestion(at_service, name):
    here = ("--gateway", "lumenfall", "--base-url", at_service.base_url, "-o", "a.png")
    os.environ["LUMENFALL_API_KEY"] = KEY
    try:
        with pytest.raises(InputError, match=r"did you mean 'gpt-image-2.6-flare'.*--max-cost any"):
            invoke("generate", "x", "--model", name, *here)
        with pytest.raises(BudgetExceeded, match=r"price of .* is not known"):
            invoke("generate", "x", "--model", name, *here, "--max-cost", "1")
        with pytest.raises(ProviderRejected):  # asked: the test service knows no such model
            invoke("generate", "x", "--model", name, *here, "--max-cost", "any")
    finally:
        del os.environ["LUMENFALL_API_KEY"]
    assert at_service.ledger() == []


def test_an_answer_in_another_shape_is_brought_to_the_photos_grid(at_service, photo):
    at_service.script(["size:1024x512"])
    done = edit(photo, "brighten")

    assert images.read(photo.with_name("out.png")).pixels.shape == images.read(photo).pixels.shape
    assert "the generated picture was" in done.stderr


def test_scores_are_explained(at_service, tmp_path):
    done = invoke("generate", "a pier", *SMALL, "--n", "2", "-o", tmp_path / "a.png")

    assert "quality -" in done.stdout
    assert "quality: naturalness, minus the NIQE" in done.stderr


def test_models_lists_end_dates_and_prices():
    output = invoke("models").stdout
    listed = json.loads(invoke("models", "--json").stdout)["models"]
    mini = next(m for m in listed if m["name"] == "gpt-image-1-mini")

    assert "gpt-image-2.6-sunburst" in output
    assert mini["ends"] == "2026-12-01"
    assert next(m for m in listed if m["name"] == "gpt-image-1")["ended"]
    assert next(m for m in listed if m["name"] == "gpt-image-2")["picture_usd"]["1024x1024"]


def test_gateways_are_listed_with_address_and_key():
    assert "AZURE_OPENAI_ENDPOINT" in invoke("models", "--gateways").stdout
    assert len(json.loads(invoke("models", "--gateways", "--json").stdout)["gateways"]) > 9


def test_the_services_own_dates_are_asked_for_and_kept(at_service):
    at_service.state.today = "2026-11-20"
    invoke("models", "--refresh")

    listed = json.loads(invoke("models", "--json").stdout)["models"]
    assert next(m for m in listed if m["name"] == "gpt-image-1.5")["ends"] == "2026-12-01"


def test_an_edit_is_written_on_the_photos_grid_and_the_session_notes_it(at_service, photo, scene):
    done = edit(photo, "remove the haze")
    out = images.read(photo.with_name("out.png"))
    turn = json.loads(photo.with_name("out.session.json").read_text())["turns"][0]

    assert out.pixels.shape == scene.shape
    assert np.abs(out.pixels - scene).mean() < 12 / 255
    assert "To http://127.0.0.1" in done.stderr
    assert "Expected cost: $" in done.stderr
    assert (turn["instruction"], turn["source"]) == ("remove the haze", "original")


def test_an_edit_says_in_its_metadata_how_it_was_made(at_service, photo):
    edit(photo, "remove the haze")
    xmp = images.read(photo.with_name("out.png")).metadata.xmp

    assert b"gpt-image-2" in xmp
    assert b"compositeWithTrainedAlgorithmicMedia" in xmp


def test_signing_needs_both_files_before_anything_is_paid(at_service, photo, monkeypatch):
    monkeypatch.setenv("VERAX_C2PA_KEY", "key.pem")
    with pytest.raises(SettingsError, match="both"):
        edit(photo, "remove the haze")
    assert at_service.requests() == []


def test_the_same_command_twice_is_paid_once(at_service, photo):
    edit(photo, "remove the haze")
    again = edit(photo, "remove the haze")

    assert len(at_service.ledger()) == 1
    assert "stored already" in again.stderr


def test_turns_go_from_the_original_with_the_accepted_history(at_service, photo):
    edit(photo, "remove the haze")
    edit(photo, "make it warmer")
    edit(photo, "remove the car", "--reject-last")
    edit(photo, "sharpen it", "--from-last")
    requests = at_service.requests()
    prompts = [request["fields"]["prompt"] for request in requests]
    pictures = [request["files"][0][1] for request in requests]

    assert prompts[0] == "remove the haze"
    assert prompts[1].splitlines()[1:] == ["1. remove the haze", "2. make it warmer"]
    assert prompts[2].splitlines()[1:] == ["1. remove the haze", "2. remove the car"]
    assert prompts[3] == "sharpen it"
    assert pictures[0] == pictures[1] == pictures[2] != pictures[3]


def test_an_earlier_turn_keeps_its_picture_for_from_last(at_service, photo):
    edit(photo, "remove the haze")
    first = photo.with_name("out.png").read_bytes()
    edit(photo, "make it warmer")
    edit(photo, "sharpen it", "--reject-last", "--from-last")
    stored = json.loads(photo.with_name("out.session.json").read_text())["turns"]

    assert photo.with_name("out.turn1.png").read_bytes() == first
    assert [turn["output"].rpartition("/")[2] for turn in stored] == [
        "out.turn1.png",
        "out.turn2.png",
        "out.png",
    ]


def test_the_best_of_several_is_written_first_and_all_are_kept(at_service, photo):
    done = edit(photo, "remove the haze", "--best-of", "3", "--json")
    candidates = json.loads(done.stdout)["candidates"]

    assert [row["file"].rpartition("/")[2] for row in candidates] == [
        "out.png",
        "out-2.png",
        "out-3.png",
    ]
    assert all(photo.with_name(name).is_file() for name in ("out.png", "out-2.png", "out-3.png"))
    assert all(set(row["scores"]) == {"quality", "fidelity"} for row in candidates)
    assert len(at_service.ledger()) == 3


def test_one_failed_candidate_does_not_lose_the_others(at_service, photo):
    at_service.script(["refuse:input"])

    done = edit(photo, "remove the haze", "--best-of", "2")

    assert "failed: " in done.stderr
    assert photo.with_name("out.png").is_file()
    assert not photo.with_name("out-2.png").exists()


def test_files_can_be_kept_exactly_as_they_came(at_service, photo):
    at_service.script(["jpeg"])
    edit(photo, "remove the haze", "--as-generated")

    assert images.read(photo.with_name("out.jpeg")).format == "jpeg"


def test_a_generation_has_the_asked_aspect_and_is_written_as_it_came(at_service, tmp_path):
    invoke("generate", "a pier", *SMALL, "--aspect", "3:2", "-o", tmp_path / "pier.png")
    picture = images.read(tmp_path / "pier.png")

    assert (picture.width, picture.height) == (1536, 1024)


def test_generations_are_ranked_by_agreement_where_a_picture_is_given(at_service, photo, tmp_path):
    done = invoke(
        *("generate", "a cup", *SMALL, "--size", "1024x640", "--n", "2", "--json"),
        *("--agree-with", photo, "-o", tmp_path / "cup.png"),
    )

    candidates = json.loads(done.stdout)["candidates"]
    assert [set(row["scores"]) for row in candidates] == [{"quality", "agreement"}] * 2


def test_a_dry_run_asks_nobody_and_needs_no_key(at_service, photo, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    done = edit(photo, "remove the haze", "--dry-run")

    assert "would cost $" in done.stdout
    assert "To http://127.0.0.1" in done.stderr
    assert at_service.requests() == []


def test_the_limit_is_never_passed(at_service, photo):
    with pytest.raises(BudgetExceeded, match="Nothing was sent"):
        edit(photo, "remove the haze", "--max-cost", "0.001")

    assert at_service.requests() == []


def test_a_refusal_is_told_with_its_stage(at_service, photo):
    at_service.script(["refuse:output"])

    with pytest.raises(ProviderRefused, match="output stage"):
        edit(photo, "remove the haze")


@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        (("--model", "gpt-image-1", "--dry-run"), InputError, "gpt-image-2.5-sunburst"),
        (("--mask", "small.png"), SizeMismatchError, "8x8"),
        (("--quality", "max"), InputError, "quality"),
        (("--from-last",), InputError, "no accepted turn"),
        (("--reject-last",), InputError, "no accepted turn"),
        (("--markup", "photo.png"), InputError, "transparent background"),
        (("--local-only", "--base-url", "http://192.0.2.1/v1"), SettingsError, "nothing was sent"),
        (("--gateway", "nowhere"), UnknownNameError, "openai"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_a_clear_error_before_anything_is_sent(at_service, photo, args, error, words):
    images.write(photo.with_name("small.png"), np.ones((8, 8, 3), np.float32))

    with pytest.raises(error, match=words):
        edit(photo, "remove the haze", *args)
    assert at_service.requests() == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("",), "empty"),
        (("x" * 33_000,), "33,000"),
        (("a", "--size", "1000x1000"), "nearest size that it accepts is 1008x1008"),
        (("a", "--size", "1024x1024", "--aspect", "1:1"), "got both"),
        (("a", "--aspect", "9:1"), "at most 3 times"),
        (("a", "--aspect", "wide"), "16:9"),
    ],
)
def test_a_generation_that_cannot_be_is_a_clear_error(at_service, args, words):
    with pytest.raises(InputError, match=words):
        invoke("generate", *args)
    assert at_service.requests() == []


def test_without_a_key_nothing_is_sent(at_service, photo, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        edit(photo, "remove the haze", "--gateway", "openai")
    assert at_service.requests() == []


def test_a_session_of_another_photo_is_refused(at_service, photo):
    edit(photo, "remove the haze")
    images.write(photo, np.zeros((134, 200, 3), np.float32))

    with pytest.raises(InputError, match="--session FILE"):
        edit(photo, "remove the haze")


def test_a_probe_tells_and_keeps_what_is_honoured(at_service, photo):
    verdicts = json.loads(invoke("probe", "--model", "gpt-image-2", "--json").stdout)
    images.write(photo.with_name("mask.png"), np.ones((134, 200, 3), np.float32))
    warned = edit(photo, "remove the haze", "--mask", photo.with_name("mask.png"), "--dry-run")

    assert (verdicts["size"], verdicts["format"]) == ("honoured", "honoured")
    assert verdicts["mask"].startswith("ignored")
    assert "mask was ignored" in warned.stderr


def test_a_probe_sees_a_size_that_is_not_honoured(at_service):
    at_service.script(["size:640x480"])

    verdicts = json.loads(invoke("probe", "--model", "gpt-image-2", "--json").stdout)

    assert verdicts["size"].startswith("ignored: 640x480")


def test_no_key_is_printed_or_written(at_service, photo, tmp_path):
    at_service.script(["401"])
    texts = []
    for _ in range(2):
        try:
            done = edit(photo, "remove the haze")
            texts.append(done.stdout + done.stderr)
        except Exception as exc:  # noqa: BLE001  # whatever it is, it must not tell
            texts.append(repr(exc))
    folders = (tmp_path, Path(os.environ["VERAX_HOME"]))
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    written = [file.read_bytes() for file in files]

    assert len(files) > 3
    assert all(KEY not in text for text in texts)
    assert all(KEY.encode() not in data for data in written)


def stored_pictures():
    """The pictures of every answer in the journal."""
    bodies = [
        json.loads(file.read_bytes())
        for file in Path(os.environ["VERAX_HOME"]).glob("journal/answers/*/*.json")
    ]
    return [base64.b64decode(one["b64_json"]) for body in bodies for one in body["data"]]


def test_an_edited_photo_is_opened_decoded_and_hashed_once_and_so_is_its_answer(at_service, photo):
    with counting() as counts:
        edit(photo, "warmer")

    assert (counts.opened[str(photo)], counts.decode(photo.read_bytes())) == (1, 1)
    assert [counts.decode(picture) for picture in stored_pictures()] == [1]
    assert (counts.hashed(), counts.calls["fingerprint"]) == ([1], 1)


def test_a_generated_picture_is_decoded_once(at_service):
    with counting() as counts:
        invoke("generate", "a cup", *SMALL, "-o", "cup.png")

    assert [counts.decode(picture) for picture in stored_pictures()] == [1]
    assert counts.calls["fingerprint"] == 1


def test_a_broken_photo_that_is_alone_in_the_last_request_does_not_stop_the_others(
    at_service, photo, monkeypatch
):
    monkeypatch.setattr(prior_calls, "AT_ONCE", 1)
    photo.with_name("zzz.png").write_bytes(b"no picture")

    done = invoke("restore", ".", *SMALL, "--task", "dehaze", "-o", "out")

    assert done.exit_code == 1
    assert [file.name for file in Path("out").iterdir()] == ["photo.png"]
