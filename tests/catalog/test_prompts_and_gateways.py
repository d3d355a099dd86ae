"""Every task has a prompt with a fidelity constraint; every gateway is a complete record."""

import pytest

from verax.catalog import gateway, gateways, prompt, tasks, wordings
from verax.catalog.models import models
from verax.errors import UnknownNameError


@pytest.mark.parametrize("task", tasks())
def test_the_default_prompt_is_short_and_asks_to_keep_everything_else(task):
    got = prompt(task)

    assert "Keep everything else" in got.text
    assert len(got.text.split()) < 80
    assert got.name == f"{task}/default@{got.version}"


def test_wordings_differ_and_none_has_no_constraint():
    texts = {w: prompt("dehaze", fidelity=w).text for w in wordings()}

    assert len(set(texts.values())) == len(texts) >= 3
    assert "Keep" not in texts["none"]


def test_a_task_nobody_knows_is_an_error():
    with pytest.raises(UnknownNameError, match="dehaze"):
        prompt("dehazing")


@pytest.mark.parametrize("name", gateways())
def test_a_gateway_says_where_or_asks_for_it_and_names_known_models(name):
    got = gateway(name)

    on_this_machine = "http://127.0.0.1:8900/v1" if name == "test" else ""
    assert got.base_url.startswith("https://") or got.base_url == on_this_machine
    assert got.auth in {"bearer", "api-key"}
    assert got.mask in {"alpha", "white", "black", ""}
    assert {*got.ids, *got.ends} <= set(models())
