"""The page in a real browser against a real server: the journeys of people, and their access."""

import contextlib
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from serving import serving

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 400, "height": 800}
MARKUP = "<img src=x onerror=\"document.title='owned'\">"

# What a keyboard or a screen reader would stumble over, as a list of complaints.
AUDIT = """() => {
  const seen = (n) => n.checkVisibility({visibilityProperty: true});
  const text = (id) => document.getElementById(id)?.textContent || "";
  const name = (n) => (n.getAttribute("aria-label")
    || (n.getAttribute("aria-labelledby") || "").split(" ").map(text).join(" ").trim()
    || [...(n.labels || [])].map((l) => l.textContent).join(" ").trim()
    || (n.tagName === "IMG" ? n.alt : n.textContent)).trim();
  const bad = [];
  const controls = "button, input, select, textarea, summary, a, [role]";
  for (const n of document.querySelectorAll(controls)) {
    if (seen(n) && !name(n) && !["list", "status"].includes(n.getAttribute("role")))
      bad.push("no name: " + n.outerHTML.slice(0, 120));
  }
  for (const n of document.images) if (!n.hasAttribute("alt")) bad.push("no alt: " + n.src);
  let last = 0;
  for (const n of document.querySelectorAll("h1, h2, h3, h4")) {
    if (!seen(n)) continue;
    const level = Number(n.tagName[1]);
    if (level > last + 1) bad.push("heading skips a level: " + n.textContent);
    last = level;
  }
  const parse = (c) => (c.match(/[\\d.]+/g) || [])
    .map((v, i) => v * (c.startsWith("color(") && i < 3 ? 255 : 1));
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (n) => {
    for (; n; n = n.parentElement) {
      const c = parse(getComputedStyle(n).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  for (const n of document.querySelectorAll("body *")) {
    const own = [...n.childNodes].some((c) => c.nodeType === 3 && c.data.trim());
    if (!own || !seen(n) || n.disabled || n.closest(":disabled")) continue;
    const [a, b] = [light(parse(getComputedStyle(n).color)), light(ground(n))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push("contrast " + ratio.toFixed(1) + ": " + n.outerHTML.slice(0, 90));
  }
  if (document.documentElement.scrollWidth > innerWidth) bad.push("scrolls sideways");
  return bad;
}"""


@contextlib.contextmanager
def opened(browser, address, **options):
    """A page of its own; at the end nothing was asked elsewhere and no error was shown."""
    context = browser.new_context(reduced_motion="reduce", **options)
    page = context.new_page()
    asked, faults, deleted = [], [], []

    def note(message):
        """A fault, but for a picture that was on its way while its entry was deleted."""
        gone = any(one in message.location.get("url", "") for one in deleted)
        if message.type in ("error", "warning") and not (gone and "404" in message.text):
            faults.append(message.text)

    page.on("request", lambda r: asked.append(r.url))
    page.on(
        "request", lambda r: deleted.append(r.url.split("/")[-1]) if r.method == "DELETE" else None
    )
    page.on("console", note)
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.set_default_timeout(120_000)
    page.faults = faults
    page.goto(address + "/")
    page.wait_for_selector("body[data-ready]")
    yield page
    origin = "/".join(address.split("/")[:3])
    assert [u for u in asked if not u.startswith((address, "blob:" + origin, "data:"))] == []
    assert faults == []
    context.close()


@pytest.fixture
def files(tmp_path, photo, prior):
    """Paths of a photo with markup in its metadata, and of a prior."""
    exif = PillowImage.Exif()
    exif[0x010E] = MARKUP
    PillowImage.open(io.BytesIO(photo)).save(tmp_path / "street.jpg", quality=95, exif=exif)
    (tmp_path / "chat.png").write_bytes(prior)
    return tmp_path


def choose(page, files, *, photo="street.jpg", prior="chat.png"):
    page.set_input_files("#photo-files", files / photo)
    page.wait_for_selector("#chosen li")
    if prior:
        page.set_input_files("#prior-files", files / prior)
        page.wait_for_selector(f"#chosen small:has-text('with {prior}')")


def start(page, files, **names):
    choose(page, files, **names)
    page.click("#go")


def done(page, count=1):
    page.locator(".state-done").nth(count - 1).wait_for(state="attached")


def clear(page):
    """Delete everything, as a person would; it can be undone for a while."""
    page.click("#clear")
    page.wait_for_selector("#history-empty:not([hidden])")


def colour(page, selector):
    """Mean colour of what is shown at the middle of an element, 0..255."""
    page.locator(f"{selector} img:not([src])").first.wait_for(state="detached")
    page.eval_on_selector_all(f"{selector} img", "all => Promise.all(all.map((n) => n.decode()))")
    shot = PillowImage.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")
    levels = np.asarray(shot, np.float64)
    height, width = levels.shape[:2]
    return levels[height // 3 : height // 2, width // 8 : width // 4].mean(axis=(0, 1))


def at_most(page, selector):
    """The highest price that a line tells, US dollars."""
    return float(re.search(r"at most \$(\d+\.\d+)", page.locator(selector).inner_text())[1])


def no_serious_fault(page):
    """Our own audit, and axe-core where AXE_JS names it."""
    assert page.evaluate(AUDIT) == []
    if os.environ.get("AXE_JS"):
        page.evaluate(Path(os.environ["AXE_JS"]).read_text(encoding="utf-8"))
        found = page.evaluate("axe.run().then((r) => r.violations)")
        told = [(v["id"], v["impact"], [n["html"][:150] for n in v["nodes"]]) for v in found]
        assert [v for v in told if v[1] in ("serious", "critical")] == []


def test_a_photo_and_a_prior_become_a_restoration(browser, page_server, files):
    with opened(browser, page_server, viewport=DESKTOP) as page:
        no_serious_fault(page)
        start(page, files)
        page.wait_for_selector("#result:not([hidden])")
        done(page)

        assert page.evaluate("document.activeElement.id") == "result-name"
        assert page.locator("#changes li").count() >= 2
        no_serious_fault(page)

        # every stop of the dial shows picture and shares of its own
        page.select_option(".compare-choice select >> nth=0", label="restoration")
        page.locator("#viewer").get_by_role("slider").press("End")
        seen, told = {}, {}
        for value in (75, 100, 0, 50):
            page.locator("#dial").fill(str(value))
            page.wait_for_selector("#dial-note:empty", state="attached")
            assert page.locator("#dial-value").inner_text() == f"{value} %"
            seen[value] = colour(page, ".compare-frame")
            told[value] = page.locator("#shares").inner_text()
        assert np.abs(seen[100] - seen[0]).max() > 3
        assert len(set(told.values())) > 1
        for name in ("photo", "confirmed", "light", "generated"):
            assert name in page.locator("#trust-legend").inner_text()
            assert f"{name}: " in told[50]

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
        no_serious_fault(page)
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
        no_serious_fault(page)
        page.click("#result-close")
        clear(page)


def test_who_has_no_photo_tries_the_example(browser, page_server):
    with opened(browser, page_server, viewport=DESKTOP, color_scheme="dark") as page:
        page.click("#example")
        page.wait_for_selector("#result:not([hidden])")
        done(page)

        assert "simulated" in page.locator("#changes").inner_text()
        assert page.locator("#dial-box").is_visible()
        no_serious_fault(page)
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
            found = page.evaluate(
                """() => { const n = document.activeElement, s = getComputedStyle(n);
                const box = n.closest(".ways label");
                const line = box ? getComputedStyle(box) : s;
                return [n.id || n.value || n.textContent, line.outlineStyle !== "none"]; }"""
            )
            if found[0] == "go":
                break
            assert found[1], f"no visible focus on {found[0]}"
            reached.append(found[0])
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
        no_serious_fault(page)


def test_a_model_is_asked_after_its_price_was_shown(browser, service, files, tmp_path):
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
        no_serious_fault(page)
        page.fill("#prompt", MARKUP)
        page.select_option("#g-aspect", label="3:2")
        assert page.locator("#g-size option").count() > 1
        page.fill("#g-n", "2")
        page.click("#g-go")
        page.wait_for_selector(".gallery .badge:has-text('best of 2')")
        page.fill("#g-n", "1")
        assert page.locator(".turn .prompt").inner_text() == MARKUP
        for words in ("make it night", "add snow"):
            page.get_by_role("button", name=re.compile("Change this|Next turn")).first.click()
            page.fill("#prompt", words)
            page.locator("#prompt").blur()
            page.wait_for_selector("#g-price:has-text('$')")
            dearest = at_most(page, "#g-price")
            before = service.bill_usd()
            page.click("#g-go")
            page.locator(".turn", has_text=words).locator(".gallery img[src]").wait_for()
            assert 0 < service.bill_usd() - before <= dearest + 0.001
        asked = service.requests()[-1]
        assert "1. make it night\n2. add snow" in asked["fields"]["prompt"]
        no_serious_fault(page)


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
