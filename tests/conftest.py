"""What every test shares: a sealed network, no keys, the real pictures where they are."""

import os
import socket
import ssl
from pathlib import Path

import hypothesis
import pytest

from service.plugin import service  # noqa: F401  # a fixture for every folder

SHARED = Path(os.environ.get("VERAX_PICTURES", Path(__file__).parents[2] / "shared" / "data"))

ONE_SERVER = ("tests/server/test_page_", "tests/server/test_")  # the page in a browser; the rest

# The same examples on every machine: a red run can be repeated. `--hypothesis-seed` draws others.
hypothesis.settings.register_profile("house", derandomize=True)
hypothesis.settings.load_profile("house")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the long checks too")
    parser.addoption("--live", action="store_true", help="run tests that call paid services")


def pytest_collection_modifyitems(config, items):
    for mark in ("slow", "live"):
        if not config.getoption(f"--{mark}"):
            skip = pytest.mark.skip(reason=f"run with --{mark}")
            for item in items:
                if item.get_closest_marker(mark):
                    item.add_marker(skip)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """The tests of a file run in one process, so that what they share is made once.

    Files that share a server do, too. The mark xdist_group has no effect with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class FileScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return next((room for room in ONE_SERVER if file.startswith(room)), file)

    return FileScheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def one_certificate(request, tmp_path_factory):
    """A list of one certificate: each HTTP client reads all of the list, and no test needs it.

    But for pip, which the long checks run.
    """
    whole = (
        []
        if request.config.getoption("--slow")
        else ssl.create_default_context().get_ca_certs(True)
    )
    with pytest.MonkeyPatch.context() as patch:
        for certificate in whole[:1]:
            place = tmp_path_factory.mktemp("certificates") / "one.pem"
            place.write_text(ssl.DER_cert_to_PEM_cert(certificate))
            patch.setenv("SSL_CERT_FILE", str(place))
        yield


@pytest.fixture(autouse=True)
def sealed(monkeypatch, tmp_path_factory):
    """No test reaches beyond this machine, sees a key, or writes into the user's home."""
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_API_TOKEN")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("VERAX_HOME", str(tmp_path_factory.mktemp("verax_home")))
    connect = socket.socket.connect

    def local_only(self, address):
        if isinstance(address, tuple) and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            self.close()
            raise AssertionError(f"test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture(scope="session")
def pictures() -> Path:
    """The folder of real pictures; tests that need it skip where it is absent."""
    if not (SHARED / "manifest.csv").is_file():
        pytest.skip(f"no real pictures at {SHARED}; set VERAX_PICTURES to their folder")
    return SHARED
