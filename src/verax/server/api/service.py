"""Makes the answer to a request: calls the paid service if needed, and restores the photo.

The photo is restored in worker processes by `verax.making`. The steps pass pictures on as files.
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
from verax.server.queue import LIMIT_S, WorkQueue, one_thread, run_limited

# the values that OpenAI's API allows in an answer; our own key `verax.size` has every size
OFFICIAL_SIZES = ("1024x1024", "1024x1536", "1536x1024")
OFFICIAL_QUALITIES = ("low", "medium", "high")
Show = Callable[[Path], None]
NOTHING = usage_json(Usage())  # the token counts of a restoration without a paid call
LEAST_SIDE = 16  # least width and height of an answer in pixels
NOT_LOCAL = {"quality", "complexity", "moderation", "input_fidelity", "safety_identifier"}

SUFFIX = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


@dataclass(slots=True)
class ImagesService:
    """Makes the answers to requests for pictures, with a queue for each kind of work.

    Attributes:
        intake: parses requests, in a process.
        aside: downloads pictures and writes zip files, in threads.
        local: restores photos, in processes.
        remote: makes paid calls, in threads.
        open_upstream: connects to the paid service.
        upstream: the paid service, None until it is first needed.
        clock: returns the time in seconds since 1970.
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
        """The models that requests may name, in OpenAI's form. With "verax/local" the photo is
        restored without a paid service, with "verax/NAME" it is restored with a prior from the
        model NAME, and with "NAME" the pictures of that model are returned unchanged."""
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
        """The entry of one model in the list of models. Raises Problem 404 for an unknown name."""
        matches = [entry for entry in self.models() if entry["id"] == name]
        if not matches:
            text = f"model: expected one from GET /v1/models, got {name[:80]!r}; correct it"
            raise Problem(404, text, "model_not_found", "model")
        return matches[0]

    async def read(self, client: Account, sent: Upload) -> ImageCall:
        """Reads and checks a request; downloads its pictures. Raises Problem if it is not valid."""
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
        """The header of a picture file (format and size), read in the `intake` process. Raises
        Problem 400 about the request field `param` if it is no picture or has too many pixels."""
        return await self.intake.run(client.name, calls.look, path, param, self.limits)

    def check(self, call: ImageCall) -> None:
        """Raises Problem 400 for a wrong model or size, or pictures that "verax/local" rejects."""
        if call.model == LOCAL:
            if call.kind == "generation":
                raise Problem(
                    400, f"{LOCAL} restores photos and cannot generate pictures; send a photo to "
                    "/v1/images/edits, or name another model",
                    "invalid_value", "model",
                )  # fmt: skip
            if call.mask is not None or len(call.images) > 2:
                raise Problem(
                    400, f"{LOCAL} expects a photo, at most one generated picture and no mask, got "
                    f"{len(call.images)} pictures{' and a mask' if call.mask else ''}; leave out "
                    "the others, or name another model",
                    "invalid_value", "image",
                )  # fmt: skip
        elif call.model.removeprefix(FAITHFUL) not in self.service().service.known:
            text = f"model: expected one from GET /v1/models, got {call.model[:80]!r}; correct it"
            raise Problem(400, text, "invalid_value", "model")
        if is_faithful(call):
            wanted_size(call, self.limits.pixels)

    async def answer(
        self, client: Account, call: ImageCall, folder: Path, show: Show = lambda path: None
    ) -> CallAnswer:
        """Makes the answer to `call` when it is the client's turn, and writes files to `folder`.

        If a streamed call generates priors, `show` is called with the file of each prior that
        is to be sent as a preview, before the photo is restored. The call's field
        "partial_images" says how many are sent.
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
        """The answer with a restoration for each prior in `answer.files`. If there are no priors,
        the photo is restored once, without one. The files are written to `folder`."""
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
        """The answer with the files `pictures`, and with the cost and notices in `answer`.
        `records` holds the JSON record of each restoration; it is () if the pictures are not
        restorations, but come from the paid service."""
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
                "warnings": [*call.warnings, *unused_fields(call), *answer.notices],
                "restorations": list(records),
            },
        }
        return CallAnswer(call.kind, int(self.clock()), pictures, about)

    def stop(self) -> None:
        """Reject new and waiting jobs; running jobs go on."""
        for jobs in (self.intake, self.aside, self.local, self.remote):
            jobs.stop()

    async def close(self) -> None:
        """Wait for running jobs, so that paid answers are stored; then close the connection to the
        paid service."""
        for jobs in (self.intake, self.aside, self.local, self.remote):
            await jobs.close()
        if self.upstream is not None:
            self.upstream.close()


def is_faithful(call: ImageCall) -> bool:
    """Whether to answer with restorations of the photo, not with the model's own pictures."""
    return call.kind == "edit" and call.model.startswith(FAITHFUL)


def wanted_size(call: ImageCall, most_pixels: int) -> tuple[int, int] | None:
    """The requested (width, height) of a restoration; None for the photo's own size.

    Raises Problem 400 for a size that is not valid or has more than `most_pixels` pixels.
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
            f"size: expected sides of at least {LEAST_SIDE} px and at most {most_pixels} pixels in "
            f"all, got {width}x{height}; choose another size",
            "invalid_value", "size",
        )  # fmt: skip
    return None if (width, height) == call.sizes[0] else (width, height)


def _shows(call: ImageCall) -> bool:
    """Whether priors are generated for a restoration, so that they can be sent as its previews."""
    return is_faithful(call) and call.model != LOCAL


def unused_fields(call: ImageCall) -> Iterator[str]:
    """Warnings about fields of a call without effect, and about a size other than the photo's."""
    if call.fields.get("partial_images", 0) > 0 and not (call.stream and _shows(call)):
        yield "partial_images has no effect"
    if not is_faithful(call):
        return
    size = call.fields.get("size", "auto")
    own = "{}x{}".format(*call.sizes[0])
    if size not in ("auto", own):
        yield (
            f"size: the photo has {own} pixels; its restoration was scaled to fit {size}, and "
            "mirrored at the edges to fill the rest; size auto gives the photo's own size"
        )
    if call.fields.get("background", "auto") == "transparent":
        yield "background: transparent has no effect; a restoration keeps the photo's background"
    if call.model == LOCAL:
        if call.fields.get("n", 1) > 1:
            yield f"n has no effect: {LOCAL} makes one restoration of a photo"
        for name in NOT_LOCAL & set(call.fields):
            yield f"{name} has no effect with {LOCAL}"


def restore(order: Order) -> dict[str, Any]:
    """Restore a photo as `order` says and write it. Returns the JSON record of the restoration."""
    return run_limited(_restore, LIMIT_S, order)


def _restore(order: Order) -> dict[str, Any]:
    one_thread()
    from verax import making
    from verax.settings import load

    photo = read_opened(order.photo.parent)
    return making.make(order, photo=photo, credentials=making.credentials_of(load())).record()
