"""What an attacker would try; each ends in a short error and a server that is well."""

import io
import socket
import struct
import zlib
from contextlib import suppress

import httpx2
import pytest


@pytest.fixture(autouse=True)
def well_afterwards(server):
    yield
    assert httpx2.get(f"{server}/healthz", timeout=5).status_code == 200


def raw(server, text, *, wait_s=20):
    """The first line of the answer to bytes sent as they are."""
    host, port = server.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait_s) as line:
        line.sendall(text)
        return line.recv(4096).split(b"\r\n")[0].decode()


def bomb(width, height):
    """A PNG of a few kB that promises width x height pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_by_its_header(http):
    answer = http.post(
        "/v1/images/edits",
        data={"model": "verax/local"},
        files={"image": ("p.png", bomb(60_000, 60_000))},
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "image_too_large")


def test_a_small_header_with_much_data_is_refused_by_the_worker(http):
    answer = http.post(
        "/v1/images/edits", data={"model": "verax/local"}, files={"image": ("p.png", bomb(64, 64))}
    )

    assert answer.status_code in (200, 400)


def test_ten_thousand_parts_are_refused_within_the_clients_patience(http):
    answer = http.post(
        "/v1/images/edits", files=[("image", (f"{i}.png", b"x")) for i in range(10_000)]
    )

    assert answer.status_code == 400


def test_a_field_that_is_too_long_is_refused(http, photo):
    answer = http.post(
        "/v1/images/edits",
        data={"model": "verax/local", "prompt": "x" * 2_000_000},
        files={"image": ("p.png", photo)},
    )

    assert answer.status_code == 400


def test_an_announced_oversize_body_is_refused_before_it_is_read(server):
    line = raw(
        server,
        b"POST /v1/images/edits HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 999999999999\r\n\r\n",
    )

    assert " 413 " in line


def test_an_oversize_body_without_length_is_stopped_while_it_comes(server):
    def endless():
        for _ in range(200):
            yield bytes(1_000_000)

    with httpx2.Client(timeout=60) as client:
        try:
            answer = client.post(
                f"{server}/v1/images/edits",
                content=endless(),
                headers={"content-type": "application/json"},
            )
            assert answer.status_code == 413
        except httpx2.HTTPError:
            pass  # the line was closed while we still sent: as good


@pytest.mark.slow
def test_a_trickling_body_is_cut(server):
    line = raw(
        server,
        b"POST /v1/images/edits HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
        wait_s=40,
    )

    assert " 408 " in line


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", ""])
def test_a_foreign_host_name_is_not_answered(server, host):
    line = raw(server, f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    assert " 421 " in line or " 400 " in line


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil"])
def test_a_post_from_another_site_is_refused(http, photo, origin):
    answer = http.post(
        "/v1/images/edits",
        data={"model": "verax/local"},
        files={"image": ("p.png", photo)},
        headers={"origin": origin},
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_origin")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/a.png",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://localhost.evil.example/a.png",
        "https://example.org/redirect",
        "file:///etc/passwd",
        "data:text/html;base64,aGk=",
    ],
)
def test_no_address_is_fetched(http, url):
    answer = http.post(
        "/v1/images/edits",
        json={"model": "verax/local", "prompt": "", "images": [{"image_url": url}]},
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image_url")


def test_a_file_id_is_refused_in_words(http):
    answer = http.post(
        "/v1/images/edits",
        json={"model": "verax/local", "prompt": "", "images": [{"file_id": "file-1"}]},
    )

    assert answer.status_code == 400


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\\..\\b.png", 'x"; evil=1', "ü\u202egnp.exe"]
)
def test_a_file_name_decides_nothing(http, photo, name):
    answer = http.post(
        "/v1/images/edits", data={"model": "verax/local"}, files={"image": (name, photo)}
    )

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body", [r'{"prompt": "\ud800"}', r'{"\ud800": 1}', r'{"prompt": "a\u0000b"}'],
    ids=["half a sign", "half a sign as a name", "nothing"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/images/generations", "/page/generations"])
def test_text_that_is_none_is_400(http, path, body):
    answer = http.post(path, content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 400
    assert set(answer.json()["error"]) >= {"message", "type", "param", "code"}


@pytest.mark.parametrize("kind", ["zTXt", "iCCP"])
def test_a_bomb_in_the_metadata_is_refused_or_harmless(http, kind):
    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    whole = bomb(64, 64)
    packed = b"a\0\0" + zlib.compress(bytes(300_000_000), 9)
    harmful = whole[:33] + chunk(kind.encode(), packed) + whole[33:]
    answer = http.post(
        "/v1/images/edits", data={"model": "verax/local"}, files={"image": ("p.png", harmful)}
    )

    assert answer.status_code in (200, 400)


def test_ten_thousand_fields_are_refused_within_the_clients_patience(http, photo):
    answer = http.post(
        "/v1/images/edits",
        data={f"field-{i}": "x" for i in range(10_000)},
        files={"image": ("p.png", photo)},
    )

    assert answer.status_code == 400


@pytest.mark.parametrize("body", ["", "[]", "null", "{", '{"prompt": 7}', "[" * 100_000])
def test_a_strange_json_body_is_400(http, body):
    answer = http.post(
        "/v1/images/edits", content=body, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 400


def test_a_zip_for_a_picture_is_refused(http):
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", bytes(1000))
    answer = http.post(
        "/v1/images/edits",
        data={"model": "verax/local"},
        files={"image": ("a.png", buffer.getvalue())},
    )

    assert answer.status_code == 400


def test_with_keys_configured_only_a_right_key_is_let_in(guarded, guarded_home, photo, verax_home):
    address, _ = guarded
    key = verax_home(guarded_home, "serve-key", "add", "alice")
    statuses = [
        httpx2.post(
            f"{address}/v1/images/edits",
            data={"model": "verax/local"},
            files={"image": ("p.png", photo)},
            headers=headers,
            timeout=60,
        ).status_code
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": key},
            {"authorization": f"Bearer {key}"},
        )
    ]
    contents = {}
    for path in (guarded_home / "serve").rglob("*"):
        with suppress(OSError):  # a folder, or a file of a finished call that is removed just now
            contents[path.name] = path.read_bytes()

    assert statuses == [401, 401, 401, 200]
    assert "clients.sqlite" in contents
    assert all(key.encode() not in data for data in contents.values())


def test_beyond_loopback_nothing_is_served_without_keys(tmp_path, verax_home):
    assert "serve-key add" in verax_home(tmp_path, "serve", "--host", "0.0.0.0", expect=2)
