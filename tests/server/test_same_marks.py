"""A restoration is the same file whoever made it: the API, the command line, the page."""

import base64
import time
from pathlib import Path

import httpx2
import pytest

from commands import verax
from provenance import certificates
from service.plugin import running_service
from serving import serving
from verax import image as images
from verax.provenance import SourceFile, load_credentials, read, sign

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
    words = ("restore", "a.png", "--prior", "b.png", "-o", "r.png")
    done = verax(*words, cwd=folder, **environment)
    assert done.returncode == 0, done.stderr
    return (folder / "r.png").read_bytes()


def files(tmp_path, address, photo, prior, **environment):
    with httpx2.Client(base_url=address, timeout=60) as client:
        return {
            "api": by_api(client, photo, prior),
            "page": by_page(client, photo, prior),
            "command": by_command(tmp_path, photo, prior, environment),
        }


@pytest.fixture(scope="module")
def signing(keys, tmp_path_factory):
    """A server that signs, and the paid service behind it, whose answers are signed as well."""
    credentials = load_credentials(*(Path(path) for path in keys.values()))
    environment = {**keys, "VERAX_API_KEY": "sk-test-not-a-real-key"}
    home = tmp_path_factory.mktemp("signing")
    with (
        running_service(tmp_path_factory.mktemp("service")) as service,
        serving(home, "--base-url", service.base_url, **environment) as (address, _),
    ):
        service.state.finish = lambda data: sign(data, SourceFile(data, "x.png"), None, credentials)
        yield address


def test_every_way_writes_the_same_marks(tmp_path, server, photo, prior):
    data_by_way = files(tmp_path, server, photo, prior)

    marks = {way: images.decode(data).metadata.xmp for way, data in data_by_way.items()}
    assert b"restored by Verax" in marks["command"]
    assert b"compositeWithTrainedAlgorithmicMedia" in marks["command"]
    assert marks == dict.fromkeys(data_by_way, marks["command"])


def test_every_way_signs_with_the_same_certificate(tmp_path, signing, photo, prior, keys):
    data_by_way = files(tmp_path, signing, photo, prior, **keys)

    manifests = {way: read(data) for way, data in data_by_way.items()}
    kinds = {
        way: (one.state, [part.relationship for part in one.ingredients])
        for way, one in manifests.items()
    }
    assert kinds == dict.fromkeys(data_by_way, ("valid", ["parentOf", "componentOf"]))


MODEL = "gpt-image-2.6-flare"


def priced_edit(client, photo):
    """A faithful edit of a paid model by the API, and by the page."""
    form = {"model": f"verax/{MODEL}", "prompt": "brighten"}
    answer = client.post("/v1/images/edits", data=form, files=[("image", ("a.png", photo))])
    yield base64.b64decode(answer.json()["data"][0]["b64_json"])
    form, files = {"model": MODEL, "prompt": "darken"}, [("photo", ("a.png", photo))]
    entry = client.post("/page/restorations", data=form, files=files).json()["id"]
    while (answer := client.get(f"/page/history/{entry}/file")).status_code == 409:
        time.sleep(0.1)
    yield answer.content


def test_the_credentials_of_a_paid_answer_stay_inside_the_restoration(signing, photo):
    with httpx2.Client(base_url=signing, timeout=60) as client:
        for data in priced_edit(client, photo):
            manifest = read(data)

            assert manifest.state == "valid"
            parts = [(part.relationship, part.has_manifest) for part in manifest.ingredients]
            assert parts == [("parentOf", False), ("componentOf", True)]


def test_half_a_signature_stops_the_server_at_its_start(tmp_path, verax_home, keys, monkeypatch):
    monkeypatch.setenv("VERAX_C2PA_KEY", keys["VERAX_C2PA_KEY"])

    assert "found only one; set both" in verax_home(tmp_path, "serve", "--port", "0", expect=2)
