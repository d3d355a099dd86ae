"""Parsing the body of an answer: pictures, usage, and differences from the request.

Stored bodies are read by the same function, so nothing that was paid for is lost.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from PIL import Image as PillowImage

from verax.errors import ImageReadError, ProviderError, ProviderRefused, VeraxError
from verax.providers import GeneratedImage, ImagesAnswer, Request, Usage
from verax.providers.failures import parse_error
from verax.providers.payload import (
    PictureSource,
    entries,
    entry_count,
    is_stream,
    parse_stream,
    read_usage,
    salvage,
    sources,
    stated_usd,
)

Fetch = Callable[[str], bytes]  # the bytes behind a link
MAX_PIXELS = 64_000_000  # far above every legal size; a larger picture is not decoded
DECODED_PIXELS = 16_000_000  # most pixels of one answer that stay decoded: 192 MB
_MEDIA = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_TURN = 0x0112  # EXIF orientation; 5 to 8 lie on their side


def read_answer(
    body: bytes,
    *,
    request: Request | None = None,
    fetch: Fetch | None = None,
    headers: Mapping[str, str] | None = None,
    retries: int = 0,
) -> ImagesAnswer:
    """The answer in a body: JSON of the Images API, or an event stream.

    `fetch` downloads pictures given as links; `headers` are the answer's. An unreadable picture
    gives a notice if there are others. Raises ProviderRefused for a refusal, ProviderError if the
    body has no readable picture.
    """
    data = table_of(body)
    images, lost = _pictures(data, body, fetch)
    answer = ImagesAnswer(
        images=images,
        usage=read_usage(data.get("usage")),
        model=_text(data.get("model")) or _text(_table(data.get("metadata")).get("executed_model")),
        size=_text(data.get("size")),
        quality=_text(data.get("quality")),
        billed_usd=stated_usd(data),
        request_id=(headers or {}).get("x-request-id", ""),
        raw=body,
        retries=retries,
        notices=lost,
        lost=lost,
    )
    notices = differences(answer, request) if request else ()
    return replace(answer, notices=(*lost, *notices))


def differences(answer: ImagesAnswer, request: Request) -> Iterator[str]:
    """Notices on how an answer differs from its request."""
    count = 0
    for count, image in enumerate(answer.images, 1):
        size = f"{image.width}x{image.height}"
        if request.size not in (None, "auto", size):
            yield f"requested {request.size}, picture {count} is {size}"
        form = image.media_type.removeprefix("image/")
        if form != (request.output_format or "png"):
            yield f"requested {request.output_format or 'png'}, picture {count} is {form}"
    if count != request.n:
        yield f"requested {request.n} pictures, got {count}"
    if answer.model and request.model not in answer.model:
        yield f"requested {request.model}, the service used {answer.model}"


def holds_pictures(body: bytes) -> bool:
    """Whether an answer, even an interrupted one, has at least one complete picture."""
    try:
        return bool(body) and bool(entries(table_of(body)))
    except ProviderError:
        return False


def links(body: bytes) -> tuple[str, ...]:
    """The URLs of pictures in a body; () where the body cannot be parsed."""
    links: list[str] = []
    try:
        listed = entries(table_of(body))
    except ProviderError:
        return ()
    for entry in listed:
        with suppress(ProviderError):
            links += [one.link for one in sources(entry) if one.link]
    return tuple(dict.fromkeys(links))


def bill(body: bytes) -> tuple[Usage | None, float | None]:
    """Token counts and stated price of a body that holds no readable picture."""
    try:
        data = table_of(body)
    except ProviderError:
        return None, None
    return read_usage(data.get("usage")), stated_usd(data)


def table_of(body: bytes) -> dict[str, Any]:
    """The answer as one JSON object; if truncated, its complete pictures, or ProviderError."""
    if is_stream(body):
        stream = parse_stream(body)
        return stream.answer() or dict(stream.error or {})
    try:
        return json_object(body)
    except ProviderError:
        rest = salvage(body)
        if rest is None:
            raise
        return rest


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; ProviderError for anything else."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise ProviderError(f"the service answered with something that is not JSON: {exc}") from exc
    if not isinstance(data, dict):
        raise ProviderError(
            f"the service answered a JSON {type(data).__name__}, expected an object"
        )
    return data


def real_picture(data: bytes) -> GeneratedImage:
    """Picture bytes with real format and upright size; decoded fully, so truncated files fail.

    The decoded pixels are kept. Pictures that Verax cannot use, such as animations, are accepted.
    Raises ProviderError for anything else.
    """
    from verax import image as images
    from verax.image.header import format_of_bytes

    media_type = f"image/{format_of_bytes(data)}"
    if media_type in _MEDIA.values():
        with suppress(ImageReadError):
            photo = images.decode(data, name="generated", max_pixels=MAX_PIXELS)
            return GeneratedImage(data, media_type, photo.width, photo.height, photo)
    try:
        picture = PillowImage.open(io.BytesIO(data), formats=list(_MEDIA))
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"{picture.width}x{picture.height} pixels")
        picture.load()
        on_its_side = picture.getexif().get(_TURN, 1) in (5, 6, 7, 8)
    except Exception as exc:  # decoders raise arbitrary exceptions
        raise ProviderError(
            f"the service delivered a picture that cannot be read ({exc}); the answer is kept and "
            "was probably billed"
        ) from exc
    width, height = picture.size[::-1] if on_its_side else picture.size
    return GeneratedImage(data, _MEDIA[picture.format or ""], width, height)


def is_picture(data: bytes) -> bool:
    """Whether these bytes are a picture that can be read to the last row."""
    try:
        real_picture(data)
    except ProviderError:
        return False
    return True


def _pictures(
    data: dict[str, Any], body: bytes, fetch: Fetch | None
) -> tuple[tuple[GeneratedImage, ...], tuple[str, ...]]:
    """The readable pictures, and notices on the others. Raises where none is readable."""
    listed = entries(data)
    if not listed:
        _raise_what_it_says(data, body)
        raise ProviderError("the service answered without a picture; the answer is kept")
    images: list[GeneratedImage] = []
    lost: list[str] = []
    room = DECODED_PIXELS
    for number, entry in enumerate(listed, 1):
        try:
            image = _image(entry, fetch)
            room -= image.width * image.height
            images.append(image if room >= 0 else replace(image, photo=None))
        except VeraxError as exc:
            if len(listed) == 1:
                raise
            lost.append(f"picture {number} of {len(listed)}: {exc}")
    empty = entry_count(data) - len(listed)
    if empty > 0:
        lost.append(f"{empty} of {entry_count(data)} entries of the answer hold no picture")
    if not images:
        raise ProviderError("; ".join(lost))
    return tuple(images), tuple(lost)


def _raise_what_it_says(data: Mapping[str, Any], body: bytes) -> None:
    """Raises the error in an answer, since some services send errors with status 200."""
    details = parse_error(json.dumps(data).encode() if data else body)
    if details.moderated:
        raise ProviderRefused(
            details.message, stage=details.sure_stage, categories=details.categories
        )
    if details.code:
        raise ProviderError(f"{details.code}: {details.message}; the answer is kept")


def _image(entry: Mapping[str, Any], fetch: Fetch | None) -> GeneratedImage:
    """The picture of an entry by the first way that works."""
    first: VeraxError | None = None
    for one in sources(entry):
        try:
            return real_picture(_bytes(one, fetch))
        except VeraxError as exc:  # also SettingsError, for links that local_only forbids
            first = first or exc
    raise first or ProviderError("an entry of the answer holds no picture; the answer is kept")


def _bytes(one: PictureSource, fetch: Fetch | None) -> bytes:
    if one.data is not None:
        return one.data
    if fetch is None:
        raise ProviderError("the picture was sent as a link, not stored; try: verax journal fetch")
    return fetch(one.link)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
