"""A restoration is the same file whoever made it: the API, the command line, the page."""

import base64
import os
import subprocess
import sys
import time

import httpx2
import pytest

from provenance import certificates
from serving import serving
from verax import image as images
from verax.provenance import read

pytest.importorskip("c2pa", reason="needs the c2pa extra")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Certificate and key in the environment, as a user sets them."""
    certificate, key = certificates.write(tmp_path_factory.mktemp("keys"))
    return {"VERAX_C2PA_CERTIFICATE": str(certificate), "VERAX_C2PA_KEY": str(key)}


def by_api(client, photo, prior):
    pictures = [("image[]", ("a.png", photo)), ("image[]", ("b.png", prior))]
    answer = client.post(
        "/v1/images/edits", data={"model": "verax/local", "prompt": ""}, files=pictures
    )
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


def by_page(client, photo, prior):
    pictures = [("photo", ("a.png", photo)), ("prior", ("b.png", prior))]
    entry = client.post("/page/restorations", files=pictures).json()["id"]
    while (answer := client.get(f"/page/history/{entry}/file")).status_code == 409:
        time.sleep(0.1)
    return answer.content


def by_command(folder, photo, prior, environment):
    for name, data in (("a.png", photo), ("b.png", prior)):
        (folder / name).write_bytes(data)
    command = [sys.executable, "-m", "verax", "restore", "a.png", "--prior", "b.png", "-o", "r.png"]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return (folder / "r.png").read_bytes()


def files(tmp_path, photo, prior, **environment):
    with (
        serving(tmp_path / "home", **environment) as (address, _),
        httpx2.Client(base_url=address, timeout=60) as client,
    ):
        return {
            "api": by_api(client, photo, prior),
            "page": by_page(client, photo, prior),
            "command": by_command(tmp_path, photo, prior, environment),
        }


def test_every_way_writes_the_same_marks(tmp_path, photo, prior):
    made = files(tmp_path, photo, prior)

    marks = {way: images.decode(data).metadata.xmp for way, data in made.items()}
    assert b"restored by Verax" in marks["command"]
    assert b"compositeWithTrainedAlgorithmicMedia" in marks["command"]
    assert marks == dict.fromkeys(made, marks["command"])


def test_every_way_signs_with_the_same_certificate(tmp_path, photo, prior, keys):
    made = files(tmp_path, photo, prior, **keys)

    found = {way: read(data) for way, data in made.items()}
    kinds = {
        way: (one.state, [part.relationship for part in one.ingredients])
        for way, one in found.items()
    }
    assert kinds == dict.fromkeys(made, ("valid", ["parentOf", "componentOf"]))


def test_half_a_signature_stops_the_server_at_its_start(tmp_path, verax_home, keys, monkeypatch):
    monkeypatch.setenv("VERAX_C2PA_KEY", keys["VERAX_C2PA_KEY"])

    assert "signing needs both" in verax_home(tmp_path, "serve", "--port", "0", expect=2)
