"""What the page asks of its server: entries, files, names, owners, prices."""

import asyncio
import io
import time
import zipfile
from datetime import UTC, datetime

import httpx2
import numpy as np
import pytest
from PIL import Image as PillowImage

from verax import image as images
from verax.priors import generated
from verax.providers.budget import load_tariff
from verax.providers.images_api import connect
from verax.report.sheet import TRUST_COLOURS
from verax.server import Problem
from verax.server.access import Account
from verax.server.page.history import (
    STOPS,
    History,
    attachment,
    forget,
    in_turn,
    plain_name,
    record,
)
from verax.settings import load

NASTY = '../../..\\a"; filename="evil.html"\r\nX-Evil: 1\r\n\r\n<b>é.png'


def finished(http, entry, **options):
    """The entry when it is done or has failed."""
    for _ in range(600):
        entry = http.get(f"/page/history/{entry['id']}", **options).json()
        if entry["state"] in ("done", "failed"):
            return entry
        time.sleep(0.05)
    raise AssertionError(entry)


@pytest.fixture(scope="module")
def finished_entry(server, photo, prior):
    """One finished restoration of a JPEG with a place in its metadata."""
    exif = PillowImage.Exif()
    exif[0x010E], exif[0x010F] = "<img src=x onerror=alert(1)>", "Camera & Co"
    exif.get_ifd(0x8825)[1] = "N"
    buffer = io.BytesIO()
    PillowImage.open(io.BytesIO(photo)).save(buffer, "JPEG", quality=98, exif=exif)
    files = {"photo": ("street.jpg", buffer.getvalue()), "prior": ("chat.png", prior)}
    with httpx2.Client(base_url=server, timeout=60) as http:
        entry = http.post("/page/restorations", files=files)
        assert entry.status_code == 202
        yield finished(http, entry.json())


def pixels(answer):
    return images.decode(answer.content).pixels


def test_a_restoration_brings_every_picture_and_says_what_changed(http, finished_entry):
    assert finished_entry["state"] == "done", finished_entry
    assert {"photo", "prior", "registered", "restoration", "trust"} <= set(
        finished_entry["pictures"]
    )
    assert finished_entry["sentences"]
    assert sum(finished_entry["trust"].values()) == pytest.approx(1, abs=1e-4)  # float16 shares
    for name in finished_entry["pictures"]:
        answer = http.get(f"/page/history/{finished_entry['id']}/{name}.png")
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["cache-control"] == "no-store"


def test_the_download_keeps_format_name_and_metadata(http, finished_entry):
    answer = http.get(f"/page/history/{finished_entry['id']}/file")

    assert "street_restored.jpg" in answer.headers["content-disposition"]
    with PillowImage.open(io.BytesIO(answer.content)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (150, 100))
        assert picture.getexif()[0x010F] == "Camera & Co"
        assert 0x8825 in picture.getexif()
    assert b"restored by Verax" in answer.content

    placeless = http.get(f"/page/history/{finished_entry['id']}/file", params={"place": "no"})
    with PillowImage.open(io.BytesIO(placeless.content)) as picture:
        assert 0x8825 not in picture.getexif()
        assert picture.getexif()[0x010F] == "Camera & Co"


def test_the_download_can_be_larger(http, finished_entry):
    address = f"/page/history/{finished_entry['id']}/file"
    answer = http.get(address, params={"scale": "2"})

    assert "street_restored_x2.jpg" in answer.headers["content-disposition"]
    assert PillowImage.open(io.BytesIO(answer.content)).size == (300, 200)
    assert http.get(address, params={"scale": "9"}).status_code == 400


def test_every_stop_of_the_dial_shows_the_file_of_that_fidelity(http, photo, prior):
    files = {"photo": ("a.png", photo), "prior": ("b.png", prior)}
    entry = finished(http, http.post("/page/restorations", files=files).json())
    address = f"/page/history/{entry['id']}"
    shown = []
    for percent in STOPS:
        stop = http.get(f"{address}/stop", params={"fidelity": percent / 100}).json()
        shown.append(pixels(http.get(f"{address}/{stop['restoration']}.png")))
        file = pixels(http.get(f"{address}/file", params={"fidelity": percent / 100}))
        trust = pixels(http.get(f"{address}/{stop['trust_map']}.png")).mean(axis=(0, 1)) * 255
        shares = list(stop["trust"].values())

        assert np.abs(shown[-1] - file).max() <= 0.5 / 255
        assert stop["faces"] == []
        assert list(stop["trust"]) == ["photo", "confirmed", "light", "generated"]
        assert sum(shares) == pytest.approx(1, abs=1e-4)  # float16 shares
        assert trust == pytest.approx(np.array(shares) @ TRUST_COLOURS, abs=1)
    assert np.abs(shown[0] - shown[-1]).max() > 0.1


@pytest.mark.parametrize("fidelity", ["0.6", "2", "nan", "x"])
def test_the_dial_stops_nowhere_else(http, finished_entry, fidelity):
    answer = http.get(f"/page/history/{finished_entry['id']}/stop", params={"fidelity": fidelity})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "fidelity")


def test_a_photo_alone_is_restored_without_a_dial(http, photo):
    entry = finished(http, http.post("/page/restorations", files={"photo": ("x", photo)}).json())

    assert (entry["state"], entry["prior"], entry["dial"]) == ("done", "none", False)


def test_the_archive_holds_every_finished_restoration_with_its_record(http, finished_entry):
    answer = http.get("/page/restorations.zip")
    bundle = zipfile.ZipFile(io.BytesIO(answer.content))

    assert bundle.testzip() is None
    assert {"street_restored.jpg", "street_restored.jpg.json"} <= set(bundle.namelist())


def test_what_is_sent_twice_is_taken_in_once(http, photo):
    name = "twice-" + "a" * 16
    files = {"photo": ("x.png", photo)}
    sent = [http.post("/page/restorations", files=files, data={"id": name}) for _ in range(2)]

    assert [answer.status_code for answer in sent] == [202, 202]
    assert {answer.json()["id"] for answer in sent} == {name}
    assert finished(http, sent[0].json())["state"] == "done"


@pytest.mark.parametrize("name", ["short", "../" + "a" * 19, "a" * 23, "a" * 21 + "\n"])
def test_an_id_of_the_page_is_no_path(http, photo, name):
    answer = http.post("/page/restorations", files={"photo": ("x", photo)}, data={"id": name})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "id"


def test_a_restoration_is_made_otherwise_from_its_own_files(http, photo, prior):
    sent = http.post("/page/restorations", files={"photo": ("x.png", photo)})
    alone = finished(http, sent.json())
    again = f"/page/history/{alone['id']}/again"
    drawing = np.zeros((50, 75, 3), np.float32)  # half the photo's size, as a telephone draws
    drawing[10:25, 10:25] = 1
    mask = images.encode(drawing, format="png")

    http.post(again, files={"prior": ("chat.png", prior)})
    paired = finished(http, alone)
    http.post(again, files={"mask": ("mask.png", mask)}, data={"task": "lowlight"})
    mended = finished(http, alone)
    http.post(again, files={"prior": (None, ""), "mask": (None, "")})
    before = finished(http, alone)

    assert [e["prior"] for e in (alone, paired, mended, before)] == ["none", "used", "used", "none"]
    assert (mended["drawn"], mended["task"], before["drawn"]) == (["mask"], "lowlight", [])
    assert mended["trust"]["generated"] > paired["trust"]["generated"] + 0.02
    assert "registered" not in before["pictures"]


def test_a_place_painted_while_the_photo_is_still_measured_is_filled(http, photo, prior):
    files = {"photo": ("x.png", photo), "prior": ("chat.png", prior)}
    entry = http.post("/page/restorations", files=files).json()
    mask = images.encode(np.eye(50, dtype=np.float32)[..., None].repeat(3, 2), format="png")
    address = f"/page/history/{entry['id']}"
    while http.get(address).json()["state"] not in ("measuring", "done"):
        time.sleep(0.01)

    sent = http.post(f"{address}/again", files={"mask": ("mask.png", mask)})

    assert sent.status_code < 300
    assert finished(http, entry)["drawn"] == ["mask"]


def test_only_what_was_painted_changes(http, photo, prior):
    files = {"photo": ("x.png", photo), "prior": ("chat.png", prior)}
    entry = finished(http, http.post("/page/restorations", files=files).json())
    drawing = np.zeros((100, 150, 3), np.float32)
    drawing[:, :75] = 1
    only = images.encode(drawing, format="png")
    http.post(f"/page/history/{entry['id']}/again", files={"only": ("only.png", only)})
    entry_again = finished(http, entry)
    file = pixels(http.get(f"/page/history/{entry_again['id']}/file"))

    assert np.array_equal(file[:, 75:], images.decode(photo).pixels[:, 75:])
    assert np.abs(file[:, :75] - images.decode(photo).pixels[:, :75]).max() > 0.1


@pytest.mark.parametrize(
    "changes",
    [{"files": {"prior": ("x.png", b"no picture")}}, {"data": {"task": "make it nice"}}],
)
def test_a_change_that_makes_no_sense_leaves_the_restoration_as_it_is(
    http, finished_entry, changes
):
    answer = http.post(f"/page/history/{finished_entry['id']}/again", **changes)

    assert answer.status_code == 400
    assert http.get(f"/page/history/{finished_entry['id']}").json()["state"] == "done"


def test_what_was_deleted_comes_back_whole(http, photo):
    entry = finished(http, http.post("/page/restorations", files={"photo": ("x", photo)}).json())
    address = f"/page/history/{entry['id']}"
    http.delete(address)
    back = http.post(f"{address}/back")

    assert (back.status_code, back.json()["pictures"]) == (200, entry["pictures"])
    assert http.get(f"{address}/file").status_code == 200
    assert http.post(f"{address}/back").status_code == 404  # it is there


def test_a_history_is_sent_again_only_after_a_change(http, finished_entry):
    def tag_of(answer):
        return answer.headers.get("etag", "")

    while not (tag := tag_of(http.get("/page/history"))):
        time.sleep(0.05)  # a change just now could still be followed by another
    same = http.get("/page/history", headers={"if-none-match": tag})
    http.delete(f"/page/history/{finished_entry['id']}")
    without = http.get("/page/history", headers={"if-none-match": tag})
    http.post(f"/page/history/{finished_entry['id']}/back")

    assert (same.status_code, same.content) == (304, b"")
    assert without.status_code == 200
    assert finished_entry["id"] not in {entry["id"] for entry in without.json()["entries"]}


def test_what_was_deleted_leaves_the_disk(tmp_path):
    history = History(tmp_path / "anybody")
    first, second = (history.create({"kind": "restoration", "name": "a.png"}) for _ in range(2))
    history.remove(first.name)
    history.remove(second.name)
    history.bring_back(second.name)
    forget(tmp_path, seconds=3600)
    assert history.bring_back(first.name) == first
    history.remove(first.name)
    forget(tmp_path, seconds=0)

    assert [path.name for path in history.folder.iterdir()] == [second.name]


def test_the_size_of_a_photo_that_no_browser_opens_is_reported(http, photo):
    buffer = io.BytesIO()
    PillowImage.open(io.BytesIO(photo)).save(buffer, "TIFF")
    facts = http.post("/page/size", files={"photo": ("x.tif", buffer.getvalue())}).json()
    refused = http.post("/page/size", files={"photo": ("x.heic", b"\0" * 100)})

    assert (facts["format"], facts["width"], facts["height"]) == ("tiff", 150, 100)
    assert refused.status_code == 400


def test_a_print_is_found_in_its_shot_and_taken_out_between_corners(http, photo, scene):
    shot = np.full((200, 300, 3), 0.15, np.float32)
    door = shot.copy()
    shot[50:150, 75:225] = scene
    door[20:180, 110:170] = 0.7
    files = {"photo": ("shot.png", images.encode(shot, format="png"))}
    corners = "75,50 224,50 224,149 75,149"

    ring = http.post("/page/straighten", files=files).json()["corners"]
    flat = http.post("/page/straighten", files=files, data={"corners": corners})
    beyond = http.post("/page/straighten", files=files, data={"corners": corners + "0"})
    others = [
        http.post("/page/straighten", files={"photo": ("photo.png", other)}).json()["corners"]
        for other in (photo, images.encode(door, format="png"))
    ]

    assert np.abs(np.array(ring) - [[75, 50], [225, 50], [225, 150], [75, 150]]).max() < 3
    assert PillowImage.open(io.BytesIO(flat.content)).size == (149, 99)
    assert beyond.status_code == 400
    assert "corners inside the picture of 300x200" in beyond.json()["error"]["message"]
    assert others == [None, None]


def test_deleting_forgets_every_file(http, photo):
    entry = finished(http, http.post("/page/restorations", files={"photo": ("x", photo)}).json())
    address = f"/page/history/{entry['id']}"

    assert http.delete(address).status_code == 204
    for path in (address, f"{address}/photo.png", f"{address}/file"):
        assert http.get(path).status_code == 404


def test_deleting_under_way_leaves_nothing_behind(http, photo, prior):
    files = {"photo": ("a.png", photo), "prior": ("b.png", prior)}
    entry = http.post("/page/restorations", files=files).json()

    assert http.delete(f"/page/history/{entry['id']}").status_code == 204
    assert entry["id"] not in {e["id"] for e in http.get("/page/history").json()["entries"]}


def test_a_file_that_is_no_picture_leaves_no_entry(http):
    before = len(http.get("/page/history").json()["entries"])
    answer = http.post("/page/restorations", files={"photo": ("x.png", b"<script>alert(1)")})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "photo"
    assert len(http.get("/page/history").json()["entries"]) == before


def test_a_broken_picture_is_reported_without_the_servers_folders(http, photo):
    broken = {"photo": ("a.png", photo[: len(photo) // 2])}
    sent = http.post("/page/restorations", files=broken)
    entry = sent.json() if sent.status_code == 400 else finished(http, sent.json())

    assert sent.status_code == 400 or entry["state"] == "failed"
    assert "/" not in str(entry["error"])


@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fclients.sqlite",
        "%2e%2e/%2e%2e/photo.png",
        "A" * 22,
        "A" * 21 + "%00",
        "{id}/..%2frequest.json",
        "{id}/request.json",
        "{id}/photo",
        "{id}/file-100.jpg",
        "{id}/%2e%2e%2f%2e%2e%2fclients.sqlite",
    ],
)
def test_only_known_names_of_an_entry_can_be_fetched(http, finished_entry, path):
    answer = http.get("/page/history/" + path.format(id=finished_entry["id"]))

    # "photo" without its ending is the picture itself, everything else does not exist
    assert answer.status_code == (200 if path == "{id}/photo" else 404)
    assert b"SQLite" not in answer.content


def test_a_file_name_cannot_write_headers(http, photo):
    entry = finished(http, http.post("/page/restorations", files={"photo": (NASTY, photo)}).json())
    answer = http.get(f"/page/history/{entry['id']}/file")

    assert "x-evil" not in answer.headers
    assert answer.headers["content-disposition"].count('"') == 2  # one quoted name
    assert "/" not in entry["name"]


@pytest.mark.parametrize("name", [NASTY, "a\r\nb", "..", "", "x" * 500, "\u202egnp.exe", 'a"b;c'])
def test_names_from_outside_become_plain_names(name):
    result = plain_name(name)
    header = attachment(result)["content-disposition"]

    assert result not in ("", ".", "..")
    assert len(result) <= 120
    assert not set(result) & set('\r\n/\\";<>\u202e')
    assert header.isascii()
    assert header.isprintable()


def test_another_clients_history_does_not_exist(guarded, photo):
    address, keys = guarded
    with httpx2.Client(base_url=address, timeout=60) as http:
        sent = http.post("/page/restorations", files={"photo": ("a", photo)}, headers=keys["ada"])
        entry = finished(http, sent.json(), headers=keys["ada"])
        path = f"/page/history/{entry['id']}"
        of_bob = [http.get(p, headers=keys["bob"]).status_code for p in (path, f"{path}/photo.png")]

        assert of_bob == [404, 404]
        assert http.delete(path, headers=keys["bob"]).status_code == 404
        assert http.get("/page/history", headers=keys["bob"]).json()["entries"] == []
        assert http.get(path).status_code == 401
        assert http.get(path, headers=keys["ada"]).status_code == 200


def test_another_site_cannot_start_a_restoration(http, photo):
    answer = http.post(
        "/page/restorations",
        files={"photo": ("a", photo)},
        headers={"origin": "https://elsewhere.example"},
    )

    assert answer.status_code == 403


def test_an_entry_whose_server_was_killed_says_so(tmp_path):
    entry = History(tmp_path).create({"kind": "restoration", "name": "a.png"})
    state = record(entry, running=False)

    assert state["state"] == "failed"
    assert "Try again" in state["error"]


def test_an_entry_waits_while_the_line_is_full():
    class Full:
        """Jobs whose line has room at the third try."""

        tries = 0

        async def run(self, client, work, *arguments):
            self.tries += 1
            if self.tries < 3:
                raise Problem(429, "full", headers={"retry-after": "0"})
            return work(*arguments)

    assert asyncio.run(in_turn(Full(), Account("ada"), max, 1, 2)) == 2


def test_the_pages_own_files_let_nothing_in_from_elsewhere(http):
    page = http.get("/")

    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "https://" not in page.text
    for path in ("/page.js", "/page.css", "/restore.js", "/compare.js", "/compare.css"):
        assert http.get(path).status_code == 200


def test_without_a_key_the_page_says_what_to_set(http):
    offer = http.get("/page/models").json()

    assert offer["ready"] is False
    assert "OPENAI_API_KEY" in offer["message"]


def test_the_price_shown_is_that_of_the_planned_edit(http):
    model = "gpt-image-2.6-sunburst"
    wish = {"kind": "edit", "model": model, "width": 1066, "height": 616}
    shown = http.get("/page/price", params=wish).json()
    service = connect(load({"OPENAI_API_KEY": "x"}), today=datetime.now(UTC).date())
    photo = images.from_array(np.full((616, 1066, 3), 0.5, np.float32))
    planned = generated.plan(photo, service, generated.PriorOptions(model=model, task="dehaze"))
    expected = load_tariff().estimate(planned.request)

    assert shown["size"] == planned.request.size
    assert shown["expected_usd"] == pytest.approx(expected.expected_usd, rel=0.03)


def test_the_price_counts_the_users_own_words(http):
    wish = {"kind": "generation", "model": "gpt-image-2.6-sunburst", "size": "1024x1024"}
    few, many = (
        http.get("/page/price", params={**wish, "prompt": words}).json()["expected_usd"]
        for words in ("a cat", "a cat " * 600)
    )

    assert many > few


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'{"prompt": ""}', b'{"prompt": "x", "model": "y", "n": 99}', b"1" * 10]
)
def test_wishes_for_pictures_that_make_no_sense_are_refused(http, body):
    answer = http.post("/page/generations", content=body)

    assert answer.status_code == 400
    assert set(answer.json()["error"]) >= {"message", "type", "param", "code"}


def test_an_empty_painting_is_refused_in_the_words_of_the_page(http, photo, prior):
    files = {"photo": ("x.png", photo), "prior": ("chat.png", prior)}
    entry = finished(http, http.post("/page/restorations", files=files).json())
    mask = images.encode(np.zeros((50, 75, 3), np.float32), format="png")
    http.post(f"/page/history/{entry['id']}/again", files={"mask": ("mask.png", mask)})

    assert finished(http, entry)["error"].startswith("mask: expected some white")
