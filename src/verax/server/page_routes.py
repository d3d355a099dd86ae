"""The page for people and what it asks of the server.

The page's own files come with a policy that lets nothing in from elsewhere. Everything under
/page/ belongs to the client who asks; an entry of anybody else does not exist.
"""

import asyncio
import json
import secrets
import shutil
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
from starlette.routing import Route

from verax.errors import VeraxError
from verax.report import viewer
from verax.server import history, page_prices, page_work
from verax.server.calls import Call, check_picture
from verax.server.context import Context, context_of
from verax.server.history import History
from verax.server.jobs import Jobs
from verax.server.keys import Client
from verax.server.page_asking import generation_call, prior_call
from verax.server.replies import Problem, from_error, json_response

POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
PRIVATE = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
}
MOST_PAUSE_S = 10.0
HTML, CSS, JS = "text/html", "text/css", "text/javascript"


def _page(name: str) -> Callable[[], str]:
    return lambda: (files(__package__) / "pages" / name).read_text(encoding="utf-8")


STATIC: dict[str, tuple[str, Callable[[], str]]] = {
    "/": (HTML, _page("index.html")),
    "/page.css": (CSS, _page("page.css")),
    "/page.js": (JS, _page("page.js")),
    "/server.js": (JS, _page("server.js")),
    "/restore.js": (JS, _page("restore.js")),
    "/result.js": (JS, _page("result.js")),
    "/generate.js": (JS, _page("generate.js")),
    "/sizes.js": (JS, _page("sizes.js")),
    "/compare.css": (CSS, viewer.style),
    "/compare.js": (JS, viewer.script),
}


async def static(request: Request) -> Response:
    """GET one of the page's own files."""
    media_type, read = STATIC[request.url.path]
    return Response(read(), media_type=media_type, headers=HEADERS)


def _client(request: Request) -> tuple[Context, Client, History]:
    context = context_of(request)
    client = context.client(request)
    return context, client, History(context.results / client.name)


def _running(request: Request) -> dict[str, "asyncio.Task[None]"]:
    """Work under way by entry; lives as long as the application."""
    state = request.app.state
    if not hasattr(state, "page_running"):
        state.page_running = {}
    running: dict[str, asyncio.Task[None]] = state.page_running
    return running


def _start(request: Request, entry: Path, work: Any) -> Response:  # noqa: ANN401  # a coroutine
    """Begin the work of an entry; answers with the entry as it stands."""
    running = _running(request)
    task = asyncio.create_task(_told(entry, work))
    running[entry.name] = task
    task.add_done_callback(lambda _: running.pop(entry.name, None))
    return json_response(history.record(entry, running=True), status=202)


async def _told(entry: Path, work: Any) -> None:  # noqa: ANN401
    """Do the work and write down how it ended."""
    try:
        ended: dict[str, Any] = {"state": "done", **(await work or {})}
    except Problem as problem:
        ended = {"state": "failed", "error": problem.message}
    except VeraxError as exc:
        ended = {"state": "failed", "error": from_error(exc).message}
    except Exception:  # noqa: BLE001  # whatever it was, the entry must not wait for ever
        ended = {"state": "failed", "error": "the server could not finish this"}
    if entry.is_dir():
        history.amend(entry, **ended)


# ---- restorations ---------------------------------------------------------------------------


async def restore(request: Request) -> Response:
    """POST /page/restorations: a photo, and a prior or the model to ask for one."""
    context, client, kept = _client(request)
    async with request.form(
        max_files=2, max_fields=8, max_part_size=context.limits.field_bytes
    ) as form:
        photo, prior = form.get("photo"), form.get("prior")
        if not isinstance(photo, UploadFile):
            raise Problem(400, "photo: want a file, got none", "missing", "photo")
        model, prompt = str(form.get("model") or ""), str(form.get("prompt") or "")
        name = history.plain_name(photo.filename)
        entry = kept.create({"kind": "restoration", "name": name, "model": model or None})
        try:
            await _save(photo, entry / "photo", context)
            if isinstance(prior, UploadFile):
                await _save(prior, entry / "prior", context)
                model = ""
            call = prior_call(model, prompt, entry / "photo") if model else None
            if call is not None:
                context.service.check(call)
        except BaseException:
            shutil.rmtree(entry, ignore_errors=True)
            raise
    return _start(request, entry, _restored(context, client, entry, call))


async def _save(upload: UploadFile, path: Path, context: Context) -> None:
    path.write_bytes(await upload.read())
    check_picture(path, path.name, context.limits)


async def _restored(
    context: Context, client: Client, entry: Path, call: Call | None
) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if call is not None:
        history.amend(entry, state="asking")
        service = context.service
        ask = service.service().edit
        answer = await in_turn(service.remote, client, ask, client, call, entry)
        answer.files[0].replace(entry / "prior")
        told = {
            "cost_usd": answer.cost_usd,
            "upstream_model": answer.model,
            "notices": list(answer.notices),
        }
        history.amend(entry, state="waiting", **told)
    system = told.get("upstream_model") or ""
    order = _order(context, entry, system=system)
    await in_turn(context.service.local, client, page_work.restore, order)
    return told


async def in_turn(jobs: Jobs, client: Client, work: Any, *arguments: Any) -> Any:  # noqa: ANN401
    """The result of the work; an entry that was taken in waits until there is room in the line."""
    while True:
        try:
            return await jobs.run(client.name, work, *arguments)
        except Problem as problem:
            if problem.status != 429 or "retry-after" not in problem.headers:
                raise
            await asyncio.sleep(min(MOST_PAUSE_S, float(problem.headers["retry-after"])))


def _order(
    context: Context,
    entry: Path,
    *,
    fidelity: float = 1.0,
    system: str = "",
    drop_gps: bool = False,
) -> page_work.PageOrder:
    prior = entry / "prior"
    return page_work.PageOrder(
        entry,
        entry / "photo",
        prior if prior.is_file() else None,
        context.limits.pixels,
        fidelity,
        system,
        drop_gps,
    )


async def listing(request: Request) -> Response:
    """GET /page/history: every entry of this client, newest first."""
    _, _, kept = _client(request)
    entries = await run_in_threadpool(history.records, kept, frozenset(_running(request)))
    return json_response({"entries": entries})


async def one(request: Request) -> Response:
    """GET /page/history/{id}."""
    _, _, kept = _client(request)
    name = request.path_params["id"]
    return json_response(history.record(kept.entry(name), running=name in _running(request)))


async def remove(request: Request) -> Response:
    """DELETE /page/history/{id}: stops its work and forgets it."""
    _, _, kept = _client(request)
    name = request.path_params["id"]
    kept.entry(name)
    task = _running(request).pop(name, None)
    if task is not None:
        task.cancel()
    kept.remove(name)
    return Response(status_code=204)


async def picture(request: Request) -> Response:
    """GET /page/history/{id}/{picture}.png; ?save=1 gives it a name to be saved under."""
    _, _, kept = _client(request)
    path = kept.picture(request.path_params["id"], request.path_params["picture"])
    media_type, headers = _media_type(path), PRIVATE
    if request.query_params.get("save"):
        name = history.record(path.parent, running=False).get("name") or "picture"
        suffix = media_type.removeprefix("image/")
        headers = headers | history.attachment(f"{history.plain_name(name, 'picture')}.{suffix}")
    return FileResponse(path, media_type=media_type, headers=headers)


def _media_type(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] == b"RIFF":
        return "image/webp"
    return "image/jpeg" if head[:2] == b"\xff\xd8" else "image/png"


async def file(request: Request) -> Response:
    """GET /page/history/{id}/file?fidelity=&place=no: the restoration, as the photo came."""
    context, client, kept = _client(request)
    entry = kept.entry(request.path_params["id"])
    told = history.record(entry, running=False)
    fidelity = _fidelity(request.query_params.get("fidelity", "1"))
    if not (entry / "result.json").is_file():
        raise Problem(409, "this restoration is not finished yet", "not_ready")
    system, no_place = told.get("upstream_model") or "", request.query_params.get("place") == "no"
    order = _order(context, entry, fidelity=fidelity, system=system, drop_gps=no_place)
    path = entry / page_work.file_name(order)
    if not path.is_file():
        await in_turn(context.service.local, client, page_work.write_file, order)
    return FileResponse(path, headers={**PRIVATE, **history.attachment(_saved_as(told, path))})


def _fidelity(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise Problem(400, "fidelity: want a number from 0 to 1", "invalid_value", "fidelity")
    return round(value, 2)


def _saved_as(told: dict[str, Any], path: Path) -> str:
    stem = Path(told.get("name") or "photo").stem
    fidelity = path.stem.removeprefix("file-").removesuffix("-placeless")
    share = "" if fidelity == "100" else f"_fidelity{fidelity}"
    return f"{stem}_restored{share}{path.suffix}"


async def archive(request: Request) -> Response:
    """GET /page/restorations.zip: every finished restoration with its record."""
    context, _, kept = _client(request)
    target = context.incoming / f"{secrets.token_hex(8)}.zip"
    await run_in_threadpool(_zip, kept, target)
    headers = {**PRIVATE, **history.attachment("verax-restorations.zip")}
    gone = BackgroundTask(partial(target.unlink, missing_ok=True))
    return FileResponse(target, media_type="application/zip", headers=headers, background=gone)


def _zip(kept: History, target: Path) -> None:
    taken: set[str] = set()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as bundle:
        for name in sorted(kept.ids()):
            entry = kept.entry(name)
            told = history.record(entry, running=False)
            for path in entry.glob("file-100.*"):
                if path.suffix == ".json":  # a statement beside the file
                    continue
                saved = _saved_as(told, path)
                stem, suffix = Path(saved).stem, path.suffix
                count = 2
                while saved in taken:
                    saved, count = f"{stem}-{count}{suffix}", count + 1
                taken.add(saved)
                bundle.write(path, saved)
                bundle.writestr(f"{saved}.json", json.dumps(told, indent=2, ensure_ascii=False))


# ---- the paid service -----------------------------------------------------------------------


async def models(request: Request) -> Response:
    """GET /page/models: what may be asked, with the rules of each model."""
    context, client, _ = _client(request)
    try:
        told = page_prices.offer(context.service.service())
    except VeraxError as exc:
        told = {"ready": False, "message": str(exc), "service": "", "models": []}
    return json_response({**told, "budget_usd": client.budget_usd})


async def price(request: Request) -> Response:
    """GET /page/price: what a wish will cost, before anybody is asked."""
    context, _, _ = _client(request)
    asked = request.query_params
    kind = "generation" if asked.get("kind") == "generation" else "edit"
    wish = page_prices.Wish(
        kind,
        asked.get("model", ""),
        _whole(asked.get("width"), 1024),
        _whole(asked.get("height"), 1024),
        asked.get("size", "auto"),
        asked.get("quality") or None,
        min(10, _whole(asked.get("n"), 1)),
    )
    found = await run_in_threadpool(page_prices.price, context.service.service(), wish)
    return json_response(found)


def _whole(text: str | None, default: int) -> int:
    """A side in pixels or a count; 1 to 100 000."""
    number = int(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else default
    return min(100_000, max(1, number))


async def generate(request: Request) -> Response:
    """POST /page/generations: pictures from words, or the next turn of an edit."""
    context, client, kept = _client(request)
    try:
        asked = json.loads(await request.body())
    except (ValueError, RecursionError) as exc:
        raise Problem(400, f"the body is not JSON: {exc}", "invalid_json") from exc
    call, about = generation_call(asked, kept)
    context.service.check(call)
    entry = kept.create(about)
    return _start(request, entry, _generated(context, client, entry, call))


async def _generated(context: Context, client: Client, entry: Path, call: Call) -> dict[str, Any]:
    history.amend(entry, state="asking")
    answer = await context.service.answer(client, call, entry)
    for index, made in enumerate(answer.pictures):
        (entry / f"picture-{index}.png").write_bytes(made.data)
    return {"cost_usd": answer.verax["cost_usd"], "size": answer.size,
            "notices": answer.verax["warnings"]}  # fmt: skip


ENTRY = "/page/history/{id}"
routes: list[Route] = [
    *(Route(path, static) for path in STATIC),
    Route("/page/restorations", restore, methods=["POST"]),
    Route("/page/restorations.zip", archive),
    Route("/page/generations", generate, methods=["POST"]),
    Route("/page/models", models),
    Route("/page/price", price),
    Route("/page/history", listing),
    Route(ENTRY, one),
    Route(ENTRY, remove, methods=["DELETE"]),
    Route(f"{ENTRY}/file", file),
    Route(f"{ENTRY}/{{picture}}", picture),
]
