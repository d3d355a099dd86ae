"""Content Credentials: what is signed reads back, what would be lost is said."""

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from commands import invoke
from provenance import certificates
from verax import image as images
from verax.errors import InputError, MissingExtraError, SettingsError
from verax.provenance import SourceFile, has_manifest, load_credentials, read, sign
from verax.provenance.statement import BESIDE, mark_xmp, read_statement, seal, would_drop

c2pa = pytest.importorskip("c2pa", reason="needs the c2pa extra")

TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def file(format="png", seed=0, **options):
    levels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def credentials(tmp_path_factory):
    return load_credentials(*certificates.write(tmp_path_factory.mktemp("keys")))


@pytest.fixture(scope="session")
def generated(credentials):
    """A generator's PNG with its own manifest, as the image services make them."""
    actions = [
        {
            "action": "c2pa.created",
            "digitalSourceType": TRAINED,
            "softwareAgent": {"name": "gpt-image"},
        }
    ]
    claim = {
        "claim_generator_info": [{"name": "OpenAI-API"}],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions, "allActionsIncluded": True}}
        ],
    }
    info = c2pa.C2paSignerInfo(b"es256", credentials.certificates, credentials.key, None)
    settings = {"builder": {"thumbnail": {"enabled": False}}}
    signed = io.BytesIO()
    with (
        c2pa.Context.from_dict(settings) as context,
        c2pa.Builder(claim, context) as builder,
        c2pa.Signer.from_info(info) as signer,
    ):
        builder.sign(signer, "image/png", io.BytesIO(file(seed=1)), signed)
    return signed.getvalue()


@pytest.fixture(scope="session")
def signed(credentials, generated):
    photo = SourceFile(file("jpeg", seed=2), "scan.jpg")
    return sign(file(seed=3), photo, SourceFile(generated, "prior.png"), credentials)


def validated(data, anchors=None):
    """The official reader's whole report."""
    settings = {"verify": {"remote_manifest_fetch": False}}
    if anchors:
        settings = {"verify": {"verify_trust": True}, "trust": {"trust_anchors": anchors}}
    with (
        c2pa.Context.from_dict(settings) as context,
        c2pa.Reader("image/png", io.BytesIO(data), context=context) as reader,
    ):
        return json.loads(reader.json())


def test_a_signed_restoration_is_valid_with_photo_as_parent_and_prior_as_component(signed):
    report = validated(signed)
    active = report["manifests"][report["active_manifest"]]

    assert report["validation_state"] == "Valid"
    assert [(one["title"], one["relationship"]) for one in active["ingredients"]] == [
        ("scan.jpg", "parentOf"),
        ("prior.png", "componentOf"),
    ]


def test_the_actions_are_opened_placed_edited_and_all_are_told(signed):
    report = validated(signed)
    (assertion,) = report["manifests"][report["active_manifest"]]["assertions"]
    actions = assertion["data"]["actions"]

    assert assertion["data"]["allActionsIncluded"] is True
    assert [one["action"] for one in actions] == ["c2pa.opened", "c2pa.placed", "c2pa.edited"]
    assert actions[2]["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert "digitalSourceType" not in actions[0]


def test_with_the_root_as_anchor_the_signer_is_trusted(credentials, generated):
    root = credentials.certificates.decode().split("-----END CERTIFICATE-----\n")[1]
    data = sign(file(), SourceFile(file("jpeg"), "a.jpg"), None, credentials)

    report = validated(data, anchors=root + "-----END CERTIFICATE-----\n")

    assert report["validation_state"] == "Trusted"


def test_our_reader_says_what_the_manifest_says(signed):
    manifest = read(signed)

    assert manifest.state == "valid"
    assert manifest.generator.startswith("Verax ")
    assert (manifest.issuer, manifest.signer) == ("Verax test", "Test signer")
    assert manifest.actions[0].name == "c2pa.opened"
    assert [(one.title, one.has_manifest) for one in manifest.ingredients] == [
        ("scan.jpg", False),
        ("prior.png", True),
    ]
    assert manifest.problems == ("signingCredential.untrusted",)


def test_the_generators_own_manifest_is_kept_inside(signed):
    generators = [
        one["claim_generator_info"][0]["name"] for one in validated(signed)["manifests"].values()
    ]

    assert sorted(generators) == ["OpenAI-API", "Verax"]


def test_without_a_prior_nothing_is_called_generated(credentials):
    manifest = read(sign(file(), SourceFile(file("jpeg"), "a.jpg"), None, credentials))

    assert [action.source for action in manifest.actions] == ["", "algorithmicallyEnhanced"]


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "avif"])
def test_signing_leaves_pixels_and_metadata_alone(credentials, format):
    plain = file(format)
    done = sign(plain, SourceFile(file("jpeg"), "a.jpg"), None, credentials)

    assert read(done).state == "valid"
    np.testing.assert_array_equal(images.decode(done).pixels, images.decode(plain).pixels)


def test_a_signature_adds_little(signed, generated):
    assert len(signed) - len(file(seed=3)) < 40_000


def test_one_changed_byte_is_found(signed):
    changed = bytearray(signed)
    changed[-40] ^= 1
    manifest = read(bytes(changed))

    assert manifest.state == "invalid"
    assert "assertion.dataHash.mismatch" in manifest.problems


def test_a_plain_file_has_none(tmp_path):
    assert read(file()).state == "absent"
    assert would_drop(file()) is None


def test_saving_a_generators_picture_anew_would_drop_its_manifest(generated):
    again = images.encode(images.decode(generated).pixels, format="png")

    assert has_manifest(generated)
    assert not has_manifest(again)
    assert "carries Content Credentials by OpenAI-API (valid)" in would_drop(generated)


def test_without_the_extra_a_manifest_is_still_seen(generated, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    manifest = read(generated)

    assert manifest.state == "unread"
    assert "verax[c2pa]" in manifest.problems[0] or "c2pa-python" in manifest.problems[0]
    assert "carries Content Credentials" in would_drop(generated)


def test_signing_without_the_extra_names_it(credentials, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)

    with pytest.raises(MissingExtraError, match=r"verax\[c2pa|c2pa-python"):
        sign(file(), SourceFile(file("jpeg"), "a.jpg"), None, credentials)


def test_a_cut_manifest_is_unreadable_not_a_crash(generated):
    assert read(generated[: len(generated) // 2]).state == "unreadable"


def test_a_file_that_cannot_carry_a_manifest_is_refused(credentials):
    with pytest.raises(InputError, match="expected a PNG, JPEG"):
        sign(file("bmp"), SourceFile(file("jpeg"), "a.jpg"), None, credentials)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=["P-256", "P-384"])
def test_the_algorithm_follows_from_the_key(tmp_path, curve):
    credentials = load_credentials(*certificates.write(tmp_path, curve=curve))
    manifest = read(sign(file(), SourceFile(file("jpeg"), "a.jpg"), None, credentials))

    assert manifest.state == "valid"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda f: (certificates.write(f / "a")[0], certificates.write(f / "b")[1]),
            "got another key",
        ),
        (lambda f: certificates.write(f, days=-1), "is valid from"),
        (lambda f: certificates.write(f, password=b"x"), "without passphrase"),
        (lambda f: (f / "none.pem", f / "none.pem"), "cannot read"),
    ],
    ids=["foreign key", "expired", "passphrase", "missing"],
)
def test_credentials_that_cannot_sign_are_refused_at_once(tmp_path, make, message):
    with pytest.raises(SettingsError, match=message):
        load_credentials(*make(tmp_path))


def test_the_key_is_not_shown(credentials):
    assert "PRIVATE" not in repr(credentials)


def written(tmp_path, photo):
    path = tmp_path / "restored.png"
    images.write(path, images.decode(photo).pixels)
    return path


def test_what_a_photo_loses_is_told_and_written_beside(tmp_path, generated):
    path = written(tmp_path, generated)
    notices = seal(path, SourceFile(generated, "photo.png"), None)
    record, fits = read_statement(path)

    assert "photo.png carries Content Credentials by OpenAI-API" in notices[0]
    assert fits
    assert record["signed"] is False
    assert record["photo"]["credentials"]["generator"] == "OpenAI-API"
    assert "does not make it a plain photo" in record["note"]


def test_a_statement_does_not_fit_a_file_that_was_changed(tmp_path, generated):
    path = written(tmp_path, generated)
    seal(path, SourceFile(generated, "photo.png"), None)
    path.write_bytes(file(seed=9))

    assert read_statement(path)[1] is False


def test_nothing_is_written_beside_where_nothing_is_lost(tmp_path):
    path = written(tmp_path, file())

    assert seal(path, SourceFile(file("jpeg"), "a.jpg"), SourceFile(file(), "b.png")) == ()
    assert [one.name for one in tmp_path.iterdir()] == ["restored.png"]


def test_sealing_with_credentials_keeps_the_foreign_manifest(tmp_path, generated, credentials):
    path = written(tmp_path, generated)
    notices = seal(path, SourceFile(generated, "photo.png"), None, credentials=credentials)
    manifest = read(path.read_bytes())

    assert notices == ()
    assert manifest.state == "valid"
    assert [(one.relationship, one.has_manifest) for one in manifest.ingredients] == [
        ("parentOf", True)
    ]
    assert not path.with_name(path.name + BESIDE).exists()


def test_a_photos_place_enters_neither_manifest_nor_statement(tmp_path, credentials):
    exif = Image.Exif()
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 29.6)
    exif.get_ifd(0x8825)[0x1D] = "2019:07:14"
    photo = SourceFile(file("jpeg", exif=exif.tobytes()), "a.jpg")
    path = written(tmp_path, file())
    seal(path, photo, None, credentials=credentials)

    assert b"2019:07:14" in photo.data
    assert b"2019:07:14" not in path.read_bytes()


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" '
    b'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    b'Iptc4xmpExt:DigitalSourceType="digitalCapture" dc:format="kept"/></rdf:RDF></x:xmpmeta>'
)


def with_xmp(xmp):
    photo = images.decode(file())
    return replace(photo, metadata=replace(photo.metadata, xmp=xmp))


@pytest.mark.parametrize("xmp", [None, XMP], ids=["none before", "one before"])
def test_the_xmp_of_a_restoration_says_that_a_model_had_a_hand_in_it(tmp_path, xmp):
    photo = mark_xmp(with_xmp(xmp), prior=True, system="gpt-image-2.6-sunburst")
    images.write(tmp_path / "a.png", photo.pixels, like=photo)
    packet = images.read(tmp_path / "a.png").metadata.xmp.decode()

    assert packet.count("DigitalSourceType=") == 1
    assert "compositeWithTrainedAlgorithmicMedia" in packet
    assert 'AISystemUsed="gpt-image-2.6-sunburst"' in packet
    assert ("kept" in packet) == (xmp is not None)


def test_an_xmp_packet_that_cannot_be_parsed_is_left_alone():
    photo = with_xmp(b"<x:xmpmeta>not closed")

    assert mark_xmp(photo, prior=True) is photo


def test_marking_twice_changes_nothing_more():
    once = mark_xmp(with_xmp(XMP), prior=True)

    assert mark_xmp(once, prior=True).metadata.xmp.count(b"DigitalSourceType=") == 1


def verax(*words):
    return invoke("provenance", *words).stdout


def test_the_verb_tells_a_signed_file(tmp_path, signed):
    (tmp_path / "a.png").write_bytes(signed)
    text = verax(str(tmp_path / "a.png"))

    assert "Content Credentials, valid" in text
    assert "action     c2pa.edited compositeWithTrainedAlgorithmicMedia with Verax" in text
    assert "made from  prior.png (componentOf, with credentials of its own)" in text
    assert "signed by  Test signer, Verax test" in text


def test_the_verb_says_that_absence_proves_nothing(tmp_path):
    (tmp_path / "a.png").write_bytes(file())
    text = verax(str(tmp_path / "a.png"))

    assert "no Content Credentials" in text
    assert "prove nothing" in text


def test_the_verb_tells_what_the_xmp_says(tmp_path):
    photo = mark_xmp(with_xmp(XMP), prior=True)
    images.write(tmp_path / "a.png", photo.pixels, like=photo)
    images.write(tmp_path / "b.jpg", photo.pixels, like=with_xmp(XMP))

    assert "says: compositeWithTrainedAlgorithmicMedia" in verax(str(tmp_path / "a.png"))
    assert "says: digitalCapture" in verax(str(tmp_path / "b.jpg"))


def test_the_verb_finds_the_statement_beside(tmp_path, generated):
    path = written(tmp_path, generated)
    seal(path, SourceFile(generated, "photo.png"), None)

    assert "a statement beside it, unsigned, says: made by Verax" in verax(str(path))
    assert json.loads(verax(str(path), "--json"))["statement_fits"] is True
