"""Facts about the models: published prices come out to the last digit, ended models say so."""

import json
from datetime import date

import pytest

from verax.catalog.models import (
    as_json,
    find,
    models,
    output_tokens,
    parse_size,
    picture_usd,
    unknown,
)
from verax.errors import InputError, SettingsError, UnknownNameError

TODAY = date(2026, 11, 20)
KNOWN = models()

# USD per picture, output tokens only: LiteLLM 1.109.1, per-size entries for a reseller at the
# token price of 30 USD per million. Some are rounded, some rounded up.
SIZES = ("1024x768", "1024x1024", "1024x1536", "1920x1080", "2560x1440", "3840x2160")
PUBLISHED = {
    ("gpt-image-2", "low"): ".005 .006 .005 .005 .007 .012",
    ("gpt-image-2", "medium"): ".037 .053 .042 .040 .056 .101",
    ("gpt-image-2", "high"): ".145 .211 .165 .158 .222 .401",
    ("gpt-image-2.5-flare", "low"): ".0040 .0059 .0047 .0044 .0062 .0111",
    ("gpt-image-2.5-flare", "medium"): ".0090 .0132 .0103 .0103 .0143 .0260",
    ("gpt-image-2.5-sunburst", "high"): ".0361 .0527 .0412 .0396 .0553 .1001",
    ("gpt-image-2.5-sunburst", "xhigh"): ".0642 .0937 .0738 .0704 .0983 .1779",
    ("gpt-image-2.5-sunburst", "max"): ".1445 .2107 .1646 .1584 .2211 .4003",
}
TABLE = [
    (model, quality, size, usd)
    for (model, quality), row in PUBLISHED.items()
    for size, usd in zip(SIZES, row.split(), strict=True)
]


@pytest.mark.parametrize(("model", "quality", "size", "usd"), TABLE)
def test_every_published_picture_price_comes_out(model, quality, size, usd):
    unit = 10.0 ** -len(usd.removeprefix("."))  # of the last published digit

    got = picture_usd(KNOWN[model], quality, parse_size(size))

    assert abs(got - float(usd)) < unit


def test_token_counts_quoted_from_the_official_calculator():
    """community.openai.com/t/1379464: gpt-image-2 at high."""
    quoted = {"1024x1024": 7024, "1536x1024": 5488, "1792x1024": 5063, "3584x2048": 12329}

    assert {s: output_tokens(KNOWN["gpt-image-2"], "high", parse_size(s)) for s in quoted} == quoted


def test_portrait_costs_what_landscape_costs():
    m = KNOWN["gpt-image-2.6-sunburst"]

    assert output_tokens(m, "max", (1024, 1536)) == output_tokens(m, "max", (1536, 1024))


def test_quality_names_were_rebased_between_2_and_2_5():
    old, new = KNOWN["gpt-image-2"], KNOWN["gpt-image-2.5-sunburst"]

    assert output_tokens(old, "medium", (1024, 1024)) == output_tokens(new, "high", (1024, 1024))
    assert output_tokens(old, "high", (1024, 1024)) == output_tokens(new, "max", (1024, 1024))


@pytest.mark.parametrize("name", ["gpt-image-1", "dall-e-2", "dall-e-3"])
def test_an_ended_model_names_its_successor_which_lives(name):
    with pytest.raises(InputError, match=KNOWN[name].successor):
        find(KNOWN, name, today=TODAY)

    assert find(KNOWN, KNOWN[name].successor, today=TODAY)


def test_a_model_ends_on_its_day_and_not_before():
    assert find(KNOWN, "gpt-image-1.5", today=date(2026, 11, 30))
    with pytest.raises(InputError, match="2026-12-01"):
        find(KNOWN, "gpt-image-1.5", today=date(2026, 12, 1))


def test_the_services_shutdown_date_overrides_the_catalog():
    table = models(ends={"gpt-image-2": "2026-11-01", "some-chat-model": "2026-01-01"})

    with pytest.raises(InputError, match="2026-11-01"):
        find(table, "gpt-image-2", today=TODAY)


def test_a_snapshot_is_its_model():
    assert find(KNOWN, "gpt-image-2-2026-04-21", today=TODAY).name == "gpt-image-2"


@pytest.mark.parametrize("name", ["gpt-image-2.6", "gpt-image-3", ""])
def test_a_name_nobody_knows_is_an_error_that_lists_names(name):
    with pytest.raises(UnknownNameError, match="gpt-image-2"):
        find(KNOWN, name, today=TODAY)


@pytest.mark.parametrize(
    ("size", "legal"),
    [
        ("1024x640", True),  # 655,360 pixels, the smallest (openclaw PR 118476)
        ("1024x624", False),
        ("3840x2160", True),
        ("2160x3840", True),
        ("3840x2176", False),
        ("3856x1600", False),
        ("1536x512", True),
        ("1552x512", False),
        ("1000x1000", False),
        ("0x0", False),
    ],
)
def test_size_rules_of_the_free_models(size, legal):
    assert (KNOWN["gpt-image-2.6-flare"].sizes.why_not(parse_size(size)) == "") == legal


def test_the_first_family_has_three_sizes():
    rules = KNOWN["gpt-image-1.5"].sizes

    assert rules.why_not((1536, 1024)) == ""
    assert "1024x1536" in rules.why_not((1024, 768))


@pytest.mark.parametrize("text", ["", "1024", "x", "axb", "1024x", "-1x5", "1024*768", "٣x٤"])
def test_a_size_that_is_none_is_an_error(text):
    with pytest.raises(InputError):
        parse_size(text)


def test_every_model_can_be_written_as_json_and_has_a_known_family():
    for model in KNOWN.values():
        assert json.loads(json.dumps(as_json(model)))["name"] == model.name


def test_a_user_adds_a_model_and_changes_a_price_without_code(tmp_path):
    (tmp_path / "models.toml").write_text(
        '[models."gpt-image-9"]\nfamily = "gpt-image-2.6"\n'
        '[families."gpt-image-2".price]\nimage_out = 60\n'
    )
    mine = models(changes=tmp_path)

    assert mine["gpt-image-9"].price.image_out == 60
    assert mine["gpt-image-9"].price.text_in == 5
    assert models()["gpt-image-2"].price.image_out == 30


@pytest.mark.parametrize("text", ["[models.x", '[models.x]\nfamily = "gpt-image-2"\ncolour = 1'])
def test_a_users_file_that_cannot_be_is_an_error(tmp_path, text):
    (tmp_path / "models.toml").write_text(text)

    with pytest.raises(SettingsError):
        models(changes=tmp_path)


def test_an_unknown_model_behind_an_own_address_refuses_nothing():
    mine = unknown("qwen-image-edit")

    assert mine.name == "qwen-image-edit"
    assert mine.open
    assert mine.price is None
