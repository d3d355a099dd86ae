"""Turns the requests of clients into calls: edits as forms or JSON, generations as JSON.

Requests are parsed in a separate process (the intake process). A file that stalls or crashes a
parser therefore affects only that process. Only the headers of pictures are read.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from verax.errors import InputError
from verax.image.header import READABLE, Header, header_of
from verax.server import Problem
from verax.server.access import ServerLimits
from verax.server.api import read_fields
from verax.server.api.intake import MAX_IMAGES, Upload, is_allowed
from verax.server.queue import limited

IGNORED = ("user", "response_format", "style")
LIMIT_S = 20  # most seconds for parsing a request


@dataclass(frozen=True, slots=True)
class MissingPictures:
    """The pictures of a request that must be downloaded first, as (target file, URL)."""

    pictures: tuple[tuple[Path, str], ...]


@dataclass(frozen=True, slots=True)
class ImageCall:
    """One request for pictures, after its checks.

    Attributes:
        images: files of the pictures; the first is the photo.
        sizes: (width, height) of each picture after EXIF rotation.
        mask: file of the mask, None without one.
        fields: the other fields of OpenAI's API that are set.
        fidelity: 0..1; Verax's own field.
        warnings: sentences about accepted fields that have no effect.
        sha256: hash of everything that the answer depends on.
    """

    kind: str  # "edit" or "generation"
    model: str
    prompt: str
    images: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    mask: Path | None
    fields: Mapping[str, Any]
    stream: bool
    fidelity: float
    warnings: tuple[str, ...]
    sha256: str


def read_call(sent: Upload, limits: ServerLimits) -> ImageCall | MissingPictures:
    """The call that a request asks for; or, if pictures must be downloaded first, these pictures.

    Runs in the intake process. Raises Problem 400 for a request that cannot be used.
    """
    return limited(_call, LIMIT_S, sent, limits)


def _call(sent: Upload, limits: ServerLimits) -> ImageCall | MissingPictures:
    values: dict[str, Any]
    values, files = dict(sent.values), {role: list(paths) for role, paths in sent.files.items()}
    if sent.body is not None:
        values, files, missing = _from_json(sent.body, limits)
        if missing:
            return MissingPictures(tuple(missing))
    return _checked(sent.kind, values, files, limits)


def look(path: Path, param: str, limits: ServerLimits) -> Header:
    """The header of a picture file; runs in the intake process. Raises Problem 400, which names the
    request field `param`, if the file is not a picture or too large."""
    return limited(header, LIMIT_S, path, param, limits)


def header(file: Path | BinaryIO, param: str, limits: ServerLimits) -> Header:
    """The header of a picture file. Raises Problem 400, which names the request field `param`, if
    the file is not a picture or too large."""
    try:
        head = header_of(file)
    except InputError as exc:
        raise Problem(
            400,
            f"{param}: expected a picture ({READABLE}), got something else",
            "invalid_image",
            param,
        ) from exc
    if head.width * head.height > limits.pixels:
        most = limits.pixels / 1e6
        raise Problem(
            400, f"{param}: expected at most {most:g} megapixels, got {head.width}x{head.height} "
            "pixels; send a smaller picture",
            "image_too_large", param,
        )  # fmt: skip
    return head


def _from_json(
    body: Path, limits: ServerLimits
) -> tuple[dict[str, Any], dict[str, list[Path]], list[tuple[Path, str]]]:
    """The fields of a JSON request, its picture files by role ("image" or "mask"), and (target
    file, URL) of the pictures that must be downloaded first. Raises Problem 400."""
    try:
        values = json.loads(body.read_bytes())
    except (ValueError, RecursionError) as exc:
        text = f"expected JSON as the body, got something else: {exc}"[:300]
        raise Problem(400, text, "invalid_json") from exc
    if not isinstance(values, dict):
        raise Problem(400, "expected a JSON object as the body", "invalid_type")
    pictures = values.pop("images", [])
    mask = values.pop("mask", None)
    if not isinstance(pictures, list):
        text = f"images: expected a list of objects with image_url, got {type(pictures).__name__}"
        raise Problem(400, text, "invalid_type", "images")
    if len(pictures) > MAX_IMAGES:
        raise _too_many(len(pictures))
    files: dict[str, list[Path]] = {}
    missing: list[tuple[Path, str]] = []
    for role, references in (("image", pictures), ("mask", [] if mask is None else [mask])):
        for index, reference in enumerate(references):
            path = body.with_name(f"{role}-{index}")
            url = _address(reference, f"{role}s[{index}]")
            if not is_allowed(url, limits.fetch_hosts):
                path.write_bytes(_data(url, f"{role}s[{index}]"))
            elif not path.exists():
                missing.append((path, url))
            files.setdefault(role, []).append(path)
    return values, files, missing


def _address(reference: object, param: str) -> str:
    """The URL in a reference to a picture. Raises Problem 400, also for a file id."""
    url = reference.get("image_url") if isinstance(reference, dict) else None
    if not isinstance(url, str) or (isinstance(reference, dict) and "file_id" in reference):
        raise Problem(
            400, f"{param}: expected an object with image_url; this server stores no files, "
            "so file_id is not supported",
            "invalid_type", param,
        )  # fmt: skip
    return url


def _data(url: str, param: str) -> bytes:
    """The bytes in a data URL. Raises Problem 400 for any other URL."""
    if not url.startswith("data:image/"):
        raise Problem(
            400,
            f"{param}: this server does not download pictures from that address; "
            "send the picture itself as a data: URL",
            "invalid_image_url",
            param,
        )
    try:
        return base64.b64decode(url.partition(",")[2], validate=True)
    except (binascii.Error, ValueError) as exc:
        text = f"{param}: expected base64 after the comma of the data: URL, got invalid base64"
        raise Problem(400, text, "invalid_base64_image", param) from exc


def _checked(
    kind: str, values: dict[str, Any], files: dict[str, list[Path]], limits: ServerLimits
) -> ImageCall:
    """The call with these fields and files. Raises Problem 400 if they cannot be used."""
    parsed = read_fields(values)
    fields = parsed.options()
    images = tuple(files.get("image", ()))
    if len(images) > MAX_IMAGES:
        raise _too_many(len(images))
    if kind == "edit" and not images:
        raise Problem(400, "image: expected at least one picture, got none", "missing", "image")
    prompt = parsed.prompt or ""
    if kind == "generation" and not prompt.strip():
        text = "prompt: expected a text that says what the picture should show, got none"
        raise Problem(400, text, "missing", "prompt")
    looks = [_look(path, "image", limits) for path in images]
    sizes = tuple((head.width, head.height) for head, _ in looks)
    mask = next(iter(files.get("mask", ())), None)
    if mask is not None:
        looks.append(_look(mask, "mask", limits))
    warnings = tuple(f"{name} has no effect" for name in IGNORED if fields.pop(name, None))
    model = "verax/local" if parsed.model is None else parsed.model
    digest = hashlib.sha256()
    about = [kind, model, prompt, fields, parsed.stream, parsed.fidelity]
    digest.update(json.dumps(about, sort_keys=True).encode())
    for _, sha256 in looks:
        digest.update(sha256)
    return ImageCall(
        kind, model, prompt, images, sizes, mask, fields, parsed.stream, parsed.fidelity, warnings,
        digest.hexdigest(),
    )  # fmt: skip


def _look(path: Path, param: str, limits: ServerLimits) -> tuple[Header, bytes]:
    """The header and the SHA-256 of a picture file. Raises Problem 400 as `header` does."""
    with path.open("rb") as file:
        head = header(file, param, limits)
        file.seek(0)
        return head, hashlib.file_digest(file, "sha256").digest()


def _too_many(count: int) -> Problem:
    return Problem(
        400, f"image: expected at most {MAX_IMAGES} pictures, got {count}", "invalid_value", "image"
    )
