"""The page in a real browser against a real server: the journeys of people, and their access."""

import io
import re

import numpy as np
import pytest
from PIL import Image as PillowImage
from visits import (
    DESKTOP,
    PHONE,
    at_most,
    choose,
    clear,
    colour,
    done,
    no_fault,
    opened,
    start,
)

from serving import serving

MARKUP = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
def files(tmp_path, photo, prior):
    """Paths of a photo with markup in its metadata, and of a prior."""
    exif = PillowImage.Exif()
    exif[0x010E] = MARKUP
    PillowImage.open(io.BytesIO(photo)).save(tmp_path / "street.jpg", quality=95, exif=exif)
    (tmp_path / "chat.png").write_bytes(prior)
    return tmp_path


def test_a_photo_and_a_prior_become_a_restoration(browser, page_server, files):
    with opened(browser, page_server, viewport=DESKTOP) as page:
        no_fault(page)
        start(page, files)
        page.wait_for_selector("#result:not([hidden])")
        done(page)

        assert page.evaluate("document.activeElement.id") == "result-name"
        assert page.locator("#changes li").count() >= 2
        no_fault(page)

        # every stop of the dial shows picture and shares of its own
        page.select_option(".compare-choice select >> nth=0", label="restoration")
        page.locator("#viewer").get_by_role("slider").press("End")
        pictures, shares = {}, {}
        for value in (75, 100, 0, 50):
            page.locator("#dial").fill(str(value))
            page.wait_for_selector("#dial-note:empty", state="attached")
            assert page.locator("#dial-value").inner_text() == f"{value} %"
            pictures[value] = colour(page, ".compare-frame")
            shares[value] = page.locator("#shares").inner_text()
        assert np.abs(pictures[100] - pictures[0]).max() > 3
        assert len(set(shares.values())) > 1
        for name in ("photo", "confirmed", "light", "generated"):
            assert name in page.locator("#trust-legend").inner_text()
            assert f"{name}: " in shares[50]

        with page.expect_download() as coming:
            page.click("#save")
        assert coming.value.suggested_filename == "street_restored_fidelity050.jpg"
        page.click("button[aria-label^='Zoom in']")
        assert "width: 0px" not in page.locator(".compare-layer").get_attribute("style")

        # what the file says of itself is text, behind the details
        assert not page.locator("#about").is_visible()
        page.locator("#result summary", has_text="Details").click()
        assert MARKUP in page.locator("#about").inner_text()
        assert page.title().startswith("Verax")

        page.click("#result-delete")
        page.wait_for_selector("#history-empty:not([hidden])")
        assert page.locator("#result").is_hidden()


def swipe(page, selector):
    """Swipe up over an element, as a finger does."""
    box = page.locator(selector).bounding_box()
    x, y = box["x"] + box["width"] / 3, box["y"] + box["height"] * 0.9
    hand = page.context.new_cdp_session(page)
    for step in range(10):
        finger = {"x": x, "y": y - 20 * step}
        kind = "touchMove" if step else "touchStart"
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [finger]})
        page.wait_for_timeout(20)
    hand.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_many_photos_on_a_phone(browser, page_server, files, photo):
    for name in ("one.png", "two.png"):
        (files / name).write_bytes(photo)
    options = {"viewport": PHONE, "color_scheme": "dark", "has_touch": True, "is_mobile": True}
    with opened(browser, page_server, **options) as page:
        no_fault(page)
        assert page.locator("#photo-camera").is_visible()
        assert page.locator("#camera-file").get_attribute("capture") == "environment"
        # dropped, as a person would from a folder
        page.evaluate(
            """async (names) => {
              const data = new DataTransfer();
              for (const [name, bytes] of names)
                data.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
              document.getElementById("photo-box").dispatchEvent(
                new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
            }""",
            [[name, list(photo)] for name in ("one.png", "two.png")],
        )
        page.locator("#chosen li").nth(1).wait_for()
        assert page.locator("#chosen .name").all_inner_texts() == ["one.png", "two.png"]
        page.check("input[value=none]")
        page.get_by_role("button", name="Restore 2 photos").click()
        page.wait_for_selector("#batch-words:has-text('of 2 photos finished')")
        done(page, 2)
        page.wait_for_selector("#batch", state="hidden")
        with page.expect_download() as coming:
            page.click("#zip")
        assert coming.value.suggested_filename == "verax-restorations.zip"

        # of many none opens by itself; one that is opened fits a telephone
        page.get_by_role("button", name="Show one.png").click()
        page.wait_for_selector("#result:not([hidden])")
        swipe(page, ".compare-frame")
        assert page.evaluate("scrollY") > 50
        page.evaluate("scrollTo(0, 0)")
        assert page.locator("#dial-box").is_hidden()
        no_fault(page)
        page.click("#result-close")
        clear(page)


def test_who_has_no_photo_tries_the_example(browser, page_server):
    with opened(browser, page_server, viewport=DESKTOP, color_scheme="dark") as page:
        page.click("#example")
        page.wait_for_selector("#result:not([hidden])")
        done(page)

        assert "simulated" in page.locator("#changes").inner_text()
        assert page.locator("#dial-box").is_visible()
        no_fault(page)
        page.keyboard.press("Escape")
        page.locator("#history").scroll_into_view_if_needed()
        page.wait_for_selector("#history img[src]")
        clear(page)


def test_everything_can_be_reached_with_the_keyboard(browser, page_server, files):
    with opened(browser, page_server, viewport=DESKTOP) as page:
        choose(page, files, prior=None)
        reached = []
        for _ in range(24):
            page.keyboard.press("Tab")
            faults = page.evaluate(
                """() => { const n = document.activeElement, s = getComputedStyle(n);
                const box = n.closest(".ways label");
                const line = box ? getComputedStyle(box) : s;
                return [n.id || n.value || n.textContent, line.outlineStyle !== "none"]; }"""
            )
            if faults[0] == "go":
                break
            assert faults[1], f"no visible focus on {faults[0]}"
            reached.append(faults[0])
        assert {"tab-restore", "photo-choose", "prior-choose"} <= set(reached)
        page.keyboard.press("Enter")
        page.wait_for_selector("#result:not([hidden])")
        done(page)
        page.keyboard.press("Escape")
        page.wait_for_selector("#list:not([hidden])")
        clear(page)
        page.locator("#tab-restore").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#generate").is_visible()
        assert page.evaluate("document.activeElement.id") == "tab-generate"
        assert "OPENAI_API_KEY" in page.locator("#generate-trouble").inner_text()
        no_fault(page)


def test_a_model_is_called_after_its_price_was_shown(browser, service, files, tmp_path):
    settings = {"OPENAI_API_KEY": "sk-loopback"}
    upstream = ("--base-url", service.base_url)
    with (
        serving(tmp_path / "home", *upstream, **settings) as (address, _),
        opened(browser, address, viewport=DESKTOP) as page,
    ):
        choose(page, files, prior=None)
        page.check("input[value=model]")
        page.wait_for_selector("#price:has-text('$')")
        shown = at_most(page, "#price")
        assert service.bill_usd() == 0
        page.click("#go")
        done(page)
        assert 0 < service.bill_usd() <= shown + 0.001
        page.wait_for_selector("#about:has-text('gpt-image')", state="attached")

        page.click("#result-close")
        page.click("#tab-generate")
        no_fault(page)
        page.fill("#prompt", MARKUP)
        page.select_option("#g-aspect", label="3:2")
        assert page.locator("#g-size option").count() > 1
        page.fill("#g-n", "2")
        page.click("#g-go")
        page.wait_for_selector(".gallery .badge:has-text('best of 2')")
        page.fill("#g-n", "1")
        assert page.locator(".turn .prompt").inner_text() == MARKUP
        for words in ("make it night", "add snow"):
            page.get_by_role("button", name=re.compile("Change this|Change further")).first.click()
            page.fill("#prompt", words)
            page.locator("#prompt").blur()
            page.wait_for_selector("#g-price:has-text('$')")
            dearest = at_most(page, "#g-price")
            before = service.bill_usd()
            page.click("#g-go")
            page.locator(".turn", has_text=words).locator(".gallery img[src]").wait_for()
            assert 0 < service.bill_usd() - before <= dearest + 0.001
        request = service.requests()[-1]
        assert "1. make it night\n2. add snow" in request["fields"]["prompt"]
        no_fault(page)


def test_a_guarded_server_asks_for_its_key(browser, guarded):
    address, keys = guarded
    key = keys["ada"]["authorization"].removeprefix("Bearer ")
    page = browser.new_page()
    page.goto(address + "/")
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-note:has-text('does not know')")
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-ready]")

    assert page.locator("#trouble").is_hidden()
    assert page.evaluate("sessionStorage.getItem('verax-key')") == key
    assert page.evaluate("JSON.stringify(localStorage)") == "{}"
    page.close()
