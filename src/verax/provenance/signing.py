"""Signing a restoration: photo as parent, prior as component, by the user's own certificate.

The manifest follows C2PA 2.2 and 2.4: `c2pa.opened` names the photo, `c2pa.placed` the prior,
`c2pa.edited` says that a trained model had a hand in it. What photo and prior carried themselves
stays inside as their own manifests. No thumbnails, no time stamp service, no network.
"""

import io
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from verax import __version__
from verax.errors import InputError, OutputError, SettingsError, missing_extra
from verax.provenance import SETTINGS, media_type, read

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
WITH_PRIOR = f"{SOURCE}compositeWithTrainedAlgorithmicMedia"
WITHOUT_PRIOR = f"{SOURCE}algorithmicallyEnhanced"
DESCRIPTION = (
    "restored with tone or texture of a generated picture that was registered to the photo"
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate chain, leaf first, and its private key, as PEM; `algorithm` in C2PA's words."""

    certificates: bytes
    key: bytes = field(repr=False)
    algorithm: str = "es256"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A picture that went into a restoration: its file bytes and the name to call it by."""

    data: bytes = field(repr=False)
    name: str


def load_credentials(certificate: Path, key: Path, *, now: datetime | None = None) -> Credentials:
    """The user's credentials, checked before any work is done.

    Raises SettingsError for files that are missing, do not belong together, have expired, or hold
    a key that needs a passphrase; MissingExtraError without the c2pa extra.
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
        raise SettingsError(f"cannot read {exc.filename}: {exc.strerror}") from exc
    except (ValueError, TypeError) as exc:
        raise SettingsError(
            f"want a PEM certificate chain in {certificate} and a PEM key without a passphrase in "
            f"{key}: {type(exc).__name__}"
        ) from None
    if private.public_key() != leaf.public_key():
        raise SettingsError(f"the key {key} does not belong to the certificate {certificate}")
    moment = now or datetime.now(UTC)
    if not leaf.not_valid_before_utc <= moment <= leaf.not_valid_after_utc:
        raise SettingsError(
            f"the certificate {certificate} is valid from {leaf.not_valid_before_utc:%Y-%m-%d} to "
            f"{leaf.not_valid_after_utc:%Y-%m-%d}"
        )
    return Credentials(chain, secret, _algorithm(private))


def _algorithm(key: Any) -> str:  # noqa: ANN401  # many kinds of private key
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    sizes = {256: "es256", 384: "es384", 521: "es512"}
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size in sizes:
        return sizes[key.curve.key_size]
    raise SettingsError(f"C2PA cannot sign with a {type(key).__name__}; use P-256, RSA or Ed25519")


def sign(
    restoration: bytes, photo: SourceFile, prior: SourceFile | None, credentials: Credentials
) -> bytes:
    """The same picture file with a signed manifest inside; pixels and metadata are untouched.

    Raises MissingExtraError without the c2pa extra, InputError for a file format that cannot carry
    a manifest, OutputError when signing fails or the signed file does not validate.
    """
    try:
        import c2pa
    except ImportError as exc:
        raise missing_extra("Signing", "c2pa") from exc
    kind = media_type(restoration)
    if not kind:
        raise InputError("signing: want a PNG, JPEG, WebP, TIFF, AVIF or HEIF file, got another")
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
        raise OutputError(f"signing failed: {exc}; the unsigned file is as it was") from exc
    check = read(signed.getvalue())
    if check.state not in ("valid", "trusted"):
        raise OutputError(f"the signed file is {check.state}: {', '.join(check.problems)}")
    return signed.getvalue()


def _add(builder: Any, source: SourceFile, relationship: str, label: str) -> None:  # noqa: ANN401
    about = {"title": source.name, "relationship": relationship, "label": label}
    builder.add_ingredient(about, media_type(source.data), io.BytesIO(source.data))


def manifest(prior: SourceFile | None) -> dict[str, Any]:
    """The C2PA manifest of a restoration."""
    agent = {"name": "Verax", "version": __version__}
    actions: list[dict[str, Any]] = [
        {"action": "c2pa.opened", "parameters": {"ingredientIds": ["photo"]}}
    ]
    if prior is not None:
        actions.append({"action": "c2pa.placed", "parameters": {"ingredientIds": ["prior"]}})
    actions.append(
        {
            "action": "c2pa.edited",
            "digitalSourceType": WITH_PRIOR if prior else WITHOUT_PRIOR,
            "softwareAgent": agent,
            "description": DESCRIPTION if prior else "restored on this machine",
        }
    )
    data = {"actions": actions, "allActionsIncluded": True}
    return {
        "claim_generator_info": [{**agent, "specVersion": "2.4"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": data}],
    }
