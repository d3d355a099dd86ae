"""The body of an answer -> pictures, usage and what differs from what was asked.

A stored body is read again by the same function, so nothing that was paid for is lost.
"""

import base64
import io
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from PIL import Image as PillowImage

from verax.errors import ProviderError, ProviderRefused
from verax.providers.failures import said
from verax.providers.requests import GeneratedImage, ImagesAnswer, Request, Usage

Fetch = Callable[[str], bytes]  # the bytes behind a link
MAX_PIXELS = 64_000_000  # far above every legal size; a larger picture is not decoded
_MEDIA = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


def read_answer(
    body: bytes,
    *,
    request: Request | None = None,
    fetch: Fetch | None = None,
    headers: Mapping[str, str] | None = None,
    retries: int = 0,
) -> ImagesAnswer:
    """The answer in a body of the Images API.

    `fetch` gets pictures that came as links; `headers` are the answer's. Raises ProviderError
    where the body holds no picture that can be read.
    """
    data = json_object(body)
    items = data.get("data")
    if not isinstance(items, list) or not items:
        _raise_what_it_says(body)
        raise ProviderError("the service answered without a picture; the answer is kept")
    images = tuple(_image(item, fetch) for item in items)
    return ImagesAnswer(
        images=images,
        usage=read_usage(data.get("usage")),
        model=_text(data.get("model")) or _text(_table(data.get("metadata")).get("executed_model")),
        size=_text(data.get("size")),
        quality=_text(data.get("quality")),
        billed_usd=_billed(data),
        request_id=(headers or {}).get("x-request-id", ""),
        raw=body,
        retries=retries,
        notices=tuple(_differences(images, data, request)) if request else (),
    )


def read_usage(usage: object) -> Usage | None:
    """The token counts under the keys of the Images API; unknown keys are passed over."""
    table = _table(usage)
    total_in, total_out = _count(table, "input_tokens"), _count(table, "output_tokens")
    if total_in is None and total_out is None:
        return None
    inputs, outputs = (
        _table(table.get("input_tokens_details")),
        _table(table.get("output_tokens_details")),
    )
    text_in, text_out = _count(inputs, "text_tokens") or 0, _count(outputs, "text_tokens") or 0
    image_in, image_out = _count(inputs, "image_tokens"), _count(outputs, "image_tokens")
    return Usage(
        input_text=text_in,
        input_image=max(0, (total_in or 0) - text_in) if image_in is None else image_in,
        output_text=text_out,
        output_image=max(0, (total_out or 0) - text_out) if image_out is None else image_out,
    )


def real_picture(data: bytes) -> GeneratedImage:
    """A picture with its real format and size; decoded to the last row, so a cut file shows."""
    try:
        picture = PillowImage.open(io.BytesIO(data), formats=list(_MEDIA))
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"{picture.width}x{picture.height} pixels")
        picture.load()
    except Exception as exc:  # decoders raise anything: one door for all of it
        raise ProviderError(
            f"the service delivered a picture that cannot be read ({exc}); the answer is kept and "
            "was probably billed"
        ) from exc
    return GeneratedImage(data, _MEDIA[picture.format or ""], picture.width, picture.height)


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; ProviderError for anything else."""
    try:
        data = json.loads(body)
    except ValueError as exc:
        raise ProviderError(f"the service answered something that is no JSON: {exc}") from exc
    if not isinstance(data, dict):
        raise ProviderError(f"the service answered a JSON {type(data).__name__}, want an object")
    return data


def _raise_what_it_says(body: bytes) -> None:
    """Some services send their errors with status 200."""
    told = said(body)
    if told.moderated:
        raise ProviderRefused(told.message, stage=told.stage, categories=told.categories)
    if told.code:
        raise ProviderError(f"{told.code}: {told.message}; the answer is kept")


def _image(item: object, fetch: Fetch | None) -> GeneratedImage:
    entry = _table(item)
    inside, url = entry.get("b64_json"), entry.get("url")
    if isinstance(inside, str):
        return real_picture(_decoded(inside))
    if not isinstance(url, str):
        raise ProviderError("an entry of the answer holds no picture; the answer is kept")
    if url.startswith("data:"):
        return real_picture(_decoded(url))
    if fetch is None:
        raise ProviderError(
            "the picture came as a link and is not stored; fetch it within the hour"
        )
    return real_picture(fetch(url))


def _decoded(text: str) -> bytes:
    """The bytes of base64, also with the head of a data URL, which some services put before it."""
    bare = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(bare, validate=True)
    except ValueError as exc:
        raise ProviderError(f"the picture is no valid base64 ({exc}); the answer is kept") from exc


def _differences(
    images: Iterable[GeneratedImage], data: Mapping[str, Any], request: Request
) -> Iterable[str]:
    count = 0
    for count, image in enumerate(images, 1):
        size = f"{image.width}x{image.height}"
        if request.size not in (None, "auto", size):
            yield f"asked for {request.size}, picture {count} is {size}"
        form = image.media_type.removeprefix("image/")
        if form != (request.output_format or "png"):
            yield f"asked for {request.output_format or 'png'}, picture {count} is {form}"
    if count != request.n:
        yield f"asked for {request.n} pictures, got {count}"
    model = _text(data.get("model"))
    if model and request.model not in model:
        yield f"asked for {request.model}, the service used {model}"


def _billed(data: Mapping[str, Any]) -> float | None:
    """The price as a gateway states it, in US dollars."""
    meta = _table(data.get("metadata"))
    currency = _text(meta.get("cost_currency")) or "USD"
    cost = meta.get("cost") if currency.upper() == "USD" else None
    cost = _table(data.get("usage")).get("cost") if cost is None else cost
    ok = isinstance(cost, (int, float)) and not isinstance(cost, bool) and 0 <= cost < 1e6
    return float(cost) if ok and cost is not None else None


def _count(table: Mapping[str, Any], name: str) -> int | None:
    value = table.get(name)
    ok = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if ok else None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
