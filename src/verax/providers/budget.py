"""Cost estimates (least, expected, most), cost limits, and the rate of calls.

Before anything is sent, the most that a call can cost is compared with the run's limit. After the
call, the token counts in the answer give the actual cost.

Counts of output tokens are in the catalog. The expected count of input tokens follows OpenAI's rule
for vision input: a picture is enlarged until its longer side has 1024 px, and each patch of 32 x 32
px is one token, up to 1536. The rule gives exactly the four counts that were reported for edits
with gpt-image-2.5. OpenAI does not document it for image models, so the catalog's upper bound for
a picture is used for the most that a call can cost.
"""

import io
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image as PillowImage

from verax.catalog import gateways
from verax.catalog.models import (
    Model,
    Price,
    limits,
    models,
    output_tokens,
    parse_size,
    unknown,
)
from verax.errors import InputError
from verax.providers import Request, Usage

PATCH_PX, MOST_PATCHES, LEAST_EDGE_PX = 32, 1536, 1024
TEXT_OVERHEAD = 16  # most text tokens that the service adds to those of the prompt
WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated cost of calls in US dollars: at least, as expected, and at most. The three are
    None if a price is unknown. `usage` has the expected token counts."""

    low_usd: float | None
    expected_usd: float | None
    high_usd: float | None
    usage: Usage


@dataclass(frozen=True, slots=True)
class Tariff:
    """The prices of all models.

    Attributes:
        known: name of a model -> the model, with its price.
        free: names of the services (gateways) that never send a bill.
        batch: whether calls go through the Batch API, with its discount.
    """

    known: Mapping[str, Model]
    free: frozenset[str] = frozenset()
    batch: bool = False

    def estimate(self, request: Request) -> Estimate:
        """The estimated cost of a request. Raises InputError if the price is known but the catalog
        has no token count for the quality or size."""
        return estimate(request, replace(self._model(request), price=self.price(request)))

    def price(self, request: Request) -> Price | None:
        """The price of a request's tokens, less the discount for batches if `batch` is True; None
        if the price is unknown."""
        if request.gateway.partition(" ")[0] in self.free:  # an address may follow the name
            return Price(0.0, 0.0, 0.0)
        model = self._model(request)
        share = 1.0 - model.batch_discount if self.batch else 1.0
        return model.price and _scale(model.price, share)

    def _model(self, request: Request) -> Model:
        owners = (m for m in self.known.values() if request.model in (m.name, *m.snapshots))
        return next(owners, None) or unknown(request.model)


def _scale(price: Price, share: float) -> Price:
    text_out = price.image_out if price.text_out is None else price.text_out
    return Price(
        price.text_in * share,
        price.image_in * share,
        price.image_out * share,
        text_out=text_out * share,
    )


def load_tariff(*, changes: Path | None = None, batch: bool = False) -> Tariff:
    """The prices in the catalog. Catalog files in the user's folder `changes` add or replace
    entries. If `batch` is True, the discount of the Batch API is taken off the prices."""
    free = {name for name, gateway in gateways(changes=changes).items() if gateway.free}
    return Tariff(models(changes=changes), frozenset(free), batch)


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on the total cost of a run, which is all paid calls under one name.

    All processes that use the same journal and the same `run` name share the limit. Calls made
    without a limit count too. `tariff` has the prices. `max_cost_usd` is the limit in US dollars;
    None means no limit.
    """

    tariff: Tariff
    run: str = ""
    max_cost_usd: float | None = None


def cost_usd(usage: Usage, price: Price) -> float:
    """The cost in US dollars of the tokens in `usage` at `price`."""
    text_out = price.image_out if price.text_out is None else price.text_out
    return (
        usage.input_text * price.text_in
        + usage.input_image * price.image_in
        + usage.output_text * text_out
        + usage.output_image * price.image_out
    ) / 1e6


def estimate(request: Request, model: Model) -> Estimate:
    """The estimated cost of a request at the price of `model`.

    If the service chooses the quality or size ("auto"), the least and most cost are those of its
    cheapest and most expensive choice. The expected cost is then that of high quality and of
    1024x1024 pixels, or of the cheapest size if the model has only certain sizes. Raises InputError
    if the price is known but the catalog has no token count for the quality or size.
    """
    price = model.price
    if price is None or not any((price.text_in, price.image_in, price.image_out)):
        nothing = None if price is None else 0.0
        return Estimate(nothing, nothing, nothing, Usage())
    low, expected, high = _output_tokens(request, model)
    sizes = [picture_size(f.data, f.name) for field, f in request.files() if field != "mask"]
    patches = [input_image_tokens(*size) for size in sizes]
    most = sum(max(model.input_image_tokens, count) for count in patches)
    text = text_tokens(request.prompt)
    most_text = len(request.prompt.encode()) + TEXT_OVERHEAD  # no token is shorter than a byte
    usage = Usage(text, sum(patches), 0, expected)
    return Estimate(
        cost_usd(Usage(text, sum(patches), 0, low), price),
        cost_usd(usage, price),
        cost_usd(Usage(most_text, most, 0, high), price),
        usage,
    )


def total(estimates: list[Estimate]) -> Estimate:
    """The sum of the estimates. A sum of costs is None if one of these costs is None; the sum of no
    estimates is 0."""
    used = [one.usage for one in estimates]
    return Estimate(
        _sum([one.low_usd for one in estimates]),
        _sum([one.expected_usd for one in estimates]),
        _sum([one.high_usd for one in estimates]),
        Usage(
            sum(one.input_text for one in used),
            sum(one.input_image for one in used),
            sum(one.output_text for one in used),
            sum(one.output_image for one in used),
        ),
    )


def _sum(prices: list[float | None]) -> float | None:
    known = [price for price in prices if price is not None]
    return math.fsum(known) if len(known) == len(prices) else None


def _output_tokens(request: Request, model: Model) -> tuple[int, int, int]:
    """The least, expected and most output tokens that all pictures of an answer need together, with
    their previews; the least is without previews."""
    previews = (request.partial_images or 0) * limits().partial_image_tokens
    counts = [
        output_tokens(model, quality, size)
        for quality, size in zip(_qualities(request, model), _sizes(request, model), strict=True)
    ]
    low, expected, high = (count * request.n for count in counts)
    return low, expected + previews, high + previews * request.n


def _qualities(request: Request, model: Model) -> tuple[str, str, str]:
    if request.quality not in (None, "auto"):
        return (str(request.quality),) * 3
    cheapest, dearest = model.qualities[0], model.qualities[-1]
    return cheapest, "high" if "high" in model.qualities else dearest, dearest


def _sizes(request: Request, model: Model) -> tuple[tuple[int, int], ...]:
    if request.size not in (None, "auto"):
        return (parse_size(str(request.size)),) * 3
    if model.sizes.fixed:
        by_tokens = sorted(model.sizes.fixed, key=lambda s: output_tokens(model, "high", s))
        return by_tokens[0], by_tokens[0], by_tokens[-1]
    side = math.isqrt(model.sizes.max_pixels)  # squares need the most tokens for their pixels
    return (1536, 1024), (1024, 1024), (side, side)


def input_image_tokens(width: int, height: int) -> int:
    """The number of input tokens of a picture of this size: one for each patch of 32 x 32 px, at
    most 1536. If its longer side has less than 1024 px, it is first enlarged to 1024 px; if it has
    more patches than 1536, it is first reduced."""
    grow = max(1.0, LEAST_EDGE_PX / max(width, height))
    width, height = round(width * grow), round(height * grow)
    patches = math.ceil(width / PATCH_PX) * math.ceil(height / PATCH_PX)
    if patches <= MOST_PATCHES:
        return patches
    shrink = math.sqrt(PATCH_PX**2 * MOST_PATCHES / (width * height))
    columns, rows = width * shrink / PATCH_PX, height * shrink / PATCH_PX
    fit = shrink * min(math.floor(columns) / columns, math.floor(rows) / rows)
    return math.ceil(int(width * fit) / PATCH_PX) * math.ceil(int(height * fit) / PATCH_PX)


def text_tokens(text: str) -> int:
    """The approximate number of tokens of a text; the exact number can be smaller or larger."""
    pieces = re.findall(r"[A-Za-z]+|\d{1,3}|[^\sA-Za-z\d]", text)
    return sum(-(-len(piece.encode()) // 10) for piece in pieces)


def picture_size(data: bytes, name: str) -> tuple[int, int]:
    """The (width, height) of a picture, read from the header of its file without decoding it.
    `name` is the name of the file, for the message of an error."""
    try:
        with PillowImage.open(io.BytesIO(data)) as picture:
            return picture.size
    except OSError as exc:
        raise InputError(
            f"{name}: expected a picture, got a file that cannot be read; send a PNG, JPEG or WebP "
            "file"
        ) from exc


@dataclass
class Pace:
    """Delays calls so that they keep two limits: `concurrency` calls at the same time, and
    `images_per_minute` requested pictures. 0 means no limit.

    Threads that share a Pace share its limits. The delay avoids the HTTP status 429, with which
    services reject calls above their limits. `clock` returns a time in seconds that never goes
    back; `sleep` waits the given number of seconds.
    """

    images_per_minute: int = 0
    concurrency: int = 0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _sent: deque[float] = field(default_factory=deque, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        self._places = threading.BoundedSemaphore(self.concurrency or 1_000_000)

    @contextmanager
    def slot(self, pictures: int = 1) -> Iterator[None]:
        """Wait until a call that requests `pictures` pictures keeps both limits. The `with` block
        makes the call, which counts as in progress until the block ends. A call that requests more
        than `images_per_minute` waits until no other picture was requested for a minute."""
        with self._places:
            while (wait := self._take(pictures)) > 0:
                self.sleep(wait)
            yield

    def _take(self, pictures: int) -> float:
        """Count `pictures` towards the limit per minute and return 0. If they would exceed it,
        count nothing and return the seconds to wait before the next try."""
        if not self.images_per_minute:
            return 0.0
        count = min(pictures, self.images_per_minute)  # a larger call takes a minute of its own
        with self._lock:
            now = self.clock()
            while self._sent and now - self._sent[0] >= WINDOW_S:
                self._sent.popleft()
            surplus = len(self._sent) + count - self.images_per_minute
            if surplus > 0:
                return self._sent[surplus - 1] + WINDOW_S - now
            self._sent.extend([now] * count)
            return 0.0
