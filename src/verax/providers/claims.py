"""What the record of an earlier call means for the next one of the same request."""

import math
from datetime import UTC, datetime
from typing import NoReturn

from verax.catalog.models import parse_size
from verax.errors import ProviderRefused, ProviderUncertain
from verax.providers.records import Call
from verax.providers.requests import Request

BYTES_PER_PIXEL = 4 * 4 / 3  # four channels that do not compress, as base64
AUTO_PIXELS = 8_294_400  # the largest picture a service may choose


def is_answered(call: Call | None) -> bool:
    """Whether the answer to a call is kept, readable or not."""
    return call is not None and call.state in ("done", "unusable")


def expected_bytes(request: Request) -> int:
    """Upper bound for the body of an answer, previews of a stream included."""
    size = request.size or "auto"
    pixels = AUTO_PIXELS if size == "auto" else math.prod(parse_size(size))
    pictures = request.n * (1 + (request.partial_images or 0))
    return pictures * int(pixels * BYTES_PER_PIXEL) + 65_536


def raise_refused(call: Call, run: str, retry_uncertain: bool) -> None:
    """Raises unless the call may be asked again: in another run, and where it may have been billed
    only when asked for."""
    if call.run == run:
        raise ProviderRefused(call.message, stage=call.stage, categories=call.categories)
    if call.stage != "input" and not retry_uncertain:
        raise ProviderRefused(
            f"{call.message}; that may have been billed, so it is asked again only with "
            "--retry-uncertain",
            stage=call.stage,
            categories=call.categories,
        )


def raise_uncertain(call: Call) -> NoReturn:
    when = datetime.fromtimestamp(call.started, UTC).strftime("%Y-%m-%d %H:%M")
    most = "" if call.reserved_usd is None else f" with up to ${call.reserved_usd:.4f}"
    raise ProviderUncertain(
        f"the same call went out on {when} UTC and no answer came ({call.message}); it may have "
        f"been billed{most}. It is repeated only with --retry-uncertain"
    )
