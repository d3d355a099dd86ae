"""Pictures by address: only from named hosts, never from a private network however hidden."""

import contextlib
import ipaddress
from http.server import BaseHTTPRequestHandler

import pytest

from loopback import loopback
from verax.server import Problem
from verax.server.api.intake import fetch, is_allowed, is_public

HOSTS = frozenset({"pictures.example", "pictures.example:8080"})


class Pictures(BaseHTTPRequestHandler):
    """Says what its path names."""

    def do_GET(self):
        name = self.path.strip("/")
        self.server.requests.append((name, self.headers["host"]))
        self.send_response(302 if name == "moved" else 200)
        if name == "moved":
            self.send_header("location", "http://169.254.169.254/latest/meta-data")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for _ in range(2000 if name == "endless" else 0):
                self.wfile.write(bytes(100_000))
            self.wfile.write(b"picture")

    def log_message(self, *_):
        pass


@pytest.fixture
def place():
    """A server on loopback; its port and the requests it got."""
    with loopback(Pictures, requests=[]) as server:
        yield server


def fetched(place, tmp_path, path="a.png", *, name="pictures.example", permitted=lambda _: True):
    """What is fetched from a name that leads to loopback."""
    url = f"http://{name}:{place.server_port}/{path}"
    hosts = {f"pictures.example:{place.server_port}"}
    target = tmp_path / "fetched"
    fetch(url, target, hosts, resolve=lambda *_: ["127.0.0.1"], permitted=permitted)
    return target.read_bytes()


def test_a_picture_on_a_named_host_is_fetched_under_its_name(place, tmp_path):
    assert fetched(place, tmp_path) == b"picture"
    assert place.requests == [("a.png", f"pictures.example:{place.server_port}")]


@pytest.mark.parametrize(
    ("path", "name", "permitted", "why"),
    [
        ("a.png", "pictures.example", is_public, "private network"),
        ("a.png", "elsewhere.example", lambda _: True, "does not download pictures from"),
        ("a.png", "me@pictures.example", lambda _: True, "does not download pictures from"),
        ("moved", "pictures.example", lambda _: True, "redirect"),
        ("endless", "pictures.example", lambda _: True, "too large"),
    ],
    ids=["private", "unnamed host", "credentials", "redirect", "endless"],
)
def test_everything_else_is_refused(place, tmp_path, path, name, permitted, why):
    with pytest.raises(Problem, match=why) as caught:
        fetched(place, tmp_path, path, name=name, permitted=permitted)

    assert (caught.value.status, caught.value.code) == (400, "invalid_image_url")
    assert [path for path, _ in place.requests if path == "a.png"] == []


def test_a_name_with_one_private_address_among_public_ones_is_refused(tmp_path):
    def resolve(*_):
        return ["93.184.216.34", "10.0.0.1"]

    with pytest.raises(Problem, match="private network"):
        fetch("https://pictures.example/a", tmp_path / "a", HOSTS, resolve=resolve)


def test_a_name_is_looked_up_once(place, tmp_path):
    """A name service that answers differently the second time (rebinding) is not asked again."""
    answers = iter([["127.0.0.1"]])
    url = f"http://pictures.example:{place.server_port}/a.png"
    hosts = {f"pictures.example:{place.server_port}"}

    fetch(url, tmp_path / "a", hosts, resolve=lambda *_: next(answers), permitted=lambda _: True)

    assert (tmp_path / "a").read_bytes() == b"picture"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "::1",
     "100.64.0.1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
     "224.0.0.1", "255.255.255.255", "::127.0.0.1"],
)  # fmt: skip
def test_addresses_that_are_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_addresses_that_are_public(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://pictures.example/a.png", True),
        ("https://pictures.example:443/a.png", True),
        ("https://PICTURES.example/a.png", True),
        ("http://pictures.example:8080/a.png", True),
        ("https://pictures.example:22/", False),
        ("https://pictures.example.evil/", False),
        ("https://evil/pictures.example", False),
        ("https://me:secret@pictures.example/", False),
        ("https://pictures.example@evil/", False),
        ("ftp://pictures.example/", False),
        ("file:///pictures.example", False),
        ("https://pictures.example:x/", False),
        ("//pictures.example/", False),
        ("https://[::1]/", False),
    ],
)
def test_which_addresses_may_be_called(url, allowed):
    assert is_allowed(url, HOSTS) is allowed
