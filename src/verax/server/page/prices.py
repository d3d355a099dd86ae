"""What the page may offer of a paid service: its models with their rules, and prices beforehand."""

import io
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from PIL import Image as PillowImage

from verax.catalog.models import Model
from verax.errors import SettingsError, VeraxError
from verax.geometry import canvas as canvases
from verax.priors.generated import DEFAULT_MODEL, size_rules
from verax.providers.requests import EditRequest, GenerateRequest, ImageFile
from verax.server.upstream import FAITHFUL, Upstream

PROMPT = "x" * 600  # as long as the catalog's own; words hardly count in the price


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be priced: an edit of a photo of this size, or a picture from words."""

    kind: str  # "edit" or "generation"
    model: str
    width: int = 0
    height: int = 0
    size: str = "auto"
    quality: str | None = None
    n: int = 1


def offer(upstream: Upstream) -> dict[str, Any]:
    """The living models, the default first, then the newest; whether they can be asked at all."""
    today = datetime.now(UTC).date()
    ready, message = True, ""
    try:
        upstream.service.require_key()
    except SettingsError as exc:
        ready, message = False, str(exc)
    known = [m for m in upstream.service.known.values() if not m.ended(today)]
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


def price(upstream: Upstream, wish: Wish) -> dict[str, Any]:
    """US dollars that the wish will probably and at most cost; null where no price is known.

    Raises InputError for what the model refuses.
    """
    service, name = upstream.service, wish.model.removeprefix(FAITHFUL)
    request: GenerateRequest
    if wish.kind == "generation":
        request = GenerateRequest(
            model=name, prompt=PROMPT, size=wish.size, quality=wish.quality, n=wish.n
        )
    else:
        model = service.model(name)
        canvas = canvases.plan(wish.width, wish.height, size_rules(model.sizes))
        request = EditRequest(
            model=name,
            prompt=PROMPT,
            images=(ImageFile(_blank(canvas.size), "photo.png"),),
            size=f"{canvas.size[0]}x{canvas.size[1]}",
            quality=wish.quality or model.default_quality or None,
            n=wish.n,
        )
    prepared, _ = service.prepare(request)
    told: dict[str, Any] = {"size": prepared.size, "expected_usd": None, "high_usd": None}
    try:
        found = upstream.tariff.estimate(prepared)
    except VeraxError as exc:  # a size or quality without a known token count
        return {**told, "note": str(exc)}
    return {**told, "expected_usd": found.expected_usd, "high_usd": found.high_usd}


@lru_cache(maxsize=32)
def _blank(size: tuple[int, int]) -> bytes:
    """A white picture: its size is all that decides about a price."""
    buffer = io.BytesIO()
    PillowImage.new("1", size, 1).save(buffer, "PNG")
    return buffer.getvalue()
