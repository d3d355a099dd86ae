"""What the tests of the server share: one running server, a photo, a prior."""

import httpx2
import numpy as np
import pytest

from browser import chromium
from commands import verax
from service.plugin import running_service
from serving import serving, serving_here
from verax import image as images
from verax.server.access import ClientKeys


@pytest.fixture(scope="session")
def scene():
    from skimage import data

    return images.from_uint8(np.ascontiguousarray(data.coffee()[::4, ::4]))


@pytest.fixture(scope="session")
def photo(scene):
    """A dark photo as PNG bytes, 150 x 100."""
    return images.encode(np.asarray(scene * 0.3, np.float32), format="png")


@pytest.fixture(scope="session")
def prior(scene):
    return images.encode(scene, format="png")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server for whoever needs no other: its address. What others left in it is still there."""
    with serving(tmp_path_factory.mktemp("home")) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser():
    """One for a file: its driver keeps an event loop running, which no other file should meet."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def page_server(tmp_path_factory):
    """A server for the journeys alone, which count what it holds, and leave nothing in it.

    It lies under a path; those of `test_page_browser` and the one that is killed do not.
    """
    with serving(tmp_path_factory.mktemp("page"), "--root-path", "/verax") as (address, _):
        yield address


@pytest.fixture
def server_process(tmp_path):
    """A server of the test's own: its address and its process."""
    with serving(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def guarded_home(tmp_path_factory):
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="session")
def guarded(guarded_home):
    """A server whose clients need keys: its address and the keys of ada and bob."""
    clients = ClientKeys(guarded_home / "serve" / "clients.sqlite")
    keys = {name: {"authorization": f"Bearer {clients.add(name)}"} for name in ("ada", "bob")}
    clients.close()
    with serving_here(guarded_home) as address:
        yield address, keys


@pytest.fixture(scope="session")
def http(server):
    """One client for all: each would read the list of certificates again."""
    with httpx2.Client(base_url=server, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def paid(tmp_path_factory):
    """A paid service, and the address of a gateway in front of it."""
    with (
        running_service(tmp_path_factory.mktemp("service")) as service,
        serving(
            tmp_path_factory.mktemp("home"),
            *("--base-url", service.base_url),
            VERAX_API_KEY="sk-test-not-a-real-key",
        ) as (address, _),
    ):
        yield service, address


@pytest.fixture
def verax_home():
    """Run `verax ARGS` with a home folder; gives what it printed."""

    def run(home, *args, expect=0):
        done = verax(*args, VERAX_HOME=home)
        assert done.returncode == expect, done.stderr
        return (done.stdout + done.stderr).strip()

    return run
