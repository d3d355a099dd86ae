"""A running `verax serve` as users run it: a process of its own on a free loopback port."""

import contextlib
import os
import re
import signal
import subprocess
import sys

import httpx2
import numpy as np
import pytest

from verax import image as images


@contextlib.contextmanager
def serving(home, *arguments, **environment):
    """The base address of a server that runs while the block does."""
    env = {**os.environ, "VERAX_HOME": str(home), **environment}
    command = [sys.executable, "-m", "verax", "serve", "--port", "0", *map(str, arguments)]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        found = re.search(r"http://[^/]+:(\d+)/", line)
        if not found:
            process.kill()
            raise AssertionError(f"the server did not start: {line}{process.stderr.read()}")
        address = f"http://127.0.0.1:{found[1]}"
        try:
            yield address, process
        finally:
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=30)
            assert "Traceback" not in log, log


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
def http(server):
    with httpx2.Client(base_url=server, timeout=60) as client:
        yield client
