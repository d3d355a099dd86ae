"""Journeys in a real browser: lost servers, reloads, two tabs, bad files, every size of screen."""

import re

import numpy as np
import pytest
from visits import (
    DESKTOP,
    PHONE,
    SIZES,
    choose,
    clear,
    done,
    no_fault,
    no_fault_at_any_size,
    opened,
)

from prints.shots import shot
from serving import serving
from verax import image as images


@pytest.fixture
def files(tmp_path, photo, prior):
    for name, data in (("street.png", photo), ("chat.png", prior)):
        (tmp_path / name).write_bytes(data)
    return tmp_path


def begin(page, files):
    choose(page, files, photo="street.png")
    page.click("#go")


def drop(page, selector, *given):
    """Drop files (name, type, bytes) on an element, as a person would from a folder."""
    page.evaluate(
        """([selector, files]) => {
          const data = new DataTransfer();
          for (const [name, type, bytes] of files)
            data.items.add(new File([new Uint8Array(bytes)], name, {type}));
          document.querySelector(selector).dispatchEvent(
            new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
        }""",
        [selector, [[name, kind, list(data)] for name, kind, data in given]],
    )


def shown(page):
    page.wait_for_selector("#result:not([hidden])")
    page.locator(".compare-frame img:not([src])").first.wait_for(state="detached")


def test_a_server_that_is_stopped_and_started_again_loses_nothing(browser, files, tmp_path):
    home = tmp_path / "home"
    context = browser.new_context(viewport=DESKTOP)
    page = context.new_page()
    page.set_default_timeout(120_000)
    with serving(home) as (address, process):
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        begin(page, files)
        page.wait_for_selector("#history .item progress")
        process.kill()
        process.wait()
    choose(page, files, photo="street.png")  # while nobody answers
    page.click("#go")
    page.wait_for_selector("#lost:not([hidden])")
    port = address.rsplit(":", 1)[1]
    with serving(home, "--port", port) as (again, _):
        assert again == address
        page.click("#lost-now")
        page.wait_for_selector("#lost", state="hidden")
        done(page, 2)
        assert page.locator(".state-failed").count() == 0
        assert page.locator("#trouble").is_hidden()
    context.close()


def test_a_reload_keeps_what_was_chosen_and_what_was_not_sent_yet(browser, page_server, files):
    context = browser.new_context(viewport=DESKTOP)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(page_server)
    page.wait_for_selector("body[data-ready]")
    choose(page, files, photo="street.png")
    page.reload()
    page.wait_for_selector("#chosen small:has-text('with chat.png')")

    # no answer: after an error the page tries four times, within seconds, and then gives up
    page.route("**/page/restorations", lambda route: None)
    page.click("#go")
    page.wait_for_selector("#history .item:has-text('waiting to be sent')")
    page.unroute("**/page/restorations")
    page.reload()
    done(page)
    assert page.locator("#history .item").count() == 1
    assert "with the generated picture" in page.locator("#history").inner_text()
    clear(page)
    context.close()


def test_a_result_has_an_address_and_back_and_escape_close_it(browser, page_server, files):
    with opened(browser, page_server, viewport=DESKTOP) as page:
        begin(page, files)
        shown(page)
        assert re.fullmatch(re.escape(page_server) + r"/#result/[\w-]{22}", page.url)
        assert page_server.endswith("/verax")  # a path of its own, as behind a proxy
        page.reload()
        shown(page)
        done(page)
        page.locator("#dial").fill("50")
        page.wait_for_selector("#dial-note:empty", state="attached")
        at_50 = page.url
        page.go_back()
        page.wait_for_selector("#list:not([hidden])")
        page.go_forward()
        shown(page)
        page.keyboard.press("Escape")
        page.wait_for_selector("#list:not([hidden])")
        assert page.locator("#tab-restore").is_visible()

        page.goto("about:blank")
        page.goto(at_50)  # as from a bookmark
        shown(page)
        page.wait_for_selector("#dial-value:has-text('50')")
        page.keyboard.press("Escape")
        page.wait_for_selector("#list:not([hidden])")
        clear(page)


def test_two_tabs_agree_and_deleting_can_be_undone(browser, page_server, files):
    context = browser.new_context(viewport=DESKTOP)
    one, two = context.new_page(), context.new_page()
    for page in (one, two):
        page.set_default_timeout(120_000)
        page.goto(page_server)
        page.wait_for_selector("body[data-ready]")
    begin(one, files)
    shown(one)
    two.wait_for_selector("#history .item:has-text('street.png')")
    done(two)
    two.get_by_role("button", name="Delete street.png").click()
    one.wait_for_selector("#trouble:has-text('deleted in another tab')")
    two.click("#undo-go")
    for page in (one, two):
        page.wait_for_selector("#history .state-done")
    clear(one)
    two.wait_for_selector("#history-empty:not([hidden])")
    context.close()


def test_a_picture_dropped_on_a_photos_line_is_its_prior(browser, page_server, files, photo, prior):
    with opened(browser, page_server, viewport=DESKTOP) as page:
        for name in ("one.png", "two.png"):
            drop(page, "#photo-box", (name, "image/png", photo))
        page.locator("#chosen li").nth(1).wait_for()
        drop(page, "#chosen li:nth-child(2)", ("any name.png", "image/png", prior))
        page.wait_for_selector("#chosen li:nth-child(2) small:has-text('with any name.png')")
        assert "no generated picture" in page.locator("#chosen li").first.inner_text()
        for name in page.locator("#chosen .name").all():
            assert name.bounding_box()["height"] < 40  # on one line beside its buttons
        page.get_by_role("button", name="Remove picture of two.png").click()
        assert page.locator("#chosen .thumbs img").count() == 2
        page.click("#go")
        done(page, 2)

        # also afterwards, on the line of what was restored without one
        drop(page, "#history li:nth-child(1)", ("chat.png", "image/png", prior))
        page.wait_for_selector("#history .state-done:has-text('with the generated picture')")
        clear(page)


def test_what_is_no_picture_is_said_at_once_and_the_rest_is_taken(
    browser, page_server, photo, scene
):
    dark = np.asarray(scene * 0.3, np.float32)
    with opened(browser, page_server, viewport=DESKTOP) as page:
        drop(
            page,
            "#photo-box",
            ("empty.jpg", "image/jpeg", b""),
            ("letter.pdf", "application/pdf", b"%PDF-1.4"),
            ("good.png", "image/png", photo),
            ("broken.png", "image/png", b"\x89PNG\r\n\x1a\nnothing"),
            ("phone.heic", "image/heic", images.encode(dark, format="heic")),
        )
        page.locator("#chosen li").nth(1).wait_for()
        assert page.locator("#chosen .name").all_inner_texts() == ["good.png", "phone.heic"]
        assert "150 × 100" in page.locator("#chosen li").nth(1).inner_text()
        notice = page.locator("#trouble").inner_text()
        for words in (
            "empty.jpg is empty",
            "letter.pdf is a PDF",
            "broken.png is not a picture that can be read",
        ):
            assert words in notice
        page.check("input[value=none]")
        page.click("#go")
        done(page, 2)
        clear(page)
        page.faults[:] = [fault for fault in page.faults if "400 (Bad Request)" not in fault]


def test_picture_dial_and_download_stand_on_one_screen(browser, page_server, files):
    with opened(browser, page_server, viewport=DESKTOP) as page:
        begin(page, files)
        shown(page)
        done(page)
        for size in SIZES:
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.get_by_role("button", name="Slider").click()
            page.evaluate("scrollTo(0, 0)")
            for name in (".compare-frame", "#dial", "#save"):
                box = page.locator(name).bounding_box()
                assert 0 <= box["x"] <= box["x"] + box["width"] <= size[0], (name, size)
                assert 0 <= box["y"] <= box["y"] + box["height"] <= size[1], (name, size)
            assert page.locator(".compare-frame").bounding_box()["height"] > 150
            assert overlapping(page, ".compare-bar :is(button, select):visible") == []
            page.get_by_role("button", name="Side by side").click()
            assert page.locator(".compare-pane").count() == 2
            left, right = (page.locator(".compare-frame").nth(i).bounding_box() for i in (0, 1))
            assert left["y"] == right["y"]
        no_fault_at_any_size(page)
        page.click("#other-mask")
        no_fault_at_any_size(page)
        page.click("#brush-cancel")
        page.click("#result-close")
        no_fault_at_any_size(page)
        clear(page)


def overlapping(page, selector):
    """Pairs of elements that lie over each other."""
    boxes = [(n.inner_text(), n.bounding_box()) for n in page.locator(selector).all()]

    def apart(a, b):
        return any(
            p[side] + p[length] <= q[side] + 0.5
            for side, length in (("x", "width"), ("y", "height"))
            for p, q in ((a, b), (b, a))
        )

    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]]
    return [(a[0], b[0]) for a, b in pairs if not apart(a[1], b[1])]


def test_a_hole_is_painted_and_filled_on_a_telephone(browser, page_server, files):
    with opened(browser, page_server, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        begin(page, files)
        shown(page)
        done(page)
        before = page.locator("#shares").inner_text()
        page.click("#other-mask")
        assert page.locator("#brush-done").is_disabled()
        board = page.locator("#brush-board").bounding_box()
        page.mouse.move(board["x"] + 0.3 * board["width"], board["y"] + 0.3 * board["height"])
        page.mouse.down()
        page.mouse.move(
            board["x"] + 0.6 * board["width"], board["y"] + 0.5 * board["height"], steps=5
        )
        page.mouse.up()
        for key in ("ArrowRight", "ArrowDown", " "):  # by keyboard as well
            page.locator("#brush-board").press(key)
        no_fault(page)
        page.click("#brush-done")
        page.wait_for_selector("#other-mask-remove:not([hidden])", state="attached")
        done(page)
        assert page.locator("#shares").inner_text() != before
        with page.expect_download() as coming:
            page.click("#save")
        assert coming.value.suggested_filename == "street_restored.png"
        page.click("#result-close")
        clear(page)


def test_every_face_stands_beside_the_photos_own(browser, page_server, tmp_path):
    from skimage import data

    face = images.from_uint8(np.ascontiguousarray(data.astronaut()[:256, 96:352]))
    for name, picture in (("her.png", face * 0.4), ("chat.png", face)):
        picture = np.asarray(picture, np.float32)
        (tmp_path / name).write_bytes(images.encode(picture, format="png"))
    with opened(browser, page_server, viewport=DESKTOP) as page:
        choose(page, tmp_path, photo="her.png")
        page.click("#go")
        shown(page)
        done(page)
        captions = page.locator(".face-row figcaption").all_inner_texts()
        assert captions == ["photo", "generated picture", "restoration", "trust map"]
        assert "still your photo's face" in page.locator("#faces").inner_text()
        page.locator("#dial").fill("100")
        page.wait_for_selector("#dial-note:empty", state="attached")
        assert page.locator(".face img[src]").count() == 4
        no_fault(page)
        page.click("#result-close")
        clear(page)


def test_the_prompt_for_a_chat_is_the_one_that_a_model_gets(browser, page_server):
    from verax import catalog

    with opened(browser, page_server, viewport=PHONE) as page:
        assert page.locator("#words").input_value() == catalog.prompt("restore").text
        no_fault_at_any_size(page)
        page.select_option("#words-task", "colorize")
        assert page.locator("#words").input_value() == catalog.prompt("colorize").text
        page.click("#words-copy")
        page.wait_for_selector("#words-copy:has-text('opied'), #words-copy:has-text('Select')")
        page.locator("#before-after-share").fill("100")
        assert "100%" in page.locator("#before-after").get_attribute("style")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_shot_of_a_print_is_straightened_between_corners_that_can_be_moved(
    browser, page_server, tmp_path, photo, scene, viewport
):
    view = shot(scene, 1)
    images.write(tmp_path / "shot.jpg", view.pixels)
    (tmp_path / "plain.png").write_bytes(photo)
    with opened(browser, page_server, viewport=viewport) as page:
        page.set_input_files("#photo-files", [tmp_path / "plain.png", tmp_path / "shot.jpg"])
        page.get_by_role("button", name="Straighten shot.jpg").click()
        assert page.get_by_role("button", name="Straighten plain.png").count() == 0
        mark = page.get_by_role("button", name="Corner top left")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            no_fault(page)
        before = mark.bounding_box()
        mark.press("ArrowRight")
        assert mark.bounding_box()["x"] > before["x"]
        middle = {"x": before["x"] + before["width"] / 2, "y": before["y"] + before["height"] / 2}
        mark.hover()
        page.mouse.down()
        page.mouse.move(middle["x"], middle["y"], steps=3)  # back where it was
        page.mouse.up()
        assert mark.bounding_box()["x"] == pytest.approx(before["x"], abs=1)
        page.click("#straighten-done")
        row = page.locator("#chosen li").nth(1)
        page.wait_for_selector("#chosen li:has-text('shot_straightened.png')")
        width, height = map(int, re.findall(r"\d+", row.locator("small").inner_text())[:2])
        assert width / height == pytest.approx(view.ratio, rel=0.1)
        assert width < view.pixels.shape[1]

        page.reload()  # the shot is kept beside the print
        page.get_by_role("button", name="Undo straightening of shot_straightened.png").click()
        assert row.locator(".name").inner_text() == "shot.jpg"
        assert "800 × 600" in row.locator("small").inner_text()
        for name in ("shot.jpg", "plain.png"):
            page.get_by_role("button", name=f"Remove {name}").click()
