"""What the page asks of the server.

Everything under /page/ belongs to the client who asks; an entry of anybody else does not exist.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from verax.errors import VeraxError
from verax.image.header import Header
from verax.server.bodies import bounded, keep
from verax.server.calls import Call, look
from verax.server.context import Context
from verax.server.keys import Client
from verax.server.page import downloads, history, prices, static, work
from verax.server.page.asking import generation_call, prior_call
from verax.server.page.downloads import order_of
from verax.server.page.entries import in_turn, start, under_way, whose
from verax.server.replies import Problem, json_response

EXAMPLE = "example, darkened on purpose.png"
EXAMPLE_NOTICE = "The generated picture of this example is simulated; no image generator was asked."

# ---- restorations ---------------------------------------------------------------------------


async def restore(request: Request) -> Response:
    """POST /page/restorations: a photo, and a prior or the model to ask for one."""
    context, client, kept = whose(request)
    async with request.form(
        max_files=2, max_fields=8, max_part_size=context.limits.field_bytes
    ) as form:
        photo, prior = form.get("photo"), form.get("prior")
        if not isinstance(photo, UploadFile):
            raise Problem(400, "photo: want a file, got none", "missing", "photo")
        model, prompt = str(form.get("model") or ""), str(form.get("prompt") or "")
        asked = {"kind": "restoration", "name": history.plain_name(photo.filename),
                 "model": model or None, "prompt": prompt}  # fmt: skip
        entry = await run_in_threadpool(kept.create, asked)
        try:
            seen = await _keep(photo, entry / "photo", context, client)
            if isinstance(prior, UploadFile):
                await _keep(prior, entry / "prior", context, client)
                asked["model"] = None
            call = _prior_call(asked, entry, seen)
            if call is not None:
                context.service.check(call)
            await run_in_threadpool(
                partial(history.amend, entry, model=asked["model"], **asdict(seen))
            )
        except BaseException:
            shutil.rmtree(entry, ignore_errors=True)
            raise
    return await start(request, entry, partial(_restored, context, client, entry, call))


async def example(request: Request) -> Response:
    """POST /page/example: a photo and a prior of ours, for who has none at hand."""
    context, client, kept = whose(request)
    about = {"kind": "restoration", "name": EXAMPLE, "notices": [EXAMPLE_NOTICE]}
    entry = await run_in_threadpool(kept.create, about)
    order = await run_in_threadpool(order_of, context, entry)

    async def make() -> dict[str, Any]:
        await in_turn(context.service.local, client, work.restore_example, order)
        return {}

    return await start(request, entry, make)


async def _keep(upload: UploadFile, path: Path, context: Context, client: Client) -> Header:
    await keep(upload, path)
    seen: Header = await in_turn(
        context.service.intake, client, look, path, path.name, context.limits
    )
    return seen


def _prior_call(asked: Mapping[str, Any], entry: Path, seen: Header) -> Call | None:
    """The call that gets the prior; None where no model is to be asked."""
    if not asked.get("model") or (entry / "prior").is_file():
        return None
    size = (seen.width, seen.height)
    return prior_call(asked["model"], asked.get("prompt", ""), entry / "photo", size)


async def again(request: Request) -> Response:
    """POST /page/history/{id}/again: an entry that failed, from where it stopped.

    A paid answer that came is in the journal and is not paid again.
    """
    context, client, kept = whose(request)
    name = request.path_params["id"]
    entry = kept.entry(name)
    told = await run_in_threadpool(
        partial(history.record, entry, running=name in under_way(request))
    )
    if told["state"] != "failed" or told.get("kind") != "restoration" or "format" not in told:
        raise Problem(409, "only a restoration that failed can be started again", "not_failed")
    seen = Header(told["width"], told["height"], told["format"])
    call = _prior_call(told, entry, seen)
    if call is not None:
        context.service.check(call)
    await run_in_threadpool(history.reopen, entry)
    return await start(request, entry, partial(_restored, context, client, entry, call))


async def _restored(
    context: Context, client: Client, entry: Path, call: Call | None
) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if call is not None:
        await run_in_threadpool(partial(history.amend, entry, state="asking"))
        service = context.service
        ask = service.service().edit
        answer = await in_turn(service.remote, client, ask, client, call, entry)
        answer.files[0].replace(entry / "prior")
        told = {
            "cost_usd": answer.cost_usd,
            "upstream_model": answer.model,
            "notices": list(answer.notices),
        }
        await run_in_threadpool(partial(history.amend, entry, state="waiting", **told))
    order, local = await run_in_threadpool(order_of, context, entry), context.service.local
    if call is not None:
        await local.finish(client.name, work.restore, order)
    else:
        await in_turn(local, client, work.restore, order)
    return told


async def listing(request: Request) -> Response:
    """GET /page/history: every entry of this client, newest first."""
    _, _, kept = whose(request)
    entries = await run_in_threadpool(history.records, kept, frozenset(under_way(request)))
    return json_response({"entries": entries})


async def one(request: Request) -> Response:
    """GET /page/history/{id}."""
    _, _, kept = whose(request)
    name = request.path_params["id"]
    running = name in under_way(request)
    told = await run_in_threadpool(partial(history.record, kept.entry(name), running=running))
    return json_response(told)


async def remove(request: Request) -> Response:
    """DELETE /page/history/{id}: stops its work and forgets it."""
    _, _, kept = whose(request)
    name = request.path_params["id"]
    kept.entry(name)
    task = under_way(request).pop(name, None)
    if task is not None:
        task.cancel()
    await run_in_threadpool(kept.remove, name)
    return Response(status_code=204)


# ---- the paid service -----------------------------------------------------------------------


async def models(request: Request) -> Response:
    """GET /page/models: what may be asked, with the rules of each model."""
    context, client, _ = whose(request)
    try:
        told = prices.offer(context.service.service())
    except VeraxError as exc:
        told = {"ready": False, "message": str(exc), "service": "", "models": []}
    return json_response({**told, "budget_usd": client.budget_usd})


async def price(request: Request) -> Response:
    """GET /page/price: what a wish will cost, before anybody is asked."""
    context, _, _ = whose(request)
    asked = request.query_params
    kind = "generation" if asked.get("kind") == "generation" else "edit"
    wish = prices.Wish(
        kind,
        asked.get("model", ""),
        _whole(asked.get("width"), 1024),
        _whole(asked.get("height"), 1024),
        asked.get("size", "auto"),
        asked.get("quality") or None,
        min(10, _whole(asked.get("n"), 1)),
    )
    found = await run_in_threadpool(prices.price, context.service.service(), wish)
    return json_response(found)


def _whole(text: str | None, default: int) -> int:
    """A side in pixels or a count; 1 to 100 000."""
    number = int(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else default
    return min(100_000, max(1, number))


async def generate(request: Request) -> Response:
    """POST /page/generations: pictures from words, or the next turn of an edit."""
    context, client, kept = whose(request)
    try:
        asked = json.loads(await bounded(request, context.limits.field_bytes))
    except (ValueError, RecursionError) as exc:
        raise Problem(400, f"the body is not JSON: {exc}", "invalid_json") from exc
    call, about = generation_call(asked, kept)
    context.service.check(call)
    entry = await run_in_threadpool(kept.create, about)
    return await start(request, entry, partial(_generated, context, client, entry, call))


async def _generated(context: Context, client: Client, entry: Path, call: Call) -> dict[str, Any]:
    await run_in_threadpool(partial(history.amend, entry, state="asking"))
    answer = await context.service.answer(client, call, entry)
    files = tuple(entry / f"picture-{index}.png" for index in range(len(answer.pictures)))
    for made, path in zip(answer.pictures, files, strict=True):
        made.replace(path)
    about = answer.about["verax"]
    told = {"cost_usd": about["cost_usd"], "size": about["size"], "notices": about["warnings"]}
    if len(files) > 1:
        first = call.images[0] if call.images else None
        told["best"] = await context.service.local.finish(client.name, work.best, files, first)
    return told


ENTRY = "/page/history/{id}"
routes: list[Route] = [
    *(Route(path, static.static) for path in static.STATIC),
    Route("/page/restorations", restore, methods=["POST"]),
    Route("/page/example", example, methods=["POST"]),
    Route("/page/restorations.zip", downloads.archive),
    Route("/page/generations", generate, methods=["POST"]),
    Route("/page/models", models),
    Route("/page/price", price),
    Route("/page/history", listing),
    Route(ENTRY, one),
    Route(ENTRY, remove, methods=["DELETE"]),
    Route(f"{ENTRY}/again", again, methods=["POST"]),
    Route(f"{ENTRY}/stop", downloads.stop),
    Route(f"{ENTRY}/file", downloads.file),
    Route(f"{ENTRY}/{{picture}}", downloads.picture),
]
