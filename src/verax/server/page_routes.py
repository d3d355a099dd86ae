"""What the page asks of the server.

Everything under /page/ belongs to the client who asks; an entry of anybody else does not exist.
"""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from verax.errors import VeraxError
from verax.server import history, page_downloads, page_prices, page_static, page_work
from verax.server.calls import Call, check_picture
from verax.server.context import Context
from verax.server.keys import Client
from verax.server.page_asking import generation_call, prior_call
from verax.server.page_downloads import order_of
from verax.server.page_entries import in_turn, start, under_way, whose
from verax.server.replies import Problem, json_response

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
    return start(request, entry, partial(_restored, context, client, entry, call))


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
    order = order_of(context, entry, system=system)
    await in_turn(context.service.local, client, page_work.restore, order)
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
    return json_response(history.record(kept.entry(name), running=name in under_way(request)))


async def remove(request: Request) -> Response:
    """DELETE /page/history/{id}: stops its work and forgets it."""
    _, _, kept = whose(request)
    name = request.path_params["id"]
    kept.entry(name)
    task = under_way(request).pop(name, None)
    if task is not None:
        task.cancel()
    kept.remove(name)
    return Response(status_code=204)


# ---- the paid service -----------------------------------------------------------------------


async def models(request: Request) -> Response:
    """GET /page/models: what may be asked, with the rules of each model."""
    context, client, _ = whose(request)
    try:
        told = page_prices.offer(context.service.service())
    except VeraxError as exc:
        told = {"ready": False, "message": str(exc), "service": "", "models": []}
    return json_response({**told, "budget_usd": client.budget_usd})


async def price(request: Request) -> Response:
    """GET /page/price: what a wish will cost, before anybody is asked."""
    context, _, _ = whose(request)
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
    context, client, kept = whose(request)
    try:
        asked = json.loads(await request.body())
    except (ValueError, RecursionError) as exc:
        raise Problem(400, f"the body is not JSON: {exc}", "invalid_json") from exc
    call, about = generation_call(asked, kept)
    context.service.check(call)
    entry = kept.create(about)
    return start(request, entry, partial(_generated, context, client, entry, call))


async def _generated(context: Context, client: Client, entry: Path, call: Call) -> dict[str, Any]:
    history.amend(entry, state="asking")
    answer = await context.service.answer(client, call, entry)
    for index, made in enumerate(answer.pictures):
        (entry / f"picture-{index}.png").write_bytes(made.data)
    return {"cost_usd": answer.verax["cost_usd"], "size": answer.size,
            "notices": answer.verax["warnings"]}  # fmt: skip


ENTRY = "/page/history/{id}"
routes: list[Route] = [
    *(Route(path, page_static.static) for path in page_static.STATIC),
    Route("/page/restorations", restore, methods=["POST"]),
    Route("/page/restorations.zip", page_downloads.archive),
    Route("/page/generations", generate, methods=["POST"]),
    Route("/page/models", models),
    Route("/page/price", price),
    Route("/page/history", listing),
    Route(ENTRY, one),
    Route(ENTRY, remove, methods=["DELETE"]),
    Route(f"{ENTRY}/file", page_downloads.file),
    Route(f"{ENTRY}/{{picture}}", page_downloads.picture),
]
