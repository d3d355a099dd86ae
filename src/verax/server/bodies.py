"""Bodies of requests on their way to disk: nothing in them is believed here, only counted."""

import re
import shutil
from pathlib import Path
from typing import IO

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request

from verax.server.calls import MAX_IMAGES, Sent
from verax.server.limits import Limits
from verax.server.replies import Problem

ROLE = re.compile(r"(image|mask)(\[\d{0,2}\])?")  # image, image[] and image[0] mean the same


async def received(request: Request, kind: str, folder: Path, limits: Limits) -> Sent:
    """The body of a request for pictures, in files of `folder`.

    Raises Problem 400, 413 or 415 for what cannot be used.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        body = folder / "body.json"
        await spool(request, body, limits.json_bytes)
        return Sent(kind, {}, {}, body)
    if media_type == "multipart/form-data" and kind == "edit":
        return await _from_form(request, kind, folder, limits)
    wanted = "application/json" + (" or multipart/form-data" if kind == "edit" else "")
    raise Problem(415, f"want {wanted}, got {media_type or 'no content type'}", "media_type")


async def spool(request: Request, path: Path, most: int) -> None:
    """The body as it comes, written to a file; never the whole of it in memory."""
    total = 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            total += len(chunk)
            if total > most:
                raise Problem(
                    413, f"want at most {most // 1_000_000} MB of JSON; send pictures as a form",
                    "body_too_large",
                )  # fmt: skip
            file.write(chunk)


async def bounded(request: Request, most: int) -> bytes:
    """A small body. Raises Problem 413 when it is none."""
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > most:
            raise Problem(413, f"want at most {most} bytes, got more", "body_too_large")
    return bytes(found)


async def _from_form(request: Request, kind: str, folder: Path, limits: Limits) -> Sent:
    values: dict[str, str] = {}
    files: dict[str, list[Path]] = {}
    form = request.form(
        max_files=MAX_IMAGES + 4, max_fields=limits.parts, max_part_size=limits.field_bytes
    )
    async with form as parts:
        for name, part in parts.multi_items():
            known = ROLE.fullmatch(name)
            if known and not isinstance(part, UploadFile):
                raise Problem(400, f"{known[1]}: want a file, got text", "invalid_type", known[1])
            if not isinstance(part, UploadFile):
                values[name] = part
            elif known:
                places = files.setdefault(known[1], [])
                places.append(folder / f"{known[1]}-{len(places)}")
                await keep(part, places[-1])
            else:
                raise Problem(400, f"file field {name[:60]!r} is not known", "unknown_parameter")
    return Sent(kind, values, {role: tuple(paths) for role, paths in files.items()})


async def keep(part: UploadFile, path: Path) -> None:
    """A file of a form as a file of its own."""
    await run_in_threadpool(_copy, part.file, path)


def _copy(source: IO[bytes], path: Path) -> None:
    source.seek(0)
    with path.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
