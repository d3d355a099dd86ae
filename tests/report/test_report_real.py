"""The whole way on real pictures: run, report, and the page in a real browser."""

import re
import subprocess
import sys

import pytest

from browser import chromium

TASKS = ("dehazing", "deraining", "lowlight", "denoising")
METHODS = ("identity", "raw-prior", "registered-prior", "full")


@pytest.fixture(scope="module")
def page(pictures, tmp_path_factory):
    """The report of the first picture of every task."""
    folder = tmp_path_factory.mktemp("real")
    words = [f"--task={task}" for task in TASKS] + [f"--method={m}" for m in METHODS]
    verax = [sys.executable, "-m", "verax", "bench"]
    subprocess.run(
        [*verax, "run", "--dataset", pictures, *words, "--limit", "1",
         "--metric", "psnr", "--metric", "niqe", "-o", folder / "run"],
        check=True,
    )  # fmt: skip
    subprocess.run([*verax, "report", folder / "run", "-o", folder / "report.html"], check=True)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.faults, page.addresses = [], []
        page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.faults.append(str(e)))
        page.on("request", lambda r: page.addresses.append(r.url))
        page.goto((folder / "report.html").as_uri())
        yield page


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_over_real_pictures_opens_as_one_file(page):
    page.locator(".compare-pane img").evaluate_all("all => Promise.all(all.map(i => i.decode()))")
    assert page.faults == []
    assert {url.split("#")[0] for url in page.addresses if not url.startswith("data:")} == {
        page.url.split("#")[0]
    }
    facts = page.locator(".facts").inner_text()
    assert "20 items" in facts.replace("\n", " ")
    glance = page.locator("#glance").inner_text()
    assert all(task in glance for task in TASKS)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_zoom_slider_keys_and_links_work_on_it(page):
    page.locator(".compare-stage").focus()
    page.locator("#task").select_option("lowlight")
    chosen = page.locator("#picture").input_value()
    page.locator(".compare-stage").focus()
    for key in ("w", "+"):
        page.keyboard.press(key)
    page.get_by_role("slider").press("ArrowLeft")
    page.wait_for_url(re.compile(r"mode=slider.*zoom=1\.5.*split=0\.48.*picture=\d"))
    link = page.url
    page.goto("about:blank")
    page.goto(link)

    assert page.get_by_role("slider").get_attribute("aria-valuenow") == "48"
    assert page.locator("#picture").input_value() == chosen
    assert page.faults == []
