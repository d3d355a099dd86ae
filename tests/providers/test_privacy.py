"""No key and no place in anything that a run leaves behind: journal, exports, logs, tracebacks."""

import base64
import io
import logging
import re
import struct
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from verax import image as images
from verax.cli import app
from verax.errors import VeraxError
from verax.priors import generated
from verax.providers.batch import Batches
from verax.providers.batch_table import plain
from verax.providers.budget import Budget, Pace, load_tariff
from verax.providers.images_api import connect
from verax.providers.journal import Desk, Journal
from verax.settings import load

KEY = "sk-proj-Zq8vT1nX4wL7cK2m"
LATITUDE = (48, 51, 29.604)  # degrees, minutes, seconds
LONGITUDE = (2, 17, 40.212)
XMP_PLACE = "48,51.4934N"
FAILURES = ["401", "500", "cut", "refuse:input", "refuse:output", "truncated", "half", "429:absurd"]


def traces():
    """The key and the place in every spelling they could be found in."""
    latitude = LATITUDE[0] + LATITUDE[1] / 60 + LATITUDE[2] / 3600
    seconds = struct.pack("<II", 29604, 1000), struct.pack(">II", 29604, 1000)
    texts = [KEY, XMP_PLACE, f"{latitude:.4f}", "29.604", "40.212", base64.b64encode(KEY.encode())]
    bodies = [text if isinstance(text, bytes) else text.encode() for text in texts]
    return [*bodies, *seconds, *(repr(one)[2:-1].encode() for one in seconds)]


def photo_with_a_place(path, seed):
    exif = Image.Exif()
    place = exif.get_ifd(0x8825)
    place[1], place[2], place[3], place[4] = "N", LATITUDE, "E", LONGITUDE
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
        'syntax-ns#"><rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
        f'exif:GPSLatitude="{XMP_PLACE}"/></rdf:RDF></x:xmpmeta>'
    )
    levels = np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(levels).save(path, "jpeg", exif=exif.tobytes(), xmp=xmp.encode())
    return path


@pytest.fixture
def photos(tmp_path):
    return [photo_with_a_place(tmp_path / f"{i}.jpg", i) for i in range(len(FAILURES) + 2)]


@pytest.fixture
def log(tmp_path, photos):
    """Everything any library logs from now on, in one file."""
    path = tmp_path / "everything.log"
    handler, root = logging.FileHandler(path), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield path
    root.removeHandler(handler)
    root.setLevel(level)
    handler.close()


def message_of(exc):
    """The traceback with the value of every local variable: what an error tracker would send."""
    whole = traceback.TracebackException.from_exception(exc, capture_locals=True)
    return "".join(whole.format()) + repr(exc)


def test_neither_key_nor_place_is_left_anywhere(service, tmp_path, photos, log, monkeypatch):
    monkeypatch.setenv("VERAX_API_KEY", KEY)
    monkeypatch.setenv("VERAX_BASE_URL", service.base_url)
    monkeypatch.setenv("VERAX_RETRIES", "0")
    settings = load()
    client = connect(settings, today=date(2026, 11, 20))
    reports = [repr(settings), repr(client), repr(client.transport)]
    service.script(FAILURES)

    with Journal(settings.home / "journal") as journal:
        budget = Budget(load_tariff(), "run", 5.0)
        desk = Desk(settings, client, journal, budget, Pace())

        def one(path):
            photo = images.read(path)
            try:
                choices = generated.PriorOptions(model="gpt-image-2", quality="low", task="dehaze")
                prior = generated.ask(photo, desk, choices)
                return repr(photo) + repr(prior.draft) + repr(prior.answer)
            except VeraxError as exc:
                return message_of(exc)

        with ThreadPoolExecutor(3) as threads:
            reports += threads.map(one, photos)
        draft = generated.plan(
            images.read(photos[0]), client, generated.PriorOptions(prompt="again")
        )
        request = plain(draft.request)
        batches = Batches(client, journal, Budget(load_tariff(batch=True), "batch"))
        batches.run([request], poll_s=0.0)
        reports += [repr(batches), repr(journal.records.select()), repr(request)]
    client.transport.close()
    verbs = ["list"], ["list", "--json"], ["show", "1"], ["export", str(tmp_path / "export")]
    reports += [CliRunner().invoke(app, ["journal", *verb]).output for verb in verbs]

    left = {path: path.read_bytes() for path in settings.home.rglob("*") if path.is_file()}
    left |= {path: path.read_bytes() for path in (tmp_path / "export").rglob("*")}
    left |= {log: log.read_bytes(), "reports": "\n".join(map(str, reports)).encode()}
    bodies = [base64.b64decode(one) for one in pictures_of(settings.home)]
    left["pictures"] = b"".join(bodies)
    names = [
        (str(where), trace) for where, data in left.items() for trace in traces() if trace in data
    ]

    assert len(bodies) > 2
    assert len(left) > 10
    assert all(trace in photos[0].read_bytes() for trace in (XMP_PLACE.encode(),))
    assert names == []


def pictures_of(home):
    for path in home.rglob("answers/*/*.json"):
        yield from re.findall(r'"b64_json": ?"([^"]+)"', path.read_text(encoding="utf-8"))


def test_the_photo_that_is_sent_carries_no_metadata(service, tmp_path, monkeypatch):
    settings = load({"VERAX_BASE_URL": service.base_url, "VERAX_API_KEY": KEY})
    client = connect(settings, today=date(2026, 11, 20))
    photo = images.read(photo_with_a_place(tmp_path / "a.jpg", 0))
    draft = generated.plan(photo, client, generated.PriorOptions(prompt="x"))
    client.transport.close()
    with Image.open(io.BytesIO(draft.request.images[0].data)) as sent:
        carried = set(sent.info)

    assert carried == set()
