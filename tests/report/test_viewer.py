"""The compare viewer in a real browser, opened from a file without a network."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image as PillowImage

from browser import chromium
from verax import image as images
from verax import report

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>compare</title>
<style>{style} body {{ min-height: 2000px; }}</style>
<body><div id="here"></div><script>{script}</script>
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
    html = PAGE.format(style=report.viewer_style(), script=report.viewer_script(), options=options)
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
    page.evaluate("viewer.setLink('mode=all&a=0&b=1&overlay=-1&zoom=1&x=0.5&y=0.5&split=0.5')")
    page.locator(".compare-stage").focus()


def data_address(picture):
    data = base64.b64encode(images.encode(picture, format="png"))
    return "data:image/png;base64," + data.decode()


def state(page):
    return page.evaluate("({...viewer.state})")


def test_all_panels_stand_beside_each_other_at_one_zoom(page):
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")

    layers = page.eval_on_selector_all(
        ".compare-layer", "all => all.map(n => n.style.transform + n.style.width)"
    )
    assert len(layers) == 3
    assert len(set(layers)) == 1
    assert state(page)["zoom"] == pytest.approx(1.5)


def test_keys_choose_every_way_to_compare(page):
    pictures = []
    for key in "wfdsa":
        page.keyboard.press(key)
        pictures.append(state(page)["mode"])

    assert pictures == ["slider", "flicker", "difference", "side", "all"]


def test_side_by_side_means_two(page):
    page.keyboard.press("s")

    assert page.locator(".compare-pane").count() == 2
    assert page.locator(".compare-pane figcaption").all_inner_texts() == ["photo", "restoration"]


def test_the_page_scrolls_under_the_wheel_unless_zooming_is_requested(page):
    page.locator(".compare-frame").first.hover()
    page.mouse.wheel(0, 300)
    page.wait_for_function("scrollY > 0")

    assert state(page)["zoom"] == 1
    page.evaluate("scrollTo(0, 0)")


def test_full_screen_fills_the_window_and_escape_leaves_it(page):
    page.get_by_role("button", name="Full screen").click()
    full = page.locator(".compare").bounding_box()
    page.keyboard.press("Escape")

    assert (full["width"], full["height"]) == (1200, 800)
    page.wait_for_selector(".compare:not(.compare-full)")


def test_the_difference_of_dark_pictures_can_be_seen(page):
    """A file may not read its own pictures: these are data addresses, as a server's would be."""
    ramp = np.linspace(0, 0.08, 300, dtype=np.float32)[None, :, None].repeat(200, 0).repeat(3, 2)
    other = ramp.copy()
    other[80:120, 100:200] += 0.03
    panels = [{"name": n, "src": data_address(p)} for n, p in (("a", ramp), ("b", other))]
    page.evaluate("panels => viewer.setPanels(panels)", panels)
    page.keyboard.press("d")
    page.wait_for_selector("figcaption:has-text('times as bright')")
    shot = io.BytesIO(page.locator(".compare-frame").screenshot())
    levels = np.asarray(PillowImage.open(shot).convert("L").resize((300, 200)), np.float64)
    page.reload()

    assert levels[90:110, 110:190].mean() > 120
    assert levels[20:60, 20:280].mean() < 20


def test_the_difference_of_a_dark_and_a_bright_picture_shows_more_than_the_light(page):
    rng = np.random.default_rng(5)
    bright = rng.uniform(0.3, 0.5, (20, 30, 3)).astype(np.float32).repeat(10, 0).repeat(10, 1)
    dark = bright * 0.25
    dark[80:120, 100:200] = 0.02
    panels = [{"name": n, "src": data_address(p)} for n, p in (("photo", dark), ("b", bright))]
    page.evaluate("panels => viewer.setPanels(panels)", panels)
    page.keyboard.press("d")
    page.wait_for_selector("figcaption:has-text('photo brightened first')")
    shot = io.BytesIO(page.locator(".compare-frame").screenshot())
    levels = np.asarray(PillowImage.open(shot).convert("L").resize((300, 200)), np.float64)
    page.reload()

    assert levels[90:110, 110:190].mean() > 3 * levels[20:60, 20:280].mean()


def test_the_wheel_with_control_keeps_the_point_under_the_pointer(page):
    box = page.locator(".compare-frame").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.5)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -500)
    page.keyboard.up("Control")

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
    assert (now["mode"], now["a"], now["zoom"], now["overlay"]) == ("all", 2, 1, 0)
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


def test_names_are_text_and_never_markup(page):
    page.evaluate("""viewer.setPanels([{name: "<img src=x onerror='window.bad=1'>",
                      src: document.images[0].src}])""")

    assert page.evaluate("window.bad") is None
    assert page.locator("figcaption").first.inner_text().startswith("<img")
    page.reload()
