"""Reads and checks requests for pictures: edits as forms or JSON, generations as JSON.

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
from verax.server.queue import run_limited

IGNORED = ("user", "response_format", "style")  # fields that are accepted without effect
LIMIT_S = 20  # most seconds for parsing a request


@dataclass(frozen=True, slots=True)
class MissingPictures:
    """The pictures that must be downloaded before a request is complete, as (target file, URL)."""

    pictures: tuple[tuple[Path, str], ...]


@dataclass(frozen=True, slots=True)
class ImageCall:
    """A request for pictures that was read and checked.

    Attributes:
        kind: "edit" or "generation".
        model: name of the requested model, such as "verax/local".
        prompt: "" if the request has none.
        images: files of the pictures: first the photo, then, for "verax/local", at most one prior,
        for other models any references. () for a generation from a prompt.
        sizes: (width, height) of each picture in px after EXIF rotation; the web page leaves it
            empty if no photo is to be restored.
        mask: file of a picture, transparent (or, without alpha channel, white) where the service
            should edit the photo; None without one.
        fields: the other fields of OpenAI's API that the request sets, by name.
        stream: whether to answer with server-sent events.
        fidelity: fidelity of a restoration, 0..1.
        warnings: sentences about accepted fields that have no effect.
        sha256: hash of the pictures and all other values that the answer depends on; "" for
            requests of the web page.
    """

    kind: str
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
    """Reads and checks a request. If it names pictures by URL that are not on disk yet, returns the
    list of these pictures, and must be called again when they are downloaded.

    Must run in a worker process, which is killed if this takes over 20 s. Raises Problem 400 if a
    field or picture is not valid.
    """
    return run_limited(_call, LIMIT_S, sent, limits)


def _call(sent: Upload, limits: ServerLimits) -> ImageCall | MissingPictures:
    values: dict[str, Any]
    values, files = dict(sent.values), {role: list(paths) for role, paths in sent.files.items()}
    if sent.body is not None:
        values, files, missing = _from_json(sent.body, limits)
        if missing:
            return MissingPictures(tuple(missing))
    return _check(sent.kind, values, files, limits)


def look(path: Path, param: str, limits: ServerLimits) -> Header:
    """The header of a picture file (format and size). Must run in a worker process, which is killed
    if this takes over 20 s. Raises Problem 400, which names the request field `param`, if the file
    is not a picture or has more pixels than `limits` allows."""
    return run_limited(header, LIMIT_S, path, param, limits)


def header(file: Path | BinaryIO, param: str, limits: ServerLimits) -> Header:
    """The header of a picture file (format and size), read in this process. Raises Problem 400,
    which names the request field `param`, if the file is not a picture or has more pixels than
    `limits` allows."""
    try:
        head = header_of(file)
    except InputError as exc:
        raise Problem(
            400,
            f"{param}: expected a picture ({READABLE}), got a damaged file or one of another kind; "
            "send another file",
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
    """Three parts of the JSON request in the file `body`: its fields, its picture files by role
    ("image" or "mask"), and (target file, URL) of those files that are still to be downloaded.

    Pictures in data URLs are written to files beside `body`. Raises Problem 400 if the JSON is not
    valid."""
    try:
        values = json.loads(body.read_bytes())
    except (ValueError, RecursionError) as exc:
        text = f"expected JSON as the body, but it cannot be parsed; correct it: {exc}"[:300]
        raise Problem(400, text, "invalid_json") from exc
    if not isinstance(values, dict):
        kind = _json_type(values)
        text = f"body: expected a JSON object {{...}}, got JSON of type {kind}; send an object"
        raise Problem(400, text, "invalid_type")
    pictures = values.pop("images", [])
    mask = values.pop("mask", None)
    if not isinstance(pictures, list):
        text = (
            'images: expected a list such as [{"image_url": "data:image/png;base64,..."}], got '
            f"{_json_type(pictures)}; correct it"
        )
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


def _json_type(value: object) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _address(reference: object, param: str) -> str:
    """The URL in `reference`, the JSON object {"image_url": URL} that names a picture. Raises
    Problem 400, which names the request field `param`, for anything else."""
    url = reference.get("image_url") if isinstance(reference, dict) else None
    if not isinstance(url, str) or (isinstance(reference, dict) and "file_id" in reference):
        raise Problem(
            400, f'{param}: expected an object {{"image_url": URL}} without file_id, got '
            f"{_json_type(reference)} {reference!r:.60}; this server stores no files, so send the "
            "picture as a data: URL",
            "invalid_type", param,
        )  # fmt: skip
    return url


def _data(url: str, param: str) -> bytes:
    """The bytes of the picture file in a data URL. Raises Problem 400, which names the request
    field `param`, for any other URL, or if the data is not valid base64."""
    if not url.startswith("data:image/"):
        raise Problem(
            400,
            f"{param}: this server does not download pictures from {url[:100]!r}; "
            "send the picture itself as a data: URL",
            "invalid_image_url",
            param,
        )
    try:
        return base64.b64decode(url.partition(",")[2], validate=True)
    except (binascii.Error, ValueError) as exc:
        text = (
            f"{param}: the data: URL is not valid base64 after its comma; encode the picture again"
        )
        raise Problem(400, text, "invalid_base64_image", param) from exc


def _check(
    kind: str, values: dict[str, Any], files: dict[str, list[Path]], limits: ServerLimits
) -> ImageCall:
    """The request with the fields `values`, and picture files by role ("image" or "mask"), after
    all checks. `kind` is "edit" or "generation". Raises Problem 400 if something is not valid."""
    parsed = read_fields(values)
    fields = parsed.options()
    images = tuple(files.get("image", ()))
    if len(images) > MAX_IMAGES:
        raise _too_many(len(images))
    if kind == "edit" and not images:
        raise Problem(400, "image: expected a photo, got none; add one", "missing", "image")
    prompt = parsed.prompt or ""
    if kind == "generation" and not prompt.strip():
        text = "prompt: expected a text that says what the picture should show, got none; add it"
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
    """The header (format and size) and the SHA-256 of a picture file. Raises Problem 400, which
    names the request field `param`, if the file is not a picture or has too many pixels."""
    with path.open("rb") as file:
        head = header(file, param, limits)
        file.seek(0)
        return head, hashlib.file_digest(file, "sha256").digest()


def _too_many(count: int) -> Problem:
    text = f"image: expected at most {MAX_IMAGES} pictures, got {count}; send fewer"
    return Problem(400, text, "invalid_value", "image")
