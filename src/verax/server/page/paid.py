"""HTTP routes of the web page for paid services: models, prices and requests for pictures."""

import io
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from verax import catalog
from verax.catalog.models import Model
from verax.errors import SettingsError, VeraxError
from verax.geometry import canvas as canvases
from verax.priors import number_instructions
from verax.priors.generated import DEFAULT_MODEL
from verax.providers import EditRequest, GenerateRequest, ImageFile
from verax.server import Problem, json_response
from verax.server.access import Account
from verax.server.api import MAX_PROMPT, is_text
from verax.server.api.calls import ImageCall
from verax.server.api.intake import read_small
from verax.server.api.routes import Context
from verax.server.api.upstream import FAITHFUL, Upstream
from verax.server.page import history, work
from verax.server.page.history import History, earlier_answer, start, whose

TEXTS = ("size", "quality", "moderation")
MOST_TURNS = 50

# ---- offers and prices ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PriceQuestion:
    """A request for pictures whose price is to be estimated.

    Attributes:
        kind: "edit" or "generation".
        width, height: size in pixels of the photo to edit; not used for a generation.
        model: "NAME" or "verax/NAME".
        size: "WIDTHxHEIGHT" of the picture to generate; "auto": chosen by the photo's size, or
            for a generation by the service.
        quality: the service's name of a quality, None for the model's default.
        n: number of pictures to generate.
        prompt: "" if one of Verax's own prompts is chosen later.
    """

    kind: str
    model: str
    width: int = 0
    height: int = 0
    size: str = "auto"
    quality: str | None = None
    n: int = 1
    prompt: str = ""


def offer(upstream: Upstream) -> dict[str, Any]:
    """What the page offers, as JSON. "service" is the service's name, "ready" is whether a key is
    set, and "message" says why not. "models" lists the available models, the default one first,
    then the newest."""
    today = datetime.now(UTC).date()
    ready, message = True, ""
    try:
        upstream.service.require_key()
    except SettingsError as exc:
        ready, message = False, str(exc)
    known = [m for m in upstream.service.known.values() if not m.has_ended(today)]
    default = upstream.settings.model or DEFAULT_MODEL
    newest = sorted(
        known,
        key=lambda m: (m.name == default, m.since.isoformat() if m.since else ""),
        reverse=True,
    )
    return {
        "ready": ready,
        "message": message,
        "service": upstream.service.gateway.name,
        "models": [_entry(model) for model in newest],
    }


def _entry(model: Model) -> dict[str, Any]:
    """A model as JSON for the page: its name as "id", sizes, qualities, levels of moderation, and
    its shutdown date as "ends" (ISO date or null)."""
    sizes = asdict(model.sizes)
    sizes["fixed"] = [f"{width}x{height}" for width, height in model.sizes.fixed]
    return {
        "id": model.name,
        "sizes": sizes,
        "qualities": list(model.qualities),
        "default_quality": model.default_quality,
        "moderation": list(model.fields.get("moderation", ())),
        "ends": model.ends.isoformat() if model.ends else None,
    }


def price_of(upstream: Upstream, wish: PriceQuestion) -> dict[str, Any]:
    """The price of a request as JSON: {"size", "expected_usd", "high_usd"}, with the expected and
    the highest price in US dollars, both null if unknown. "note" is there only if no token count is
    known for the size or quality, and says so. Raises InputError if the model would refuse."""
    service, name = upstream.service, wish.model.removeprefix(FAITHFUL)
    request: GenerateRequest
    if wish.kind == "generation":
        request = GenerateRequest(
            model=name,
            prompt=wish.prompt or _longest_prompt(),
            size=wish.size,
            quality=wish.quality,
            n=wish.n,
        )
    else:
        model = service.model(name)
        canvas = canvases.plan(wish.width, wish.height, model.sizes)
        request = EditRequest(
            model=name,
            prompt=wish.prompt or _longest_prompt(),
            images=(ImageFile(_blank(canvas.size), "photo.png"),),
            size=f"{canvas.size[0]}x{canvas.size[1]}" if wish.size == "auto" else wish.size,
            quality=wish.quality or model.default_quality or None,
            n=wish.n,
        )
    prepared, _ = service.prepare(request)
    price: dict[str, Any] = {"size": prepared.size, "expected_usd": None, "high_usd": None}
    try:
        estimate = upstream.tariff.estimate(prepared)
    except VeraxError as exc:  # a size or quality without a known token count
        return {**price, "note": str(exc)}
    return {**price, "expected_usd": estimate.expected_usd, "high_usd": estimate.high_usd}


@cache
def _longest_prompt() -> str:
    """The longest of Verax's own prompts, for an upper bound of the price of any of them."""
    return max((catalog.prompt(task).text for task in catalog.tasks()), key=len)


@lru_cache(maxsize=32)
def _blank(size: tuple[int, int]) -> bytes:
    """A white PNG of this (width, height), used to estimate a price, which depends on the size."""
    buffer = io.BytesIO()
    PillowImage.new("1", size, 1).save(buffer, "PNG")
    return buffer.getvalue()


# ---- calls ---------------------------------------------------------------------------------------


def prior_call(model: str, prompt: str, photo: Path, size: tuple[int, int]) -> ImageCall:
    """The call that requests a prior from `model` ("NAME" or "verax/NAME"), for the photo in the
    file `photo` with this (width, height). If `prompt` is "", Verax chooses one of its own."""
    name = FAITHFUL + model.removeprefix(FAITHFUL)
    return _call("edit", name, prompt, (photo,), {}, (size,))


def generation_call(payload: Any, entries: History) -> tuple[ImageCall, dict[str, Any]]:  # noqa: ANN401
    """The call that requests generated pictures, and the fields of a new entry of the history.

    `payload` is JSON from the page: {"model", "prompt", "n", "size", "quality", "moderation"}. To
    edit a picture of the history, it also holds {"first": {"id": of its entry, "picture": its
    name}, "turns": [earlier instructions]}. Raises Problem 400 if the payload is not valid.
    """
    if not isinstance(payload, dict):
        text = f"expected a JSON object {{...}} as the body, got {payload!r:.60}; send an object"
        raise Problem(400, text, "invalid_type")
    prompt, model = _text(payload, "prompt").strip(), _text(payload, "model")
    if not prompt:
        text = "prompt: expected a text that says what the picture should show, got none; add it"
        raise Problem(400, text, "missing", "prompt")
    fields: dict[str, Any] = {name: _text(payload, name) for name in TEXTS if payload.get(name)}
    n = payload.get("n", 1)
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 10:
        text = f"n: expected a whole number from 1 to 10, got {str(n)[:60]!r}"
        raise Problem(400, text, "invalid_value", "n")
    first, turns = payload.get("first"), payload.get("turns", [])
    about = {"kind": "generation", "name": prompt[:80], "prompt": prompt, "model": model, "n": n}
    if first is None:
        return _call("generation", model, prompt, (), {**fields, "n": n}), about
    if not isinstance(first, dict):
        text = f"first: expected an object with keys id and picture, got {first!r:.60}; correct it"
        raise Problem(400, text, "invalid_type", "first")
    if not _texts(turns):
        text = f"turns: expected a list of at most {MOST_TURNS} texts, got {turns!r:.60}"
        raise Problem(400, text, "invalid_type", "turns")
    source = entries.picture(_text(first, "id"), _text(first, "picture"))
    words = number_instructions([*turns, prompt])
    about |= {"first": {"id": first["id"], "picture": first["picture"]}, "turns": turns}
    return _call("edit", model, words, (source,), {**fields, "n": n}), about


def _call(
    kind: str,
    model: str,
    prompt: str,
    images: tuple[Path, ...],
    fields: dict[str, Any],
    sizes: tuple[tuple[int, int], ...] = (),
) -> ImageCall:
    """A call with these values and no mask. Raises Problem 400 for a prompt that is too long."""
    if len(prompt) > MAX_PROMPT:
        raise Problem(
            400, f"prompt: expected at most {MAX_PROMPT} characters, got {len(prompt)}; shorten it",
            "invalid_value", "prompt",
        )  # fmt: skip
    return ImageCall(kind, model, prompt, images, sizes, None, fields, False, 1.0, (), "")


def _text(values: dict[str, Any], name: str) -> str:
    """The text `values[name]` in the JSON of a request. Raises Problem 400 if it is no text."""
    value = values.get(name)
    if not is_text(value):
        text = f"{name}: expected text, got {value!r:.60}; correct it"
        raise Problem(400, text, "invalid_type", name)
    return value


def _texts(turns: object) -> bool:
    return isinstance(turns, list) and len(turns) <= MOST_TURNS and all(map(is_text, turns))


# ---- routes --------------------------------------------------------------------------------


async def models(request: Request) -> Response:
    """GET /page/models: the paid service's models, the client's budget, and Verax's prompts."""
    context, client, _ = whose(request)
    try:
        offers = offer(context.service.service())
    except VeraxError as exc:
        offers = {"ready": False, "message": str(exc), "service": "", "models": []}
    words = {task: catalog.prompt(task).text for task in catalog.tasks()}
    return json_response({**offers, "budget_usd": client.budget_usd, "prompts": words})


async def price(request: Request) -> Response:
    """GET /page/price: the expected and the highest price of a request, without sending it."""
    context, _, _ = whose(request)
    query = request.query_params
    kind = "generation" if query.get("kind") == "generation" else "edit"
    wish = PriceQuestion(
        kind,
        query.get("model", ""),
        _whole(query.get("width"), 1024),
        _whole(query.get("height"), 1024),
        query.get("size", "auto"),
        query.get("quality") or None,
        min(10, _whole(query.get("n"), 1)),
        query.get("prompt", ""),
    )
    payload = await run_in_threadpool(price_of, context.service.service(), wish)
    return json_response(payload)


def _whole(text: str | None, default: int) -> int:
    """The whole number in a query parameter, limited to 1..100,000; `default` for other text."""
    number = int(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else default
    return min(100_000, max(1, number))


async def generate(request: Request) -> Response:
    """POST /page/generations: generate pictures from a prompt, or edit an earlier picture."""
    context, client, entries = whose(request)
    try:
        payload = json.loads(await read_small(request, context.limits.field_bytes))
    except (ValueError, RecursionError) as exc:
        text = f"expected JSON as the body, but it cannot be parsed; correct it: {exc}"
        raise Problem(400, text, "invalid_json") from exc
    call, about = generation_call(payload, entries)
    name = payload.get("id") or ""
    earlier = await earlier_answer(request, entries, name)
    if earlier is not None:
        return earlier
    context.service.check(call)
    entry = await run_in_threadpool(partial(entries.create, about, name=name))
    return await start(request, entry, partial(_generate, context, client, entry, call))


async def _generate(
    context: Context, client: Account, entry: Path, call: ImageCall
) -> dict[str, Any]:
    """Make the paid call for an entry, and store the pictures that it returns. Returns changes to
    request.json: cost, size, notices and, for several pictures, the index (from 0) of the best."""
    await run_in_threadpool(partial(history.amend, entry, state="asking"))
    answer = await context.service.answer(client, call, entry)
    files = tuple(entry / f"picture-{index}.png" for index in range(len(answer.pictures)))
    for picture, path in zip(answer.pictures, files, strict=True):
        picture.replace(path)
    about = answer.about["verax"]
    changes = {"cost_usd": about["cost_usd"], "size": about["size"], "notices": about["warnings"]}
    if len(files) > 1:
        first = call.images[0] if call.images else None
        changes["best"] = await context.service.local.finish(client.name, work.best, files, first)
    return changes
