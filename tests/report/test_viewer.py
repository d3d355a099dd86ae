"""The compare viewer in a real browser, opened from a file without a network."""

import io
import json

import numpy as np
import pytest
from PIL import Image as PillowImage

from browser import chromium
from verax import image as images
from verax.report import viewer

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>compare</title>
<style>{style}</style><body><div id="here"></div><script>{script}</script>
<script>window.viewer = veraxCompare(document.getElementById("here"), {options});</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("viewer")
    ramp = np.linspace(0, 1, 300, dtype=np.float32)
    for name, level in (("photo", 0.2), ("restoration", 0.8), ("prior", 0.9)):
        picture = np.broadcast_to((ramp * level)[None, :, None], (200, 300, 3)).copy()
        images.write(folder / f"{name}.png", picture)
    panels = [{"name": n, "src": f"{n}.png"} for n in ("photo", "restoration", "prior")]
    options = json.dumps({"panels": panels, "overlays": [{"name": "motion", "src": "prior.png"}]})
    html = PAGE.format(style=viewer.style(), script=viewer.script(), options=options)
    (folder / "page.html").write_text(html, encoding="utf-8")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.faults = []
        page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.faults.append(str(e)))
        page.on("requestfailed", lambda r: page.faults.append(r.url))
        page.goto((folder / "page.html").as_uri())
        page.wait_for_function("document.images[0].naturalWidth > 0")
        yield page
        assert page.faults == []


@pytest.fixture(autouse=True)
def fresh(page):
    page.evaluate("viewer.setLink('mode=side&a=0&b=1&overlay=-1&zoom=1&x=0.5&y=0.5&split=0.5')")
    page.locator(".compare-stage").focus()


def state(page):
    return page.evaluate("({...viewer.state})")


def test_every_panel_stands_side_by_side_at_one_zoom(page):
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")

    layers = page.eval_on_selector_all(
        ".compare-layer", "all => all.map(n => n.style.transform + n.style.width)"
    )
    assert len(layers) == 3
    assert len(set(layers)) == 1
    assert state(page)["zoom"] == pytest.approx(1.5)


def test_keys_choose_every_way_to_compare(page):
    seen = []
    for key in "wfds":
        page.keyboard.press(key)
        seen.append(state(page)["mode"])

    assert seen == ["slider", "flicker", "difference", "side"]


def test_the_wheel_keeps_the_point_under_the_pointer(page):
    box = page.locator(".compare-frame").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.5)
    page.mouse.wheel(0, -500)

    now = state(page)
    # the point at a quarter of the width stays: x + (0.25 - 0.5) / zoom = 0.25
    assert now["zoom"] > 2
    assert now["x"] - 0.25 / now["zoom"] == pytest.approx(0.25, abs=0.01)


def test_dragging_the_handle_moves_the_border(page):
    page.keyboard.press("w")
    box = page.locator(".compare-frame").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, middle, steps=4)
    page.mouse.up()

    assert state(page)["split"] == pytest.approx(0.75, abs=0.02)


def test_the_handle_is_a_slider_for_the_keyboard(page):
    page.keyboard.press("w")
    handle = page.get_by_role("slider")
    handle.press("ArrowRight")

    assert handle.get_attribute("aria-valuenow") == "52"


def test_space_flickers_between_a_and_b_without_moving_the_view(page):
    page.keyboard.press("+")
    page.keyboard.press("f")
    before = state(page)
    page.keyboard.press(" ")

    after = state(page)
    assert page.locator("figcaption").first.inner_text() in ("restoration", "photo")
    assert (after["zoom"], after["x"], after["y"]) == (before["zoom"], before["x"], before["y"])


def test_a_link_brings_back_the_view_and_the_crops(page):
    page.evaluate(
        "viewer.setLink('mode=difference&a=1&b=2&zoom=4&x=0.3&y=0.6&box=0.1,0.1,0.2,0.2')"
    )
    link = page.evaluate("viewer.link()")
    page.evaluate("viewer.setLink('mode=side&zoom=1')")
    page.evaluate("link => viewer.setLink(link)", link)

    now = state(page)
    assert (now["mode"], now["a"], now["b"]) == ("difference", 1, 2)
    assert (now["zoom"], now["x"], now["y"]) == (4, 0.3, 0.6)
    assert page.locator(".compare-crop").count() == 3


def test_a_mangled_link_changes_nothing_dangerous(page):
    page.evaluate("viewer.setLink('mode=<b>&a=99&zoom=-5&x=nan&box=1,2&box=a,b,c,d&overlay=7')")

    now = state(page)
    assert (now["mode"], now["a"], now["zoom"], now["overlay"]) == ("side", 2, 1, 0)
    assert now["boxes"] == []


def test_shift_drag_marks_a_crop_of_every_panel(page):
    box = page.locator(".compare-frame").first.bounding_box()
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 90, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")

    assert page.locator(".compare-crop").count() == 3


def test_a_mixed_panel_is_linear_between_its_two_pictures(page):
    page.evaluate("""[viewer.setPanels([{name: "mix", src: "photo.png", under: "prior.png"}]),
                      viewer.setLink("mode=side")]""")
    shades = {}
    for share in (1, 0, 0.25):
        page.evaluate("share => viewer.setShare(share)", share)
        shot = io.BytesIO(page.locator(".compare-frame").screenshot())
        shades[share] = np.asarray(PillowImage.open(shot).convert("L"), np.float64)[90:110, 300:600]

    assert np.abs(shades[0] - shades[1]).mean() > 30
    assert np.abs(0.25 * shades[1] + 0.75 * shades[0] - shades[0.25]).max() <= 2
    page.evaluate("viewer.setShare(1)")


def test_names_are_text_and_never_markup(page):
    page.evaluate("""viewer.setPanels([{name: "<img src=x onerror='window.bad=1'>",
                      src: document.images[0].src}])""")

    assert page.evaluate("window.bad") is None
    assert page.locator("figcaption").first.inner_text().startswith("<img")
    page.reload()
