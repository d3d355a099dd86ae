"""Content Credentials (C2PA): read them from a picture, and sign a restoration with them.

Reading uses no network; a manifest that is stored elsewhere is not fetched. A valid signature shows
that the file was not changed after signing; who signed it is not checked against a trust list.

Signing uses the user's own certificate and follows C2PA 2.2 and 2.4. The manifest names the photo
as parent (`c2pa.opened`) and the prior as component (`c2pa.placed`), and says whether a trained
model was used (`c2pa.edited`). It includes the manifests of photo and prior, but no thumbnails and
no time stamp. The module `statement` is for restorations that are not signed.
"""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from verax import __version__
from verax.errors import InputError, OutputError, SettingsError, missing_extra
from verax.image.header import MEDIA_TYPES, format_of_bytes

SignatureState = Literal["absent", "valid", "trusted", "invalid", "unreadable", "unread"]

# start of a C2PA manifest store, the same bytes in every file format (C2PA 2.2, A.3)
MARK = b"jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71"
CARRIERS = {name: MEDIA_TYPES[name] for name in ("png", "jpeg", "webp", "tiff", "avif", "heif")}
_REMOTE = b"dcterms:provenance"  # XMP property with the address of a manifest stored elsewhere
FAILED = "signing failed ({}); the file is not signed; check the certificate and the private key"
SETTINGS = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}


@dataclass(frozen=True, slots=True)
class Action:
    """One step in the making of a picture, as its manifest states it.

    Attributes:
        name: name of the step in C2PA, such as "c2pa.created" or "c2pa.edited".
        source: its IPTC digital source type, such as "trainedAlgorithmicMedia"; "" if not stated.
        agent: the software that did this step; "" if not stated.
    """

    name: str
    source: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A picture that was used to make another one. `relationship` is its role there: "parentOf",
    "componentOf" or another word of C2PA; `has_manifest`: whether it had a C2PA manifest itself."""

    title: str
    relationship: str
    has_manifest: bool


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the C2PA manifest of a file says.

    Attributes:
        state: "absent" (no manifest); "valid" (unchanged since signing); "trusted" (valid, and its
            signer is on a trust list); "invalid" (changed after signing, or failed another check);
            "unreadable"; "unread" (the package that reads manifests is not installed).
        generator: the software that wrote the manifest, with its version.
        issuer, signer, signed_at: the certificate's issuer and owner, the time; "" if not stated.
        actions, ingredients: the steps of making the picture, and the pictures that it is made of.
        problems: C2PA's codes of failed checks, or why the manifest could not be read.
    """

    state: SignatureState
    generator: str = ""
    issuer: str = ""
    signer: str = ""
    signed_at: str = ""
    actions: tuple[Action, ...] = ()
    ingredients: tuple[Ingredient, ...] = ()
    problems: tuple[str, ...] = ()


def has_manifest(data: bytes) -> bool:
    """Whether a C2PA manifest is embedded in a file with these bytes. Needs no extra package."""
    return MARK in data


def names_remote_manifest(data: bytes) -> bool:
    """Whether the XMP in the bytes of a file names a C2PA manifest that is stored elsewhere."""
    return _REMOTE in data


def source_in_xmp(data: bytes) -> str:
    """The IPTC digital source type in a file's XMP (unsigned), such as "digitalCapture", or ""."""
    match = re.search(rb"DigitalSourceType(?:\s*=\s*[\"']|>\s*)([^\"'<>\s]{1,200})", data)
    return match[1].decode("ascii", "replace").rpartition("/")[2] if match else ""


def read(data: bytes) -> Provenance:
    """Read the C2PA manifest in a file's bytes; if this fails, `state` and `problems` say why."""
    if not has_manifest(data):
        return Provenance("absent")
    try:
        import c2pa
    except ImportError:
        return Provenance("unread", problems=(str(missing_extra("Reading C2PA", "c2pa")),))
    try:
        with (
            c2pa.Context.from_dict(SETTINGS) as context,
            c2pa.Reader(media_type(data), io.BytesIO(data), context=context) as reader,
        ):
            return _provenance(json.loads(reader.json()))
    except (c2pa.C2paError, ValueError) as exc:
        return Provenance("unreadable", problems=(str(exc),))


def media_type(data: bytes) -> str:
    """The media type of a file's bytes, such as "image/png"; "" if C2PA cannot be stored in it."""
    return CARRIERS.get(format_of_bytes(data), "")


def _provenance(store: Mapping[str, Any]) -> Provenance:
    manifest = store["manifests"][store["active_manifest"]]
    results = store.get("validation_results", {}).get("activeManifest", {})
    signature = manifest.get("signature_info", {})
    state = str(store.get("validation_state", "Invalid")).lower()
    return Provenance(
        state=state if state in ("valid", "trusted") else "invalid",  # type: ignore[arg-type]
        generator=_generator(manifest),
        issuer=signature.get("issuer", ""),
        signer=signature.get("common_name", ""),
        signed_at=signature.get("time", ""),
        actions=tuple(_actions(manifest)),
        ingredients=tuple(
            Ingredient(p.get("title", ""), p.get("relationship", ""), "active_manifest" in p)
            for p in manifest.get("ingredients", [])
        ),
        problems=tuple(dict.fromkeys(entry["code"] for entry in results.get("failure", []))),
    )


def _generator(manifest: Mapping[str, Any]) -> str:
    generator = (manifest.get("claim_generator_info") or [{}])[0]
    name = generator.get("name") or manifest.get("claim_generator", "")
    return f"{name} {generator.get('version', '')}".strip()


def _actions(manifest: Mapping[str, Any]) -> list[Action]:
    actions = []
    for assertion in manifest.get("assertions", []):
        if assertion.get("label", "").startswith("c2pa.actions"):
            for one in assertion.get("data", {}).get("actions", []):
                agent = one.get("softwareAgent", "")
                agent = agent.get("name", "") if isinstance(agent, dict) else agent
                source = one.get("digitalSourceType", "").rpartition("/")[2]
                actions.append(Action(one.get("action", ""), source, agent))
    return actions


SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
WITH_PRIOR = f"{SOURCE}compositeWithTrainedAlgorithmicMedia"
WITHOUT_PRIOR = f"{SOURCE}algorithmicallyEnhanced"
DESCRIPTION = "restored with tone or texture of a generated picture, registered to the photo"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is needed to sign: the certificate chain (PEM, the signer's first), the private key
    (PEM), and the signature algorithm in C2PA's notation, such as "es256"."""

    certificates: bytes
    key: bytes = field(repr=False)
    algorithm: str = "es256"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """The photo or prior from which a restoration was made: the file's bytes and its name."""

    data: bytes = field(repr=False)
    name: str


def load_credentials(certificate: Path, key: Path, *, now: datetime | None = None) -> Credentials:
    """Read and check the user's certificate and private key (PEM files).

    `now` is the time at which the certificate must be valid; None: the current time. Raises
    SettingsError if the files cannot be read, do not belong together, if the certificate is not
    valid or the key needs a passphrase; MissingExtraError without the extra "c2pa".
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
    except ImportError as exc:
        raise missing_extra("Signing", "c2pa") from exc
    try:
        chain, secret = certificate.read_bytes(), key.read_bytes()
        leaf = x509.load_pem_x509_certificates(chain)[0]
        private = serialization.load_pem_private_key(secret, password=None)
    except OSError as exc:
        raise SettingsError(f"cannot read {exc.filename}: {exc.strerror}; check the path") from exc
    except (ValueError, TypeError) as exc:
        raise SettingsError(
            f"expected a certificate chain (PEM) in {certificate} and a private key (PEM, without "
            f"passphrase) in {key}, got other content ({type(exc).__name__}); name other files"
        ) from None
    if private.public_key() != leaf.public_key():
        raise SettingsError(
            f"{key}: expected the key of {certificate}, got another key; name the right key file"
        )
    if not leaf.not_valid_before_utc <= (now or datetime.now(UTC)) <= leaf.not_valid_after_utc:
        days = f"{leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}"
        raise SettingsError(f"{certificate} is valid from {days} only; use one that is valid now")
    return Credentials(chain, secret, _algorithm(private, key))


def _algorithm(key: Any, file: Path) -> str:  # noqa: ANN401  # many kinds of private key
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    sizes = {256: "es256", 384: "es384", 521: "es512"}
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size in sizes:
        return sizes[key.curve.key_size]
    raise SettingsError(
        f"{file}: expected a P-256/384/521, RSA or Ed25519 private key, got {type(key).__name__}; "
        "sign with a key of one of these kinds and its certificate"
    )


def sign(
    restoration: bytes, photo: SourceFile, prior: SourceFile | None, credentials: Credentials
) -> bytes:
    """Add a signed C2PA manifest to a restoration's file, given and returned as bytes.

    Pixels and metadata stay. `prior`: None if none was used. Raises MissingExtraError without the
    extra "c2pa", InputError for a format that cannot carry one, OutputError if signing fails.
    """
    try:
        import c2pa
    except ImportError as exc:
        raise missing_extra("Signing", "c2pa") from exc
    kind = media_type(restoration)
    if not kind:
        raise InputError(
            "signing: expected a PNG, JPEG, WebP, TIFF, AVIF or HEIF file; save it as one of these"
        )
    info = c2pa.C2paSignerInfo(
        alg=credentials.algorithm.encode(),
        sign_cert=credentials.certificates,
        private_key=credentials.key,
        ta_url=None,
    )
    signed = io.BytesIO()
    try:
        with (
            c2pa.Context.from_dict(SETTINGS) as context,
            c2pa.Builder(manifest(prior), context) as builder,
            c2pa.Signer.from_info(info) as signer,
        ):
            _add(builder, photo, "parentOf", "photo")
            if prior is not None:
                _add(builder, prior, "componentOf", "prior")
            builder.sign(signer, kind, io.BytesIO(restoration), signed)
    except c2pa.C2paError as exc:
        raise OutputError(FAILED.format(exc)) from exc
    check = read(signed.getvalue())
    if check.state not in ("valid", "trusted"):
        raise OutputError(FAILED.format(", ".join((check.state, *check.problems))))
    return signed.getvalue()


def _add(builder: Any, source: SourceFile, relationship: str, label: str) -> None:  # noqa: ANN401
    about = {"title": source.name, "relationship": relationship, "label": label}
    builder.add_ingredient(about, media_type(source.data), io.BytesIO(source.data))


def manifest(prior: SourceFile | None) -> dict[str, Any]:
    """A restoration's C2PA manifest (JSON data) without ingredients; `prior`: None if unused."""
    agent = {"name": "Verax", "version": __version__}
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["photo"]}}
    placed = {"action": "c2pa.placed", "parameters": {"ingredientIds": ["prior"]}}
    edited = {
        "action": "c2pa.edited",
        "digitalSourceType": WITH_PRIOR if prior else WITHOUT_PRIOR,
        "softwareAgent": agent,
        "description": DESCRIPTION if prior else "restored on this machine",
    }
    actions = [opened, placed, edited] if prior else [opened, edited]
    data = {"actions": actions, "allActionsIncluded": True}
    return {
        "claim_generator_info": [{**agent, "specVersion": "2.4"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": data}],
    }
