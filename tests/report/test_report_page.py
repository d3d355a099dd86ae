"""The report page in a real browser, opened from its file after a small run."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from browser import chromium
from verax import image as images
from verax.bench import OutputRow, Record, ScoreRow, open_run
from verax.bench import plan as plans
from verax.bench.runner import run
from verax.bench.work import expand
from verax.datasets.registry import load
from verax.report.page import write_page


def write_dataset(folder, count=3):
    """Dark photos, references and bright priors of a smooth picture with a texture, 96 x 64."""
    y, x = np.mgrid[:64, :96].astype(np.float32)
    for index in range(count):
        clean = 0.5 + 0.2 * np.sin(x / (5 + index)) + 0.2 * np.cos(y / 7 + x / 11)
        clean = np.repeat(np.float32(clean)[..., None], 3, axis=2)
        for role, picture in (
            ("input", clean * 0.4),
            ("target", clean),
            ("generated", np.clip(clean * 1.05, 0, 1)),
        ):
            (folder / role).mkdir(parents=True, exist_ok=True)
            images.write(folder / role / f"{index:04d}.png", np.asarray(picture, np.float32))
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    data = write_dataset(folder / "night")
    (data / "input" / "0001.png").write_bytes(b"\x89PNG\r\n\x1a\n broken <b>")
    plan = plans.Plan((str(data),), ("identity", "raw-prior"), tasks=("night",))
    works = expand(plan, [load(str(data), task="night")])
    run(plan, works, folder / "run", deviation=True)
    record = open_run(folder / "run")
    write_page(record, folder / "report.html")
    write_page(record, folder / "linked.html", way="linked")
    write_page(record, folder / "previews.html", way="previews")
    write_page(record, folder / "shared" / "index.html", way="beside")
    record.close()
    return folder


def loaded(page):
    """Every picture is there; an error for one that cannot be loaded."""
    page.locator(".compare-pane img").evaluate_all("all => Promise.all(all.map(i => i.decode()))")


@pytest.fixture(scope="module")
def page(report):
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.faults, page.requests = [], []
        page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.faults.append(str(e)))
        page.on("request", lambda r: page.requests.append(r.url))
        page.goto((report / "report.html").as_uri())
        loaded(page)
        yield page
        assert page.faults == []


def test_the_page_asks_for_nothing_but_itself(page, report):
    addresses = {u for u in page.requests if not u.startswith(("data:", "blob:"))}

    assert addresses == {(report / "report.html").as_uri()}


def test_every_outcome_is_counted_and_failures_are_named(page):
    facts = page.locator(".facts").inner_text()
    assert "4 restored" in facts
    assert "2 failed" in facts
    assert page.locator("#failures tbody th", has_text="0001.png").count() == 2


def test_pictures_can_be_chosen_and_the_address_leads_back(page):
    page.locator("#picture").select_option(index=2)
    page.locator(".compare-stage").focus()
    page.keyboard.press("w")
    page.keyboard.press("+")
    page.wait_for_url(re.compile(r"mode=slider.*zoom=1\.5.*picture=2"))
    address = page.url
    page.goto("about:blank")
    page.goto(address)

    loaded(page)
    assert page.get_by_role("slider").count() == 1
    assert page.locator("#picture").input_value() == "2"
    assert "zoom=1.5" in page.url
    page.locator(".compare-stage").focus()
    page.keyboard.press("0")
    page.keyboard.press("a")


def test_the_slider_compares_photo_and_reference(page):
    page.locator("#picture").select_option(index=0)
    page.get_by_role("button", name="Slider").click()
    handle = page.get_by_role("slider")
    handle.press("ArrowRight")

    assert handle.get_attribute("aria-valuenow") == "52"
    assert page.locator("figcaption", has_text="left: photo · right: reference").count() == 1
    page.get_by_role("button", name="Side by side").click()
    assert page.locator(".compare-pane").count() == 2
    page.get_by_role("button", name="All").click()
    assert page.locator(".compare-pane").count() == 3


def test_methods_are_shown_and_hidden_and_the_address_knows(page):
    """The photo stands for doing nothing, so that output is hidden at first."""
    page.locator("#picture").select_option(index=0)
    chips = page.locator("#chips button")
    assert chips.all_inner_texts() == ["photo", "reference", "identity", "raw-prior (files)"]
    chips.nth(2).click()
    chips.nth(0).click()

    names = page.locator(".compare-pane figcaption").all_inner_texts()
    assert [name.split(" · ")[0] for name in names] == [
        "reference", "identity", "raw-prior (files)",
    ]  # fmt: skip
    page.wait_for_url(re.compile(r"hide=photo"))
    chips.nth(0).click()
    chips.nth(2).click()
    assert page.locator(".compare-pane").count() == 3


def test_n_and_p_go_through_the_pictures(page):
    page.locator("#picture").select_option(index=0)
    page.locator(".compare-stage").focus()
    page.keyboard.press("n")
    after = page.locator("#picture").input_value()
    page.keyboard.press("p")

    assert (after, page.locator("#picture").input_value()) == ("1", "0")


def test_motion_is_drawn_over_the_pictures(page):
    page.locator("#picture").select_option(index=0)
    page.locator(".compare-stage").focus()
    page.keyboard.press("o")
    page.wait_for_url(re.compile(r"overlay=0"))

    shown = page.locator(".compare-pane .compare-overlay")
    assert shown.count() == 3
    shown.evaluate_all("all => Promise.all(all.map(i => i.decode()))")
    assert shown.first.evaluate("i => i.naturalWidth / i.naturalHeight") == pytest.approx(96 / 64)
    page.keyboard.press("o")


def test_every_task_is_recognised_at_a_glance(page):
    line = page.locator("#glance tbody tr").inner_text()

    assert re.search(r"night.*psnr ↑.*raw-prior \(files\)", line.replace("	", " "))


def test_scores_stand_beside_every_output(page):
    page.locator("#picture").select_option(index=0)

    assert page.locator("#scores tbody tr").count() == 2
    assert re.search(r"raw-prior \(files\)\s+\d", page.locator("#scores").inner_text())
    assert "psnr" in page.locator(".compare-pane figcaption", has_text="raw-prior").inner_text()


def test_a_narrow_window_scrolls_tables_not_the_page(page):
    page.set_viewport_size({"width": 400, "height": 800})

    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.set_viewport_size({"width": 1280, "height": 900})


def test_linked_pictures_are_found_beside_the_page(page, report):
    page.goto((report / "linked.html").as_uri())
    loaded(page)

    assert page.locator(".compare-pane").count() == 3
    assert (report / "linked.html").stat().st_size < (report / "report.html").stat().st_size
    page.goto((report / "report.html").as_uri())


def test_a_page_with_its_pictures_beside_it_opens_from_wherever_it_is_sent(page, report, tmp_path):
    shutil.copytree(report / "shared", tmp_path / "sent")
    assert re.findall(r"\.\./|file://", (tmp_path / "sent" / "index.html").read_text()) == []

    page.goto((tmp_path / "sent" / "index.html").as_uri())
    loaded(page)

    assert page.locator(".compare-pane").count() == 3
    page.goto((report / "report.html").as_uri())


def test_previews_make_one_file_of_the_right_pictures(page, report):
    page.goto((report / "previews.html").as_uri())
    loaded(page)

    sources = page.locator(".compare-pane img").evaluate_all("all => all.map(i => i.src)")
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert page.locator(".compare-pane img").first.evaluate("i => i.naturalWidth") == 96
    page.goto((report / "report.html").as_uri())


def test_what_the_prior_changed_is_in_the_page(page):
    assert "What the outputs changed" in page.locator("#breakdown").inner_text()
    assert page.locator("figure", has_text="loss ladder").count() == 1


def test_a_page_over_many_outputs_stays_small(tmp_path):
    """10,000 outputs in under 3 MB: 100,000 fit into 30 MB, since a page grows with its rows."""
    row = OutputRow(
        key="", dataset="set", task="haze", item="", method="tone", prior="files", degradation="",
        prompt="", repeat=0, generator="model", licence="CC0", outcome="restored", reason="",
        seconds=1.0, cost_usd=0.0, width=640, height=480, registration="", photo="photo.png",
        reference="reference.png", sha256="f" * 64,
    )  # fmt: skip
    record = Record(tmp_path / "run")
    record.set_about("plan", {})
    keys = [f"{n:032x}" for n in range(10_000)]
    record.add_outputs([
        replace(row, key=k, item=f"a_picture_{n // 4:06d}.png", method=f"method-{n % 4}")
        for n, k in enumerate(keys)
    ])  # fmt: skip
    record.add_scores([
        ScoreRow(k, m, json.dumps([m]), 20.0 + n % 97 / 7)
        for n, k in enumerate(keys) for m in ("psnr", "ssim")
    ])  # fmt: skip
    size = write_page(record, tmp_path / "report.html", way="linked").stat().st_size
    record.close()

    assert size < 3_000_000
