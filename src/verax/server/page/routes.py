"""The HTTP routes of the web page.

The restoration of one photo, or one request for pictures, is an entry of the client's history. A
client sees only its own entries; for the ids of others it gets status 404.
"""

import asyncio
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from verax import catalog
from verax.image.header import Header
from verax.server import Problem, json_response
from verax.server.access import Account
from verax.server.api.calls import ImageCall, look
from verax.server.api.intake import keep
from verax.server.api.routes import Context
from verax.server.api.upstream import OPENED
from verax.server.page import files, history, paid, work
from verax.server.page.files import order_of
from verax.server.page.history import earlier_answer, in_turn, start, under_way, whose
from verax.server.page.paid import prior_call

EXAMPLE = "example, darkened on purpose.png"
EXAMPLE_NOTICE = "The generated picture of this example is simulated; no image generator was used."

# ---- restorations ---------------------------------------------------------------------------


async def restore(request: Request) -> Response:
    """POST /page/restorations: restore a photo with an uploaded prior, a generated one, or none.

    The page chooses the entry's id, so a request repeated after a lost connection makes no second
    entry.
    """
    context, client, entries = whose(request)
    async with request.form(
        max_files=2, max_fields=8, max_part_size=context.limits.field_bytes
    ) as form:
        photo, prior = form.get("photo"), form.get("prior")
        if not isinstance(photo, UploadFile):
            raise Problem(400, "photo: expected a file, got none; send one", "missing", "photo")
        name = str(form.get("id") or "")
        earlier = await earlier_answer(request, entries, name)
        if earlier is not None:
            return earlier
        model, prompt = str(form.get("model") or ""), str(form.get("prompt") or "")
        about = {"kind": "restoration", "name": history.plain_name(photo.filename),
                 "model": model or None, "prompt": prompt}  # fmt: skip
        entry = await run_in_threadpool(partial(entries.create, about, name=name))
        try:
            head = await _keep(photo, entry / "photo", context, client)
            if isinstance(prior, UploadFile):
                await _keep(prior, entry / "prior", context, client)
                about["model"] = None
            call = _prior_call(about, entry, head)
            if call is not None:
                context.service.check(call)
            await run_in_threadpool(
                partial(history.amend, entry, model=about["model"], **asdict(head))
            )
        except BaseException:
            shutil.rmtree(entry, ignore_errors=True)
            raise
    return await start(request, entry, partial(_restore, context, client, entry, call))


async def example(request: Request) -> Response:
    """POST /page/example: restore the example photo with a simulated prior."""
    context, client, entries = whose(request)
    about = {"kind": "restoration", "name": EXAMPLE, "notices": [EXAMPLE_NOTICE], "format": "png"}
    entry = await run_in_threadpool(entries.create, about)
    order = await run_in_threadpool(order_of, context, entry)

    async def make() -> dict[str, Any]:
        await in_turn(context.service.local, client, work.restore_example, order)
        return {}

    return await start(request, entry, make)


async def _keep(
    upload: UploadFile, path: Path, context: Context, client: Account, *, param: str = ""
) -> Header:
    """Store an uploaded picture as `path`. Returns its header (format and size). Raises Problem 400
    if it is no picture; this names the form field `param`, or the name of `path` if that is ""."""
    await keep(upload, path)
    head: Header = await in_turn(
        context.service.intake, client, look, path, param or path.name, context.limits
    )
    return head


async def size(request: Request) -> Response:
    """POST /page/size: the format and size of a photo that the browser cannot decode."""
    context, client, _ = whose(request)
    async with request.form(max_files=1, max_fields=1) as form:
        photo = form.get("photo")
        if not isinstance(photo, UploadFile):
            raise Problem(400, "photo: expected a file, got none; send one", "missing", "photo")
        path = context.incoming / secrets.token_hex(8)
        try:
            head = await _keep(photo, path, context, client, param="photo")
        finally:
            path.unlink(missing_ok=True)
    return json_response(asdict(head))


def _prior_call(about: Mapping[str, Any], entry: Path, head: Header) -> ImageCall | None:
    """The call that requests a prior for the photo of an entry; None if the entry has a prior, or
    if `about`, the content of its request.json, names no "model". `head`: header of the photo."""
    if not about.get("model") or (entry / "prior").is_file():
        return None
    size = (head.width, head.height)
    return prior_call(about["model"], about.get("prompt", ""), entry / "photo", size)


async def again(request: Request) -> Response:
    """POST /page/history/{id}/again: restore an entry again, after a failure or with changes.

    The form may hold a new `prior`, drawings `mask` (white where the photo is damaged) and `only`
    (white where the photo may change), and a `task` such as "dehaze"; empty texts remove them.
    """
    context, client, entries = whose(request)
    name = request.path_params["id"]
    entry = entries.entry(name)
    record = await run_in_threadpool(
        partial(history.record, entry, running=name in under_way(request))
    )
    if record.get("kind") != "restoration" or not {"format", "width"} <= set(record):
        raise Problem(409, "this entry has no photo to restore; send a new photo", "not_failed")
    if record["state"] not in (*history.FINAL, "measuring"):
        raise Problem(409, "this restoration is in progress; wait until it has ended", "not_ready")
    if name in under_way(request):  # the file is made, but the task has not ended
        await asyncio.wait([under_way(request)[name]])
    limits = context.limits
    async with request.form(max_files=3, max_fields=8, max_part_size=limits.field_bytes) as form:
        if record["state"] != "failed" and not form:
            text = "this restoration has not failed; to repeat it, change its prior, mask or task"
            raise Problem(409, text, "not_failed")
        changes = await _changes(form, entry, context, client)
    head = Header(record["width"], record["height"], record["format"])
    call = _prior_call({**record, **changes}, entry, head)
    if call is not None:
        context.service.check(call)
    if name in under_way(request):  # started from another tab; no await from here on
        raise Problem(409, "this restoration is in progress; wait until it has ended", "not_ready")
    history.reopen(entry)
    history.amend(entry, **changes)
    return await start(request, entry, partial(_restore, context, client, entry, call))


async def _changes(
    form: FormData, entry: Path, context: Context, client: Account
) -> dict[str, Any]:
    """Check the form fields task, prior, mask and only, then replace the files of an entry by those
    in the form. Returns the changes that the caller must make to the entry's request.json."""
    task = form.get("task")
    if task and task not in catalog.tasks():
        text = f"task: expected one of {', '.join(catalog.tasks())}, got {str(task)[:60]!r}"
        raise Problem(400, text, "invalid_value", "task")
    fresh: dict[str, Path | None] = {}
    try:
        for name in ("prior", "mask", "only"):
            part = form.get(name)
            if isinstance(part, UploadFile):
                place = context.incoming / secrets.token_hex(8)
                fresh[name] = place
                await _keep(part, place, context, client, param=name)
            elif part is not None:
                fresh[name] = None
        for name, path in fresh.items():
            if path is None:
                (entry / name).unlink(missing_ok=True)
            else:
                await run_in_threadpool(shutil.move, path, entry / name)
    finally:
        for path in fresh.values():
            if path is not None:
                path.unlink(missing_ok=True)
    changes: dict[str, Any] = {} if task is None else {"task": task}
    if "prior" in fresh:  # the new prior replaces a paid one
        (entry / "answer-0").unlink(missing_ok=True)
        changes |= {"model": None, "upstream_model": None, "cost_usd": None, "notices": []}
    return changes


async def _restore(
    context: Context, client: Account, entry: Path, call: ImageCall | None
) -> dict[str, Any]:
    """Restore the photo of an entry. If `call` is not None, first request the prior with this call.
    Returns the changes to the entry's request.json, such as the cost."""
    local = context.service.local
    if call is None:
        order = await run_in_threadpool(order_of, context, entry)
        await in_turn(local, client, work.restore, order)
        return {}
    try:
        changes = await _ask_for_prior(context, client, entry, call)
        order = await run_in_threadpool(order_of, context, entry)
        await local.finish(client.name, work.restore, order)
    finally:
        (entry / OPENED).unlink(missing_ok=True)
    return changes


async def _ask_for_prior(
    context: Context, client: Account, entry: Path, call: ImageCall
) -> dict[str, Any]:
    """Request the prior of an entry from the paid service, and store it as the file "prior" of the
    entry. Returns the changes that were made to request.json: cost, model and notices."""
    await run_in_threadpool(partial(history.amend, entry, state="asking"))
    ask = context.service.service().edit
    answer = await in_turn(context.service.remote, client, ask, client, call, entry)
    answer.files[0].replace(entry / "prior")
    changes = {
        "cost_usd": answer.cost_usd,
        "upstream_model": answer.model,
        "notices": list(answer.notices),
    }
    await run_in_threadpool(partial(history.amend, entry, state="waiting", **changes))
    return changes


async def listing(request: Request) -> Response:
    """GET /page/history: the client's entries, newest first; status 304 if none has changed."""
    context, _, entries = whose(request)
    running = frozenset(under_way(request))
    tag = await run_in_threadpool(history.version, entries, running)
    headers = {"etag": tag} if tag else {}
    if tag and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    await run_in_threadpool(history.forget, context.results)
    records = await run_in_threadpool(history.records, entries, running)
    return json_response({"entries": records}, headers=headers)


async def one(request: Request) -> Response:
    """GET /page/history/{id}: one entry."""
    _, _, entries = whose(request)
    name = request.path_params["id"]
    running = name in under_way(request)
    record = await run_in_threadpool(partial(history.record, entries.entry(name), running=running))
    return json_response(record)


async def remove(request: Request) -> Response:
    """DELETE /page/history/{id}: stop the work on an entry, and delete the entry. This can be
    undone for ten minutes."""
    context, _, entries = whose(request)
    name = request.path_params["id"]
    entries.entry(name)
    task = under_way(request).pop(name, None)
    if task is not None:
        task.cancel()
    await run_in_threadpool(entries.remove, name)
    loop = asyncio.get_running_loop()
    forget = partial(history.forget, context.results)
    loop.call_later(history.UNDO_S + 1, lambda: loop.run_in_executor(None, forget))
    return Response(status_code=204)


async def bring_back(request: Request) -> Response:
    """POST /page/history/{id}/back: undo the deletion of an entry within ten minutes."""
    _, _, entries = whose(request)
    entry = await run_in_threadpool(entries.bring_back, request.path_params["id"])
    return json_response(await run_in_threadpool(partial(history.record, entry, running=False)))


ENTRY = "/page/history/{id}"
routes: list[Route] = [
    *(Route(path, files.static) for path in files.STATIC),
    Route("/page/restorations", restore, methods=["POST"]),
    Route("/page/example", example, methods=["POST"]),
    Route("/page/restorations.zip", files.archive),
    Route("/page/size", size, methods=["POST"]),
    Route("/page/straighten", files.straighten, methods=["POST"]),
    Route("/page/generations", paid.generate, methods=["POST"]),
    Route("/page/models", paid.models),
    Route("/page/price", paid.price),
    Route("/page/history", listing),
    Route(ENTRY, one),
    Route(ENTRY, remove, methods=["DELETE"]),
    Route(f"{ENTRY}/again", again, methods=["POST"]),
    Route(f"{ENTRY}/back", bring_back, methods=["POST"]),
    Route(f"{ENTRY}/stop", files.stop),
    Route(f"{ENTRY}/file", files.file),
    Route(f"{ENTRY}/{{picture}}", files.picture),
]
