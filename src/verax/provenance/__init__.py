"""Where a picture comes from: its Content Credentials (C2PA), read from the bytes as they came.

`signing` signs a restoration, `statement` says in words what an unsigned one does not carry.
Nothing is fetched: manifests that live elsewhere are reported, not followed. A valid signature
says that the bytes are those that were signed; who signed is not held against any trust list.
"""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from verax.errors import missing_extra
from verax.image.header import MEDIA_TYPES, format_of_bytes

SignatureState = Literal["absent", "valid", "trusted", "invalid", "unreadable", "unread"]

# Description box of a C2PA manifest store: the same bytes in every container (C2PA 2.2, A.3).
MARK = b"jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71"
CARRIERS = {name: MEDIA_TYPES[name] for name in ("png", "jpeg", "webp", "tiff", "avif", "heif")}
_REMOTE = (b"dcterms:provenance",)  # XMP property that names a manifest elsewhere
SETTINGS = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}


@dataclass(frozen=True, slots=True)
class Action:
    """One step that a manifest claims.

    Attributes:
        name: such as "c2pa.created" or "c2pa.edited".
        source: last part of the digital source type, such as "trainedAlgorithmicMedia".
        agent: the software that did it, where stated.
    """

    name: str
    source: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A picture that went into this one; `has_manifest` when it brought credentials along."""

    title: str
    relationship: str
    has_manifest: bool


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the manifest of a file says.

    Attributes:
        state: "absent"; "valid" (bytes as signed, signer unknown to us) or "trusted";
            "invalid" (bytes or signature changed); "unreadable"; "unread" (a manifest is there,
            but the packages to read it are not).
        generator: the software that made the claim, with its version.
        issuer, signer, signed_at: from the certificate and the time stamp, "" where not stated.
        problems: codes of what failed in validation, or why it could not be read.
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
    """Whether a C2PA manifest is embedded; needs no extra packages."""
    return MARK in data


def names_remote_manifest(data: bytes) -> bool:
    """Whether the file says that its manifest lives elsewhere."""
    return any(mark in data for mark in _REMOTE)


def source_in_xmp(data: bytes) -> str:
    """The IPTC digital source type that the XMP names, such as "digitalCapture"; "" without one.

    Anybody can write it; it proves nothing.
    """
    match = re.search(rb"DigitalSourceType(?:\s*=\s*[\"']|>\s*)([^\"'<>\s]{1,200})", data)
    return match[1].decode("ascii", "replace").rpartition("/")[2] if match else ""


def read(data: bytes) -> Provenance:
    """What the manifest in these file bytes says; never raises for what a file holds."""
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
    """The media type of picture bytes that can carry a manifest; "" for others."""
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
            Ingredient(
                one.get("title", ""), one.get("relationship", ""), bool(one.get("active_manifest"))
            )
            for one in manifest.get("ingredients", [])
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
