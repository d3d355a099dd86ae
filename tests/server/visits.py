"""What people do on the page, and what must hold on it whatever they do."""

import contextlib
import io
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

SIZES = [(1440, 900), (1280, 720), (820, 1180), (390, 844)]  # of screens
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 400, "height": 800}

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
    requests, faults, deleted = [], [], []

    def note(message):
        """A fault, but for a picture that was on its way while its entry was deleted."""
        released = any(one in message.location.get("url", "") for one in deleted)
        if message.type in ("error", "warning") and not (released and "404" in message.text):
            faults.append(message.text)

    page.on("request", lambda r: requests.append(r.url))
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
    assert [u for u in requests if not u.startswith((address, "blob:" + origin, "data:"))] == []
    assert not faults, faults
    context.close()


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


def no_fault(page):
    """Our own audit, and axe-core where AXE_JS names it."""
    assert page.evaluate(AUDIT) == []
    if os.environ.get("AXE_JS"):
        page.evaluate(Path(os.environ["AXE_JS"]).read_text(encoding="utf-8"))
        report = page.evaluate("axe.run().then((r) => [r.passes.length, r.violations])")
        assert report[0] > 0
        assert [(v["id"], [n["html"][:150] for n in v["nodes"]]) for v in report[1]] == []


def no_fault_at_any_size(page):
    """At all sizes of screen, dark and light; the last size is the first one again."""
    for width, height in (*SIZES[1:], SIZES[0]):
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            no_fault(page)
