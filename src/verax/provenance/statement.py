"""State how an unsigned restoration was made: in its XMP, and in a JSON file beside it.

The JSON file, called the statement, is not signed, so it proves nothing, and says so. It keeps what
would otherwise be lost: that photo or prior carried Content Credentials, who issued them, and
hashes of the original files.
"""

import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from verax import __version__
from verax.errors import InputError, OutputError
from verax.image import Photo, replace_file
from verax.provenance import (
    WITH_PRIOR,
    WITHOUT_PRIOR,
    Credentials,
    SourceFile,
    has_manifest,
    names_remote_manifest,
    read,
    sign,
)

BESIDE = ".provenance.json"  # ending of the file beside a restoration
MOST_NAME = 255  # bytes of a file name
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
OWN = "urn:verax:statement:1"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NOT_SIGNED = (
    "This statement is not signed and proves nothing. The restoration carries no Content "
    "Credentials; that does not make it a plain photo."
)
_EMPTY = (
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"></rdf:RDF></x:xmpmeta>'
).encode()


def would_drop(data: bytes, *, name: str = "the photo") -> str | None:
    """A warning that a result made from this file lacks the file's Content Credentials.

    There is also a warning if the file only refers to Content Credentials stored elsewhere; None
    if it does neither. `data` holds the file's bytes; `name` is its name in the warning.
    """
    if has_manifest(data):
        manifest = read(data)
        who = f" by {manifest.generator}" if manifest.generator else ""
        return (
            f"{name} carries Content Credentials{who} ({manifest.state}), which the result does "
            "not have: keep the original file, or sign the result with your own certificate (set "
            "VERAX_C2PA_CERTIFICATE and VERAX_C2PA_KEY)"
        )
    if names_remote_manifest(data):
        return (
            f"{name} refers to Content Credentials stored elsewhere, which are not valid for the "
            "result: keep the original file"
        )
    return None


def mark_xmp(photo: Photo, *, prior: bool, system: str = "") -> Photo:
    """A copy of the photo whose XMP says how the restoration was made.

    The restoration will be written with this metadata. The XMP gets the IPTC digital source type, a
    sentence and, if a `prior` was used, the name of the AI system that made it, `system` ("" if
    unknown). If the photo's XMP cannot be parsed, the photo is returned unchanged.
    """
    properties = {
        "Iptc4xmpExt:DigitalSourceType": WITH_PRIOR if prior else WITHOUT_PRIOR,
        "verax:Statement": f"restored by Verax {__version__}"
        + (" with a generated picture registered to the photo" if prior else ""),
    }
    if prior and system:
        properties["Iptc4xmpExt:AISystemUsed"] = system
    xmp = _with_properties(photo.metadata.xmp or _EMPTY, properties)
    return photo if xmp is None else replace(photo, metadata=replace(photo.metadata, xmp=xmp))


def seal(
    path: Path,
    photo: SourceFile,
    prior: SourceFile | None,
    *,
    credentials: Credentials | None = None,
) -> tuple[str, ...]:
    """Sign the restoration in the file `path`, or write a statement (JSON) beside it.

    With `credentials`, the file is signed. Without, a statement is written if photo or prior had
    Content Credentials, since the restoration has none. If no statement is written, one left from
    an earlier run is deleted. Returns a warning for each of photo and prior whose Content
    Credentials the restoration lacks; () if it was signed.

    Raises MissingExtraError without the extra "c2pa", InputError for a format that cannot carry
    Content Credentials, OutputError if signing or writing fails. Then the restoration is unchanged.
    """
    beside = beside_path(path)
    if credentials is not None:
        replace_file(path, sign(_bytes(path), photo, prior, credentials))
        beside.unlink(missing_ok=True)
        return ()
    sources = [photo] if prior is None else [photo, prior]
    lost = [drop for one in sources if (drop := would_drop(one.data, name=one.name))]
    if not lost:
        beside.unlink(missing_ok=True)
        return ()
    text = json.dumps(statement(_bytes(path), photo, prior), indent=2, ensure_ascii=False)
    replace_file(beside, f"{text}\n".encode(errors="backslashreplace"))
    return tuple(lost)


def beside_path(path: Path) -> Path:
    """The path of the statement beside the restoration `path`: its name plus ".provenance.json".

    If that is too long for a file name, the SHA-256 of the restoration's name replaces this name.
    """
    name = path.name + BESIDE
    if len(os.fsencode(name)) > MOST_NAME:
        name = hashlib.sha256(os.fsencode(path.name)).hexdigest() + BESIDE
    return path.with_name(name)


def statement(restoration: bytes, photo: SourceFile, prior: SourceFile | None) -> dict[str, Any]:
    """The statement on how a restoration was made, as a dictionary to write as JSON.

    `restoration` holds the bytes of the restoration's file; `prior` is None if none was used.
    """
    return {
        "version": 1,
        "made_by": f"Verax {__version__}",
        "digital_source_type": WITH_PRIOR if prior else WITHOUT_PRIOR,
        "signed": False,
        "note": NOT_SIGNED,
        "restoration": {"sha256": hashlib.sha256(restoration).hexdigest()},
        "photo": _source(photo),
        "prior": prior and _source(prior),
    }


def read_statement(path: Path) -> tuple[dict[str, Any] | None, bool]:
    """Read the statement beside the restoration `path`.

    Returns the statement, and whether the restoration's file is unchanged since the statement was
    written; (None, False) if there is none. Raises InputError if it cannot be read, OutputError if
    the restoration cannot.
    """
    file = beside_path(path)
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        fits = record["restoration"]["sha256"] == hashlib.sha256(_bytes(path)).hexdigest()
    except FileNotFoundError:
        return None, False
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise InputError(
            f"{file}: expected the statement that Verax writes beside a restoration, got {exc!r}; "
            "restore the photo again, or delete the file"
        ) from exc
    return record, fits


def _source(source: SourceFile) -> dict[str, Any]:
    digest = hashlib.sha256(source.data).hexdigest()
    return {"name": source.name, "sha256": digest, "credentials": asdict(read(source.data))}


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise OutputError(
            f"{path}: the restoration cannot be read again ({exc.strerror}); it is not signed; "
            "check the file and restore the photo again"
        ) from exc


def _with_properties(xmp: bytes, properties: dict[str, str]) -> bytes | None:
    """A copy of `xmp` with these properties set: name with prefix, such as "verax:Statement", ->
    value. None if `xmp` cannot be parsed."""
    if b"<!" in xmp.replace(b"<!--", b""):  # no DTD, no entities
        return None
    try:
        document = minidom.parseString(xmp)
    except (ExpatError, ValueError, LookupError):
        return None
    roots = document.getElementsByTagNameNS(RDF, "RDF")
    if not roots:
        return None
    for name in properties:
        _remove(document, *name.split(":"))
    new = document.createElementNS(RDF, "rdf:Description")
    new.setAttribute("rdf:about", "")
    new.setAttribute("xmlns:rdf", RDF)
    new.setAttribute("xmlns:Iptc4xmpExt", IPTC)
    new.setAttribute("xmlns:verax", OWN)
    for name, value in properties.items():
        new.setAttribute(name, value)
    roots[0].appendChild(new)
    return document.toxml().removeprefix('<?xml version="1.0" ?>').encode()


def _remove(document: minidom.Document, prefix: str, name: str) -> None:
    """Remove the property `prefix`:`name` from XMP, be it written as attribute or as element.

    `prefix` is "Iptc4xmpExt" or "verax".
    """
    namespace = {"Iptc4xmpExt": IPTC, "verax": OWN}[prefix]
    for element in document.getElementsByTagNameNS(RDF, "Description"):
        if element.hasAttributeNS(namespace, name):
            element.removeAttributeNS(namespace, name)
    for element in document.getElementsByTagNameNS(namespace, name):
        if element.parentNode is not None:
            element.parentNode.removeChild(element)
