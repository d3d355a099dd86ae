"""HTTP routes of the web page: its own files, results in the history, and prints to straighten."""

import json
import secrets
import zipfile
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from verax import report
from verax.errors import InputError
from verax.fusion.dial import DEFAULT as DEFAULT_FIDELITY
from verax.image.header import MEDIA_TYPES, format_of_file
from verax.server import NO_STORE, Problem, json_response
from verax.server.api.calls import look
from verax.server.api.intake import keep
from verax.server.api.routes import Context
from verax.server.page import history, work
from verax.server.page.history import History, in_turn, whose
from verax.server.queue import LIMIT_S, one_thread, run_limited

PRINT_AREA = 0.2  # least fraction of a photo that a print in it covers
PRINT_RATIO = 1.8  # largest ratio of the sides of a print
SCALES = ("", "2", "3", "4", "prior")
PRIVATE = {**NO_STORE, "content-security-policy": "default-src 'none'; sandbox"}


# ---- the page's own files, which load nothing from other sites -----------------------------------

POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
OWN_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
HTML, CSS, JS, WEBP = "text/html", "text/css", "text/javascript", "image/webp"
NAMES = {
    "": HTML, "page.css": CSS, "page.js": JS, "server.js": JS, "store.js": JS, "choose.js": JS,
    "restore.js": JS, "outbox.js": JS, "otherwise.js": JS, "faces.js": JS, "result.js": JS,
    "readable.js": JS, "straighten.js": JS, "brush.js": JS, "generate.js": JS, "sizes.js": JS,
    "before.webp": WEBP, "after.webp": WEBP,
}  # fmt: skip


def _page(name: str) -> Callable[[], bytes]:
    """A function that reads the page's own file `name` from disk; "" means index.html."""
    return lambda: (files("verax.server") / "pages" / (name or "index.html")).read_bytes()


STATIC: dict[str, tuple[str, Callable[[], bytes | str]]] = {
    **{f"/{name}": (media_type, _page(name)) for name, media_type in NAMES.items()},
    "/compare.css": (CSS, report.viewer_style),
    "/compare.js": (JS, report.viewer_script),
}


async def static(request: Request) -> Response:
    """GET /NAME: one of the page's own files."""
    media_type, read = STATIC[request.url.path]
    return Response(read(), media_type=media_type, headers=OWN_HEADERS)


# ---- photos of prints ----------------------------------------------------------------------------


async def straighten(request: Request) -> Response:
    """POST /page/straighten: JSON with the corners of the paper print in a photo, null if there is
    none; or, if the form holds `corners`, a PNG with the print, cut out and straightened."""
    context, client, _ = whose(request)
    shot = context.incoming / secrets.token_hex(8)
    target, most = shot.with_suffix(".png"), context.limits.pixels
    async with request.form(max_files=1, max_fields=1) as form:
        photo, corners = form.get("photo"), form.get("corners")
        if not isinstance(photo, UploadFile):
            raise Problem(
                400,
                "photo: expected the photo of a print, got no file; send one",
                "missing",
                "photo",
            )
        await keep(photo, shot)
    try:
        await in_turn(context.service.intake, client, look, shot, "photo", context.limits)
        local = context.service.local
        if corners is None:
            ring = await in_turn(local, client, run_limited, find_print, LIMIT_S, shot, most)
            return json_response({"corners": ring})
        wishes = shot, str(corners), target, most
        await in_turn(local, client, run_limited, straighten_file, LIMIT_S, *wishes)
    finally:
        shot.unlink(missing_ok=True)
    cleanup = BackgroundTask(partial(target.unlink, missing_ok=True))
    return FileResponse(target, media_type="image/png", headers=PRIVATE, background=cleanup)


def find_print(shot: Path, max_pixels: int) -> list[list[float]] | None:
    """The four corners of the paper print that the photo in the file `shot` shows, as [x, y] in px,
    clockwise from the top left; None if no print is found.

    Doors and windows have four corners too, so the print must cover at least 20 % of the photo, and
    its sides differ by a factor of 1.8 at most. InputError if the photo has over `max_pixels`."""
    one_thread()
    from verax import image as images
    from verax.prints import shape_of
    from verax.prints.corners import area_of, find_corners

    photo = images.read(shot, max_pixels=max_pixels)
    try:
        ring = find_corners(photo.pixels)
    except InputError:
        return None
    large = area_of(ring) >= PRINT_AREA * photo.width * photo.height
    shaped = 1 / PRINT_RATIO < shape_of(ring, (photo.width, photo.height)) < PRINT_RATIO
    return [[float(value) for value in corner] for corner in ring] if large and shaped else None


def straighten_file(shot: Path, corners: str, target: Path, max_pixels: int) -> None:
    """Cut the paper print out of the photo in the file `shot`, straighten it, and write it to
    `target`. `corners` is "x,y x,y x,y x,y" in px of the photo, in any order. Raises Problem 400 if
    a print cannot have these corners, InputError if the photo has more than `max_pixels` pixels."""
    one_thread()
    from verax import image as images
    from verax import prints

    photo = images.read(shot, max_pixels=max_pixels)
    try:
        flat = prints.straighten(photo, prints.corners_of(corners))
    except InputError as exc:
        raise Problem(400, str(exc).replace("--", ""), "invalid_value", "corners") from exc
    images.write(target, flat.pixels, like=flat)


# ---- the results of an entry ---------------------------------------------------------------------


async def picture(request: Request) -> Response:
    """GET /page/history/{id}/{picture}.png: a picture; with ?save=1 the browser saves it."""
    _, _, entries = whose(request)
    path = entries.picture(request.path_params["id"], request.path_params["picture"])
    media_type, headers = MEDIA_TYPES.get(format_of_file(path), "image/png"), PRIVATE
    if request.query_params.get("save"):
        name = history.record(path.parent, running=False).get("name") or "picture"
        suffix = media_type.removeprefix("image/")
        headers = headers | history.attachment(f"{history.plain_name(name, 'picture')}.{suffix}")
    return FileResponse(path, media_type=media_type, headers=headers)


async def stop(request: Request) -> Response:
    """GET /page/history/{id}/stop?fidelity=: JSON about the restoration at a fidelity of 0, 0.25,
    0.5, 0.75 or 1: the names of its pictures, its faces, and how much of it comes from the photo
    and the prior. The first request for a fidelity makes the pictures."""
    fidelity = _fidelity(request.query_params.get("fidelity", str(DEFAULT_FIDELITY)))
    if round(100 * fidelity) not in history.STOPS:
        known = ", ".join(f"{stop / 100:g}" for stop in history.STOPS)
        raise Problem(
            400, f"fidelity: expected one of {known}; got {fidelity:g}", "invalid_value", "fidelity"
        )
    context, client, entries = whose(request)
    entry = _finished_folder(entries, request)
    end = history.stop_suffix(fidelity)
    source = entry / (f"stop{end}.json" if end else "result.json")
    if not source.is_file():
        order = await run_in_threadpool(partial(order_of, context, entry, fidelity=fidelity))
        await in_turn(context.service.local, client, work.restore_stop, order)
    result = await run_in_threadpool(history.read_json, source)
    return json_response(
        {
            "fidelity": fidelity,
            "restoration": f"restoration{end}",
            "trust_map": f"trust{end}",
            "trust": result["trust"],
            "faces": result.get("faces", []),
        }
    )


def _finished_folder(entries: History, request: Request) -> Path:
    entry = entries.entry(request.path_params["id"])
    if not (entry / "result.json").is_file():
        raise Problem(409, "this restoration is not finished yet; wait until it is", "not_ready")
    return entry


async def file(request: Request) -> Response:
    """GET /page/history/{id}/file?fidelity=&place=no&scale=: the file of a restoration.

    The first request makes the file, with this fidelity. place=no leaves out the GPS position;
    scale=2, 3 or 4 enlarges the picture, scale=prior to the resolution of the prior.
    """
    context, client, entries = whose(request)
    entry = _finished_folder(entries, request)
    record = await run_in_threadpool(partial(history.record, entry, running=False))
    fidelity = _fidelity(request.query_params.get("fidelity", str(DEFAULT_FIDELITY)))
    no_place = request.query_params.get("place") == "no"
    scale = request.query_params.get("scale", "")
    if scale not in SCALES:
        text = f"scale: expected one of {', '.join(SCALES[1:])}, got {scale[:60]!r}"
        raise Problem(400, text, "invalid_value", "scale")
    order = await run_in_threadpool(
        partial(order_of, context, entry, fidelity=fidelity, drop_gps=no_place, scale=scale)
    )
    path = entry / work.file_name(order)
    if not path.is_file():
        await in_turn(context.service.local, client, work.write_file, order)
    return FileResponse(
        path, headers={**PRIVATE, **history.attachment(_download_name(record, path))}
    )


def _fidelity(text: str) -> float:
    """The fidelity in the query parameter `text`, rounded to 0.01. Raises Problem 400 unless it is
    a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        why = f"fidelity: expected a number from 0 to 1, got {text[:60]!r}"
        raise Problem(400, why, "invalid_value", "fidelity")
    return round(value, 2)


def _download_name(record: dict[str, Any], path: Path) -> str:
    """The name under which browsers save a restoration, such as "beach_restored_fidelity050.png".
    `record` describes the entry of the history, `path` is the restoration's file on the server."""
    stem = Path(record.get("name") or "photo").stem
    _, fidelity, *more = path.stem.split("-")
    share = "" if fidelity == f"{history.SHOWN:03d}" else f"_fidelity{fidelity}"
    scale = next((f"_{word}" for word in more if word.startswith("x")), "")
    return f"{stem}_restored{share}{scale}{path.suffix}"


async def archive(request: Request) -> Response:
    """GET /page/restorations.zip: all finished restorations at fidelity 0.75, with JSON records."""
    context, client, entries = whose(request)
    target = context.incoming / f"{secrets.token_hex(8)}.zip"
    await context.service.aside.run(client.name, _zip, entries, target)
    headers = {**PRIVATE, **history.attachment("verax-restorations.zip")}
    cleanup = BackgroundTask(partial(target.unlink, missing_ok=True))
    return FileResponse(target, media_type="application/zip", headers=headers, background=cleanup)


def _zip(entries: History, target: Path) -> None:
    """Write all finished restorations at fidelity 0.75, with JSON records, to the zip `target`."""
    names: set[str] = set()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as bundle:
        for entry in map(entries.entry, sorted(entries.ids())):
            record = history.record(entry, running=False)
            for path in entry.glob(f"file-{history.SHOWN:03d}.*"):
                if path.suffix == ".json":  # the statement on how the file was made
                    continue
                name = _download_name(record, path)
                stem, suffix = Path(name).stem, path.suffix
                count = 2
                while name in names:
                    name, count = f"{stem}-{count}{suffix}", count + 1
                names.add(name)
                bundle.write(path, name)
                bundle.writestr(f"{name}.json", json.dumps(record, indent=2, ensure_ascii=False))


def order_of(
    context: Context,
    entry: Path,
    *,
    fidelity: float = DEFAULT_FIDELITY,
    drop_gps: bool = False,
    scale: str = "",
) -> work.PageOrder:
    """What a worker process needs to make the file of an entry with this fidelity, without the GPS
    position if `drop_gps`, and enlarged by `scale`: "2", "3", "4", "prior" (the resolution
    of the prior) or "" (the size of the photo)."""
    prior, request = entry / "prior", history.read_json(entry / "request.json")
    return work.PageOrder(
        entry,
        entry / "photo",
        prior if prior.is_file() else None,
        request.get("format", "PNG"),
        context.limits.pixels,
        fidelity,
        request.get("upstream_model") or "",
        drop_gps,
        scale,
        request.get("task", ""),
        *(entry / name if (entry / name).is_file() else None for name in ("mask", "only")),
    )
