"""One call from its files to its answer: choose the model, ask, restore, encode.

The rules of restoration live in the pipeline; this only carries files between queues.
"""

import base64
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage

from verax.server import work
from verax.server.calls import Call
from verax.server.jobs import Jobs
from verax.server.keys import Client
from verax.server.limits import Limits
from verax.server.replies import Problem
from verax.server.upstream import FAITHFUL, LOCAL, Answered, Upstream, usage_json

SUFFIX = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


@dataclass(frozen=True, slots=True)
class Picture:
    """One answered picture as file bytes."""

    data: bytes = field(repr=False)
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gets: pictures with what is known about them."""

    pictures: tuple[Picture, ...]
    output_format: str
    size: str
    usage: dict[str, Any]
    verax: dict[str, Any]
    created: int
    call: Call

    def body(self) -> dict[str, Any]:
        """The official response, with our own object beside the standard keys."""
        data = [{"b64_json": base64.b64encode(p.data).decode()} for p in self.pictures]
        return {"created": self.created, "data": data, **self.about(), "verax": self.verax}

    def about(self) -> dict[str, Any]:
        quality = self.call.fields.get("quality", "high")
        return {
            "background": "opaque",
            "output_format": self.output_format,
            "quality": quality if quality in ("low", "medium", "high") else "high",
            "size": self.size,
            "usage": self.usage,
        }


@dataclass(slots=True)
class ImagesService:
    """Answers calls. `local` runs restorations, `remote` waits for paid services."""

    limits: Limits
    local: Jobs
    remote: Jobs
    open_upstream: Callable[[], Upstream]
    upstream: Upstream | None = None
    clock: Callable[[], float] = time.time

    def service(self) -> Upstream:
        """The paid service, connected when it is first needed."""
        if self.upstream is None:
            self.upstream = self.open_upstream()
        return self.upstream

    def models(self) -> list[dict[str, Any]]:
        """The official list; faithful models first, then the same ids passed through."""
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

    def check(self, call: Call) -> None:
        """Raises Problem for a call that cannot work, before it waits for anything."""
        if call.model == LOCAL:
            if call.kind == "generation":
                raise Problem(
                    400, f"{LOCAL} restores photos and cannot make one; use /v1/images/edits",
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
        size = call.fields.get("size", "auto")
        faithful = call.kind == "edit" and call.model.startswith(FAITHFUL)
        if faithful and size != "auto" and size != _size(call.images[0]):
            raise Problem(
                400,
                f"size: {call.model} answers in the photo's own size {_size(call.images[0])}; "
                "ask for auto",
                "invalid_value",
                "size",
            )

    async def answer(self, client: Client, call: Call, folder: Path) -> Answer:
        """The answer to a checked call; waits its turn."""
        if call.model == LOCAL:
            priors = call.images[1:] or (None,)
            found = Answered(tuple(p for p in priors if p), usage_json(None), 0.0, LOCAL, "", ())
            return await self._faithful(client, call, folder, found)
        upstream = self.service()
        ask = upstream.edit if call.kind == "edit" else upstream.generate
        found = await self.remote.run(client.name, ask, client, call, folder)
        if call.kind == "edit" and call.model.startswith(FAITHFUL):
            return await self._faithful(client, call, folder, found)
        pictures = tuple(Picture(path.read_bytes(), {}) for path in found.files)
        return self._answer(call, pictures, found, _format_of(pictures[0].data))

    async def _faithful(self, client: Client, call: Call, folder: Path, found: Answered) -> Answer:
        """One restoration for every prior; the photo alone without one."""
        wanted = call.fields.get("output_format", "png")
        pictures = []
        for index, prior in enumerate(found.files or (None,)):
            order = work.Order(
                photo=call.images[0],
                prior=prior,
                output=folder / f"restored-{index}{SUFFIX[wanted]}",
                fidelity=call.fidelity,
                quality=max(1, call.fields.get("output_compression", 95)),
                max_pixels=self.limits.pixels,
            )
            record = await self.local.run(client.name, work.restore, order)
            pictures.append(Picture(order.output.read_bytes(), record))
        return self._answer(call, tuple(pictures), found, wanted)

    def _answer(
        self, call: Call, pictures: tuple[Picture, ...], found: Answered, output_format: str
    ) -> Answer:
        records = [picture.record for picture in pictures if picture.record]
        about: dict[str, Any] = {
            "upstream_model": None if call.model == LOCAL else found.model,
            "upstream_size": found.size or None,
            "cost_usd": found.cost_usd,
            "warnings": [*call.warnings, *found.notices],
            "restorations": records,
        }
        size = f"{records[0]['width']}x{records[0]['height']}" if records else found.size
        return Answer(pictures, output_format, size, found.usage, about, int(self.clock()), call)

    def close(self) -> None:
        self.local.close()
        self.remote.close()
        if self.upstream is not None:
            self.upstream.close()


def _size(path: Path) -> str:
    """Size of a picture as it stands upright."""
    with PillowImage.open(path) as header:
        turned = header.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        width, height = header.size[::-1] if turned else header.size
    return f"{width}x{height}"


def _format_of(data: bytes) -> str:
    """The format of a picture by its first bytes."""
    if data[:4] == b"RIFF":
        return "webp"
    return "jpeg" if data[:2] == b"\xff\xd8" else "png"


def remove(folder: Path) -> None:
    """Forget a call's files."""
    shutil.rmtree(folder, ignore_errors=True)
