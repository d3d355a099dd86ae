"""Paid models behind the server: journaled calls, budgets per client, faithful or passed through.

Runs in threads. One of them at a time decodes pictures, and nothing decoded is held while a call
waits for the service: memory does not grow with the number of calls.
"""

import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from verax import image as images
from verax.priors import generated
from verax.providers.budget import Budget, Pace, Tariff, cost_usd, load_tariff
from verax.providers.images_api import Client as Service
from verax.providers.images_api import connect
from verax.providers.journal import Journal
from verax.providers.requests import GenerateRequest, ImagesAnswer, Request
from verax.server.calls import Call
from verax.server.keys import Client
from verax.settings import Settings

FAITHFUL = "verax/"
LOCAL = "verax/local"
EDIT_FIELDS = ("quality", "complexity", "background", "moderation", "input_fidelity",
               "safety_identifier")  # fmt: skip
TEXT_FIELDS = (*EDIT_FIELDS[:4], "safety_identifier", "output_format", "output_compression", "size")


@dataclass(frozen=True, slots=True)
class Answered:
    """What a service made: files as they came, with everything known about the call."""

    files: tuple[Path, ...]
    usage: dict[str, Any]
    cost_usd: float | None
    model: str
    size: str
    notices: tuple[str, ...]


@dataclass(frozen=True)
class Upstream:
    """One service with the journal in front of it."""

    settings: Settings
    service: Service
    journal: Journal
    tariff: Tariff
    pace: Pace
    decoding: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        self.journal.close()

    def models(self, today: date) -> dict[str, date | None]:
        """Names of the living models, with the day on which they end."""
        known = self.service.known.items()
        return {name: model.ends for name, model in known if not model.ended(today)}

    def edit(self, client: Client, call: Call, folder: Path) -> Answered:
        """Ask for an edit of the first picture; faithful calls travel on the exact canvas."""
        with self.decoding:
            asking = self._planned(call)
        answer = self._paid(client, asking.request)
        names = []
        for index, picture in enumerate(answer.images):
            if call.model.startswith(FAITHFUL):
                path = folder / f"prior-{index}.png"
                with self.decoding:
                    images.write(path, generated.receive(asking, answer, index=index).pixels)
            else:
                path = folder / f"answer-{index}"
                path.write_bytes(picture.data)
            names.append(path)
        return self._answered(asking.request, answer, names, asking.notices)

    def _planned(self, call: Call) -> generated.Asking:
        photo, *others = (images.read(path) for path in call.images)
        wishes = generated.Wishes(
            model=call.model.removeprefix(FAITHFUL),
            prompt=call.prompt,
            n=call.fields.get("n", 1),
            **{k: call.fields[k] for k in EDIT_FIELDS if k in call.fields},
        )
        mask = generated.mask_plane(images.read(call.mask)) if call.mask else None
        asking = generated.plan(photo, self.service, wishes, mask=mask, references=tuple(others))
        size = call.fields.get("size", "auto")
        if not call.model.startswith(FAITHFUL) and size != "auto":
            prepared, notices = self.service.prepare(replace(asking.request, size=size))
            asking = replace(asking, request=prepared, notices=notices)
        return asking

    def generate(self, client: Client, call: Call, folder: Path) -> Answered:
        """Ask for pictures from words."""
        request = GenerateRequest(
            model=call.model.removeprefix(FAITHFUL),
            prompt=call.prompt,
            n=call.fields.get("n", 1),
            **{k: call.fields[k] for k in TEXT_FIELDS if k in call.fields},
        )
        prepared, notices = self.service.prepare(request)
        answer = self._paid(client, prepared)
        names = []
        for index, picture in enumerate(answer.images):
            names.append(folder / f"answer-{index}")
            names[-1].write_bytes(picture.data)
        return self._answered(prepared, answer, names, notices)

    def _paid(self, client: Client, request: Request) -> ImagesAnswer:
        budget = Budget(self.tariff, f"serve:{client.name}", client.budget_usd)
        return self.journal.call(request, self.service.send, budget=budget, pace=self.pace)

    def _answered(
        self, request: Request, answer: ImagesAnswer, names: list[Path], notices: tuple[str, ...]
    ) -> Answered:
        price, usage, cost = self.tariff.price(request), answer.usage, answer.billed_usd
        if cost is None and usage and price:
            cost = cost_usd(usage, price)
        first = answer.images[0]
        return Answered(
            tuple(names),
            usage_json(usage),
            cost,
            answer.model or request.model,
            f"{first.width}x{first.height}",
            (*notices, *answer.notices),
        )


def open_upstream(settings: Settings) -> Upstream:
    """The service of the settings, with its journal. Asks nobody yet."""
    return Upstream(
        settings,
        connect(settings, today=datetime.now(UTC).date()),
        Journal(settings.home / "journal"),
        load_tariff(changes=settings.home),
        Pace(settings.images_per_minute, settings.concurrency),
    )


def usage_json(usage: Any) -> dict[str, Any]:  # noqa: ANN401  # Usage or None
    """The official usage object; zeros where nothing was billed."""
    text_in = getattr(usage, "input_text", 0) or 0
    image_in = getattr(usage, "input_image", 0) or 0
    text_out = getattr(usage, "output_text", 0) or 0
    image_out = getattr(usage, "output_image", 0) or 0
    return {
        "input_tokens": text_in + image_in,
        "output_tokens": text_out + image_out,
        "total_tokens": text_in + image_in + text_out + image_out,
        "input_tokens_details": {"text_tokens": text_in, "image_tokens": image_in},
        "output_tokens_details": {"text_tokens": text_out, "image_tokens": image_out},
    }
