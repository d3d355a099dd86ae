"""What tests of asking share: small pictures, requests, and a client of the test service."""

import io
from dataclasses import replace
from datetime import date
from functools import partial

import numpy as np
import pytest
from PIL import Image

from verax.providers import EditRequest, ImageFile
from verax.providers.budget import Budget, Pace, load_tariff
from verax.providers.images_api import connect
from verax.providers.journal import Desk, Journal
from verax.providers.transport import Transport
from verax.settings import load

TODAY = date(2026, 11, 20)
KEY = "sk-proj-abcdefghij0123456789"


def repeated(request, index):
    """The same request as repetition number `index`, with its own fingerprint and answer."""
    return replace(request, repeat_index=index)


def png(width=96, height=72, mode="RGB", seed=3):
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (8, 8, len(mode)), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).resize((width, height)).save(buffer, "png")
    return buffer.getvalue()


def mask(width=96, height=72):
    levels = np.full((height, width, 4), 255, np.uint8)
    levels[: height // 2, :, 3] = 0
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "png")
    return ImageFile(buffer.getvalue(), "mask.png")


def edit(**fields):
    given = {"model": "gpt-image-2.6-sunburst", "prompt": "remove the haze", "size": "1024x768"}
    given |= {"quality": "low", "images": (ImageFile(png(), "photo.png"),)}
    return EditRequest(**(given | fields))


class Forgetting:
    """Keeps nothing: for tests of the client alone."""

    def __call__(self, body):
        pass

    def picture(self, link, fetch):
        return fetch(link)


def ask(client, request):
    """Prepare and send once, without a journal."""
    prepared, notices = client.prepare(request)
    answer = client.send(prepared, Forgetting())
    return replace(answer, notices=(*notices, *answer.notices))


@pytest.fixture
def waits():
    """The seconds that the client wanted to wait; nobody waits."""
    return []


@pytest.fixture
def connected(tmp_path, waits):
    """connected(base_url, **settings) -> Client; `environ` adds variables of other names."""
    clients = []

    def build(base_url, *, today=TODAY, environ=None, **settings):
        named = {f"VERAX_{name.upper()}": str(value) for name, value in settings.items()}
        usual = {"VERAX_HOME": str(tmp_path), "VERAX_BASE_URL": base_url, "OPENAI_API_KEY": KEY}
        transport = partial(Transport, sleep=waits.append)
        clients.append(
            connect(load(usual | named | (environ or {})), today=today, transport=transport)
        )
        return clients[-1]

    yield build
    for client in clients:
        client.transport.close()


@pytest.fixture
def client(service, connected):
    return connected(service.base_url, stream="never")


@pytest.fixture
def desk(client, tmp_path):
    """The same client with a journal in front of it."""
    with Journal(tmp_path / "journal") as journal:
        home = load({"VERAX_HOME": str(tmp_path)})
        yield Desk(home, client, journal, Budget(load_tariff(), "run"), Pace())
