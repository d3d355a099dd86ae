"""Client input turned into calls: multipart and JSON edits, JSON generations.

Client input is parsed in a separate process, so the event loop never blocks on it, and a file that
stalls or crashes a parser takes down that process alone. Of pictures only the headers are read.
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
LIMIT_S = 20  # longest time for a header; more is an attack


@dataclass(frozen=True, slots=True)
class MissingPictures:
    """Pictures that must be fetched first: their fields and addresses."""

    pictures: tuple[tuple[Path, str], ...]


@dataclass(frozen=True, slots=True)
class ImageCall:
    """One request for pictures.

    Attributes:
        images: files of the pictures sent; the first is the photo.
        sizes: (width, height) of each of them, upright.
        fields: every other official field that is set, checked.
        fidelity: 0..1, Verax's own field.
        warnings: fields that were accepted and are not used.
        sha256: over everything that decides the answer.
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
    """The call of a request; runs in the intake process.

    Raises Problem 400 for what cannot be used.
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
    """The header of a file that must be a picture; runs in the intake process."""
    return limited(header, LIMIT_S, path, param, limits)


def header(file: Path | BinaryIO, param: str, limits: ServerLimits) -> Header:
    """A picture's header. Raises Problem 400 for a file that is not a picture or too large."""
    try:
        head = header_of(file)
    except InputError as exc:
        raise Problem(
            400, f"{param}: expected a picture ({READABLE})", "invalid_image", param
        ) from exc
    if head.width * head.height > limits.pixels:
        most = limits.pixels / 1e6
        raise Problem(
            400, f"{param}: expected at most {most:g} megapixels, got {head.width}x{head.height}",
            "image_too_large", param,
        )  # fmt: skip
    return head


def _from_json(
    body: Path, limits: ServerLimits
) -> tuple[dict[str, Any], dict[str, list[Path]], list[tuple[Path, str]]]:
    """Fields, files by role, and the pictures that must be fetched first."""
    try:
        values = json.loads(body.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise Problem(400, f"the body is not JSON: {exc}"[:300], "invalid_json") from exc
    if not isinstance(values, dict):
        raise Problem(400, "expected a JSON object as the body", "invalid_type")
    pictures = values.pop("images", [])
    mask = values.pop("mask", None)
    if not isinstance(pictures, list):
        raise Problem(400, "images: expected a list", "invalid_type", "images")
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
    """The address of a reference; file ids are not supported."""
    url = reference.get("image_url") if isinstance(reference, dict) else None
    if not isinstance(url, str) or (isinstance(reference, dict) and "file_id" in reference):
        raise Problem(
            400, f"{param}: expected an object with image_url; this server stores no files, "
            "so file_id is not supported",
            "invalid_type", param,
        )  # fmt: skip
    return url


def _data(url: str, param: str) -> bytes:
    """The bytes of a data: URL. Raises Problem 400 for any other URL."""
    if not url.startswith("data:image/"):
        raise Problem(
            400,
            f"{param}: this server does not fetch from that address; "
            "send the picture itself as a data: URL",
            "invalid_image_url",
            param,
        )
    try:
        return base64.b64decode(url.partition(",")[2], validate=True)
    except (binascii.Error, ValueError) as exc:
        raise Problem(400, f"{param}: not base64", "invalid_base64_image", param) from exc


def _checked(
    kind: str, values: dict[str, Any], files: dict[str, list[Path]], limits: ServerLimits
) -> ImageCall:
    parsed = read_fields(values)
    fields = parsed.options()
    images = tuple(files.get("image", ()))
    if len(images) > MAX_IMAGES:
        raise _too_many(len(images))
    if kind == "edit" and not images:
        raise Problem(400, "image: expected at least one picture, got none", "missing", "image")
    prompt = parsed.prompt or ""
    if kind == "generation" and not prompt.strip():
        raise Problem(400, "prompt: expected what the picture should show", "missing", "prompt")
    looks = [_look(path, "image", limits) for path in images]
    sizes = tuple((head.width, head.height) for head, _ in looks)
    mask = next(iter(files.get("mask", ())), None)
    if mask is not None:
        looks.append(_look(mask, "mask", limits))
    warnings = tuple(f"{name} is not used here" for name in IGNORED if fields.pop(name, None))
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
    """Header and SHA-256 of a picture file, which is opened once."""
    with path.open("rb") as file:
        head = header(file, param, limits)
        file.seek(0)
        return head, hashlib.file_digest(file, "sha256").digest()


def _too_many(count: int) -> Problem:
    return Problem(
        400, f"image: expected at most {MAX_IMAGES} pictures, got {count}", "invalid_value", "image"
    )
