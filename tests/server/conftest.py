"""What the tests of the server share: one running server, a photo, a prior."""

import httpx2
import numpy as np
import pytest

from commands import verax
from serving import serving
from verax import image as images
from verax.server.keys import ClientKeys


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


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("home")) as (address, _):
        yield address


@pytest.fixture
def server_process(tmp_path):
    """A server of the test's own: its address and its process."""
    with serving(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def guarded(tmp_path_factory):
    """A server whose clients need keys: its address and the keys of ada and bob."""
    home = tmp_path_factory.mktemp("guarded")
    clients = ClientKeys(home / "serve" / "clients.sqlite")
    keys = {name: {"authorization": f"Bearer {clients.add(name)}"} for name in ("ada", "bob")}
    clients.close()
    with serving(home) as (address, _):
        yield address, keys


@pytest.fixture
def http(server):
    with httpx2.Client(base_url=server, timeout=60) as client:
        yield client


@pytest.fixture
def verax_home():
    """Run `verax ARGS` with a home folder; gives what it printed."""

    def run(home, *args, expect=0):
        done = verax(*args, VERAX_HOME=home)
        assert done.returncode == expect, done.stderr
        return (done.stdout + done.stderr).strip()

    return run
