"""Downloads resume, checksums bind, archives cannot leave their folder; the server is real."""

import hashlib
import io
import zipfile
from http.server import BaseHTTPRequestHandler

import httpx2
import pytest
from typer.testing import CliRunner

from loopback import loopback
from verax.cli import app
from verax.datasets import fetch
from verax.errors import InputError, RunError, SettingsError

BODY = bytes(range(256)) * 4000


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files` with ranges; `server.cut` says where the next answers break off."""

    def do_GET(self):
        body = self.server.files[self.path]
        tag = '"' + hashlib.sha256(body).hexdigest()[:8] + '"'
        span = self.headers.get("Range")
        self.server.asked.append(span)
        same = self.headers.get("If-Range") in (None, tag)
        start = int(span.removeprefix("bytes=").rstrip("-")) if span and same else 0
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + self.server.cut.pop(0) if self.server.cut else len(body)
        self.wfile.write(body[start:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with loopback(Handler, files={"/set.zip": BODY}, cut=[], asked=[]) as server:
        yield server


def get(server, folder, **options):
    address = f"http://127.0.0.1:{server.server_port}/set.zip"
    with httpx2.Client() as client:
        return fetch.download(
            address, folder / "set.zip", client=client, tell=lambda *_: None, **options
        )


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data in files.items():
            content.writestr(name, data)
    return buffer.getvalue()


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    server.cut = [300_000, 200_000]
    for _ in range(2):
        with pytest.raises(RunError, match="run the same command again"):
            get(server, tmp_path)

    assert get(server, tmp_path) == hashlib.sha256(BODY).hexdigest()
    assert (tmp_path / "set.zip").read_bytes() == BODY
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]
    assert [p.name for p in tmp_path.iterdir()] == ["set.zip"]


def test_a_file_that_changed_meanwhile_is_begun_anew(server, tmp_path):
    server.cut = [300_000]
    with pytest.raises(RunError):
        get(server, tmp_path)
    server.files["/set.zip"] = BODY[::-1]
    get(server, tmp_path)

    assert (tmp_path / "set.zip").read_bytes() == BODY[::-1]


def test_a_download_killed_at_its_last_byte_is_complete(server, tmp_path):
    (tmp_path / "set.zip.part").write_bytes(BODY)
    get(server, tmp_path)

    assert (tmp_path / "set.zip").read_bytes() == BODY


def test_a_wrong_checksum_is_refused(server, tmp_path):
    with pytest.raises(InputError, match="SHA-256"):
        get(server, tmp_path, sha256="0" * 64)


def test_numbered_places_are_written_out():
    assert fetch.expand("x/k{08..10}.png") == ["x/k08.png", "x/k09.png", "x/k10.png"]


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png", "C:/out.png"])
def test_no_archive_writes_outside_its_folder(tmp_path, name):
    (tmp_path / "bad.zip").write_bytes(zipped(**{"fine.png": b"x", name: b"x"}))

    with pytest.raises(InputError, match="inside the folder, but"):
        fetch.unpack(tmp_path / "bad.zip", tmp_path / "in")
    assert not (tmp_path / "in").exists()
    assert not (tmp_path / "out.png").exists()


def test_an_archive_that_swells_is_refused(tmp_path):
    data = zipped(**{f"{n}.png": bytes(30_000_000) for n in range(8)})
    (tmp_path / "bomb.zip").write_bytes(data)

    with pytest.raises(InputError, match="expected an archive of pictures"):
        fetch.unpack(tmp_path / "bomb.zip", tmp_path / "in")


def test_a_link_in_an_archive_is_refused(tmp_path):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as content:
        content.writestr(link, "/etc/passwd")

    with pytest.raises(InputError, match="link"):
        fetch.unpack(tmp_path / "link.zip", tmp_path / "in")


def test_a_cut_archive_is_refused(tmp_path):
    (tmp_path / "cut.zip").write_bytes(zipped(a=BODY)[:-60])

    with pytest.raises(InputError, match="zip"):
        fetch.unpack(tmp_path / "cut.zip", tmp_path)


def test_fetch_shows_the_licence_first_and_registers_what_it_unpacked(
    server, tmp_path, monkeypatch
):
    server.files["/set.zip"] = zipped(**{"in/a.png": _png(), "out/a.png": _png()})
    monkeypatch.setenv("VERAX_HOME", str(tmp_path))
    (tmp_path / "datasets.toml").write_text(
        '[mine]\ntitle="Mine"\ntask="fog"\nlicence="ask nicely"\nredistribute=true\n'
        'citation="me"\nhome=""\nfetch="direct"\nsplits={test=1}\n'
        f'places=["http://127.0.0.1:{server.server_port}/set.zip"]\n'
        'layouts=[{input="in/*", target="out/*"}]\n'
    )
    refused = CliRunner().invoke(app, ["data", "fetch", "mine"])
    assert isinstance(refused.exception, SettingsError)
    assert "ask nicely" in refused.output
    assert server.asked == []

    done = CliRunner().invoke(app, ["data", "fetch", "mine", "--yes"])
    assert done.exit_code == 0
    assert "--dataset mine" in done.output


def _png():
    import numpy as np

    from verax import image as images

    return images.encode(np.zeros((4, 4, 3), np.float32), format="png")
