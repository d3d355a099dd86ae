"""One call from its files to its answer: choose the model, request, restore, encode.

Restoration itself is in the pipeline; this file only moves files between queues.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from verax.catalog.models import parse_size
from verax.errors import InputError
from verax.image.header import Header, format_of_file
from verax.making import Order
from verax.providers import Usage
from verax.server import CallAnswer, Problem, unknown
from verax.server.access import Account, ServerLimits
from verax.server.api import calls
from verax.server.api.calls import ImageCall, MissingPictures
from verax.server.api.intake import Upload, fetch
from verax.server.api.upstream import (
    FAITHFUL,
    LOCAL,
    Upstream,
    UpstreamAnswer,
    read_opened,
    usage_json,
)
from verax.server.queue import LIMIT_S, WorkQueue, limited, one_thread

# what OpenAI's API description allows in an answer; our own `verax.size` holds every other
OFFICIAL_SIZES = ("1024x1024", "1024x1536", "1536x1024")
OFFICIAL_QUALITIES = ("low", "medium", "high")
Show = Callable[[Path], None]
NOTHING = usage_json(Usage())  # what a restoration on this machine is billed
LEAST_SIDE = 16  # pixels of an answer
NOT_LOCAL = {"quality", "complexity", "moderation", "input_fidelity", "safety_identifier"}
SUFFIX = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


@dataclass(slots=True)
class ImagesService:
    """Answers calls.

    `intake` parses client input, `aside` fetches pictures by address and packs archives in threads,
    `local` runs restorations, `remote` waits for paid services.
    """

    limits: ServerLimits
    intake: WorkQueue
    aside: WorkQueue
    local: WorkQueue
    remote: WorkQueue
    open_upstream: Callable[[], Upstream]
    upstream: Upstream | None = None
    clock: Callable[[], float] = time.time

    def service(self) -> Upstream:
        """The paid service, connected when it is first needed."""
        if self.upstream is None:
            self.upstream = self.open_upstream()
        return self.upstream

    def models(self) -> list[dict[str, Any]]:
        """The models in OpenAI's shape: faithful ones first, then those passed through."""
        living = self.service().models(datetime.now(UTC).date())
        entries: list[tuple[str, Any]] = [(LOCAL, None)]
        entries += [(FAITHFUL + name, end) for name, end in living.items()]
        entries += list(living.items())
        return [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "verax" if name.startswith(FAITHFUL) else "upstream",
                "shutdown_date": end.isoformat() if end else None,
            }
            for name, end in entries
        ]

    def model(self, name: str) -> dict[str, Any]:
        """One entry of that list. Raises Problem 404 for an unknown name."""
        matches = [entry for entry in self.models() if entry["id"] == name]
        if not matches:
            text = f"unknown model {name[:80]!r}; see GET /v1/models"
            raise Problem(404, text, "model_not_found", "model")
        return matches[0]

    async def read(self, client: Account, sent: Upload) -> ImageCall:
        """The call of a request, checked. Raises Problem for one that cannot work."""
        call = await self.intake.run(client.name, calls.read_call, sent, self.limits)
        if isinstance(call, MissingPictures):
            for path, url in call.pictures:
                await self.aside.run(client.name, fetch, url, path, self.limits.fetch_hosts)
            call = await self.intake.run(client.name, calls.read_call, sent, self.limits)
        if isinstance(call, MissingPictures):  # the body changed on disk
            raise unknown()
        self.check(call)
        return call

    async def look(self, client: Account, path: Path, param: str) -> Header:
        """The header of a file that must be a picture. Raises Problem 400 where it is none."""
        return await self.intake.run(client.name, calls.look, path, param, self.limits)

    def check(self, call: ImageCall) -> None:
        """Raises Problem for a call that cannot work, before it waits for anything."""
        if call.model == LOCAL:
            if call.kind == "generation":
                raise Problem(
                    400, f"{LOCAL} restores photos and cannot generate one; use /v1/images/edits",
                    "invalid_value", "model",
                )  # fmt: skip
            if call.mask is not None or len(call.images) > 2:
                raise Problem(
                    400, f"{LOCAL} takes a photo and at most one prior, and no mask",
                    "invalid_value", "image",
                )  # fmt: skip
        elif call.model.removeprefix(FAITHFUL) not in self.service().service.known:
            raise Problem(
                400, f"unknown model {call.model[:80]!r}; see GET /v1/models", "invalid_value",
                "model",
            )  # fmt: skip
        if is_faithful(call):
            wanted_size(call, self.limits.pixels)

    async def answer(
        self, client: Account, call: ImageCall, folder: Path, show: Show = lambda path: None
    ) -> CallAnswer:
        """The answer to a checked call; waits its turn.

        `show` receives the generated pictures of a faithful edit before they are restored, as many
        as the call's `partial_images`.
        """
        if call.model == LOCAL:
            priors = call.images[1:] or (None,)
            files = tuple(p for p in priors if p)
            answer = UpstreamAnswer(files, files, NOTHING, 0.0, LOCAL, "", ())
            return await self._faithful(client, call, folder, answer)
        upstream = self.service()
        ask = upstream.edit if call.kind == "edit" else upstream.generate
        answer = await self.remote.run(client.name, ask, client, call, folder)
        if _shows(call):
            for path in answer.files[: call.fields.get("partial_images", 0) if call.stream else 0]:
                show(path)
            return await self._faithful(client, call, folder, answer)
        return self._answer(call, answer.files, (), answer, format_of_file(answer.files[0]))

    async def _faithful(
        self, client: Account, call: ImageCall, folder: Path, answer: UpstreamAnswer
    ) -> CallAnswer:
        """One restoration for every prior; the photo alone without one."""
        format = call.fields.get("output_format", "png")
        files, records = [], []
        last_step = self.local.run if call.model == LOCAL else self.local.finish
        for index, prior in enumerate(answer.files or (None,)):
            order = Order(
                photo=call.images[0],
                prior=prior,
                prior_source=answer.sources[index] if prior else None,
                output=folder / f"restored-{index}{SUFFIX[format]}",
                fidelity=call.fidelity,
                size=wanted_size(call, self.limits.pixels),
                quality=max(1, call.fields.get("output_compression", 95)),
                max_pixels=self.limits.pixels,
                system="" if call.model == LOCAL else answer.model,
                photo_name="the photo",
                prior_name="the generated picture",
            )
            records.append(await last_step(client.name, restore, order))
            files.append(order.output)
        return self._answer(call, tuple(files), tuple(records), answer, format)

    def _answer(
        self,
        call: ImageCall,
        pictures: tuple[Path, ...],
        records: tuple[dict[str, Any], ...],
        answer: UpstreamAnswer,
        output_format: str,
    ) -> CallAnswer:
        target = wanted_size(call, self.limits.pixels) if records else None
        own = (records[0]["width"], records[0]["height"]) if records else (0, 0)
        size = "{}x{}".format(*(target or own)) if records else answer.size
        quality = call.fields.get("quality")
        about: dict[str, Any] = {
            "background": "opaque",
            "output_format": output_format,
            **({"quality": quality} if quality in OFFICIAL_QUALITIES else {}),
            **({"size": size} if size in OFFICIAL_SIZES else {}),
            "usage": answer.usage,
            "verax": {
                "size": size,
                "upstream_model": None if call.model == LOCAL else answer.model,
                "upstream_size": answer.size or None,
                "upstream_request_id": answer.request_id or None,
                "cost_usd": answer.cost_usd,
                "warnings": [*call.warnings, *unused(call), *answer.notices],
                "restorations": list(records),
            },
        }
        return CallAnswer(call.kind, int(self.clock()), pictures, about)

    def stop(self) -> None:
        """Reject new and waiting jobs; running ones go on."""
        for jobs in (self.intake, self.aside, self.local, self.remote):
            jobs.stop()

    async def close(self) -> None:
        """Wait for running jobs, so that paid answers are journaled."""
        for jobs in (self.intake, self.aside, self.local, self.remote):
            await jobs.close()
        if self.upstream is not None:
            self.upstream.close()


def is_faithful(call: ImageCall) -> bool:
    """Whether the answer is a restoration of the photo sent."""
    return call.kind == "edit" and call.model.startswith(FAITHFUL)


def wanted_size(call: ImageCall, most_pixels: int) -> tuple[int, int] | None:
    """The requested size of a restoration, None for the photo's own.

    Raises Problem 400 for what is not a size.
    """
    text = call.fields.get("size", "auto")
    if text == "auto":
        return None
    try:
        width, height = parse_size(text)
    except InputError as exc:
        raise Problem(400, str(exc), "invalid_value", "size") from None
    if min(width, height) < LEAST_SIDE or width * height > most_pixels:
        raise Problem(
            400,
            f"size: expected sides of at least {LEAST_SIDE} px and at most {most_pixels} pixels, "
            f"got {width}x{height}; ask for another size",
            "invalid_value", "size",
        )  # fmt: skip
    return None if (width, height) == call.sizes[0] else (width, height)


def _shows(call: ImageCall) -> bool:
    """Whether generated pictures can be shown before their restorations are ready."""
    return is_faithful(call) and call.model != LOCAL


def unused(call: ImageCall) -> Iterator[str]:
    """Warnings about fields that have no effect."""
    if call.fields.get("partial_images", 0) > 0 and not (call.stream and _shows(call)):
        yield "partial_images is not used here"
    if not is_faithful(call):
        return
    size = call.fields.get("size", "auto")
    own = "{}x{}".format(*call.sizes[0])
    if size not in ("auto", own):
        yield (
            f"size: the photo is {own}; its restoration was scaled to fit {size} and padded by "
            "reflection; use size auto for the photo's own grid"
        )
    if call.fields.get("background", "auto") == "transparent":
        yield "background: a restoration keeps the photo's own; transparent is not followed"
    if call.model == LOCAL:
        if call.fields.get("n", 1) > 1:
            yield "n: one photo has one restoration here"
        for name in NOT_LOCAL & set(call.fields):
            yield f"{name} is not used here"


def restore(order: Order) -> dict[str, Any]:
    """Make one restoration file. Returns its JSON record."""
    return limited(_restore, LIMIT_S, order)


def _restore(order: Order) -> dict[str, Any]:
    one_thread()
    from verax import making
    from verax.settings import load

    photo = read_opened(order.photo.parent)
    return making.make(order, photo=photo, credentials=making.credentials_of(load())).record()
