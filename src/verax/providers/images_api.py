"""The client of the Images API: a request in, an answer out, at one service.

`prepare` checks a request against the catalog before anything is sent; `send` sends it once. The
journal knows earlier calls and their cost, and decides what may be sent again.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from verax.catalog import Gateway
from verax.catalog.models import (
    Model,
    ModelLimits,
    find,
    limits,
    models,
    output_tokens,
    parse_size,
    unknown,
)
from verax.errors import (
    InputError,
    ProviderError,
    ProviderRejected,
    ProviderUncertain,
    SettingsError,
    UnknownNameError,
)
from verax.providers import GenerateRequest, ImagesAnswer, Keep, Request
from verax.providers.addresses import choose_endpoint, local_address
from verax.providers.answers import holds_pictures, read_answer
from verax.providers.dialects import wire
from verax.providers.failures import failure
from verax.providers.payload import Collector, Preview, is_stream, parse_stream
from verax.providers.rules import check
from verax.providers.transport import HttpReply, Transport
from verax.settings import Settings
from verax.store import write_whole, writing

R = TypeVar("R", bound=GenerateRequest)
LONG_CALL_TOKENS = 3_000  # output tokens from which a call may outlast an idle proxy (90 s)
STREAMED_PARTIALS = 2  # bytes in between; each costs what the catalog's limits say


@dataclass(frozen=True)
class Client:
    """A client of one service.

    Attributes:
        known: the models by name, with the service's own end dates.
        today: the day by which models have ended.
        deployment: the model's own name at the service, "" for the catalog's.
        stream: "auto", "always" or "never".
        probes: results of `verax probe` here, model -> feature -> verdict.
        ready: whether a key is there where one is needed.
        preview: receives partial images while a call is under way.
    """

    gateway: Gateway
    transport: Transport
    known: Mapping[str, Model]
    limits: ModelLimits
    today: date
    deployment: str = ""
    stream: str = "auto"
    probes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ready: bool = True
    preview: Preview | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return str(self.transport.base_url)

    def model(self, name: str) -> Model:
        """A model that has not ended; also an unlisted one where the service may have its own."""
        try:
            model = find(self.known, name, today=self.today)
        except UnknownNameError:
            if not (self.gateway.any_model and name):
                raise
            return unknown(name)
        end = self.gateway.ends.get(model.name)
        if end is not None and self.today >= end:
            raise InputError(
                f"model {name} ended at {self.gateway.name} on {end}; see: verax models"
            )
        return model

    def prepare(self, request: R) -> tuple[R, tuple[str, ...]]:
        """Check a request against model and service. Returns it as it will be sent, and notices.

        Sends nothing. The result names this service, which is part of its fingerprint. Raises
        InputError for whatever model or service would refuse.
        """
        model = self.model(request.model)
        request = replace(request, gateway=self.name)
        request, notices = check(self._streamed(request, model), model, self.gateway, self.limits)
        return request, (*notices, *self._warnings(request))

    def require_key(self) -> None:
        """Raises SettingsError where a key is needed and there is none."""
        if not self.ready:
            names = " or ".join(self.gateway.keys)
            raise SettingsError(
                f"no key for {self.gateway.name}; set {names}, or with the extra keyring "
                f"store it: keyring set verax {self.gateway.keys[0]}"
            )

    def send(self, request: Request, keep: Keep, /) -> ImagesAnswer:
        """Send once; `keep` gets the body of a good answer first. Raises as `Send` says.

        Only a journal calls this: see `verax.providers.journal`.
        """
        self.require_key()
        try:
            return self._ask(request, keep)
        except ProviderRejected as exc:
            if not (request.stream and "stream" in str(exc).lower()):
                raise
        plain = replace(request, stream=False, partial_images=None)
        answer = self._ask(plain, keep)
        return replace(
            answer,
            notices=(*answer.notices, "the service does not stream; repeated without streaming"),
        )

    def shutdown_dates(self) -> dict[str, str]:
        """End dates from the service itself, model -> ISO date; a free call."""
        self.require_key()
        try:
            listed = json.loads(self.transport.get("/models").body)["data"]
            dates = {m["id"]: m.get("shutdown_date") for m in listed}
            return {name: date.fromisoformat(d).isoformat() for name, d in dates.items() if d}
        except (ValueError, KeyError, TypeError) as exc:
            raise ProviderError(f"{self.gateway.name}: no list of models: {exc!r}") from exc

    def leaving(self, *requests: Request) -> str:
        """One line for the user: what will be sent, and to which service."""
        files = {f.sha256: f for request in requests for _, f in request.files()}.values()
        words = sum(len(request.prompt) for request in requests)
        pictures = f"{len(files)} picture{'s' * (len(files) != 1)}, "
        size = (
            f"{sum(len(f.data) for f in files) / 1e6:.1f} MB, without metadata; " if files else ""
        )
        plain = ", UNENCRYPTED," if self._in_the_open() else ""
        return (
            f"To{plain} {self.address} ({self.gateway.name}): "
            f"{pictures if files else ''}{size}prompts of {words} characters; "
            f"model {', '.join(sorted({r.model for r in requests}))}"
        )

    @property
    def name(self) -> str:
        """The name of the service in fingerprints, with its address where the user gave one."""
        usual = self.address.rstrip("/") == self.gateway.base_url.rstrip("/")
        where = self.gateway.name if usual else f"{self.gateway.name} {self.address}"
        return f"{where} {self.deployment}".strip()

    def _in_the_open(self) -> bool:
        """Whether requests travel unencrypted beyond this machine."""
        if self.transport.base_url.scheme == "https":
            return False
        try:
            return not local_address(self.transport.base_url.host)
        except SettingsError:
            return True

    def _warnings(self, request: GenerateRequest) -> Iterator[str]:
        """Warnings about fields that this service ignored when it was probed."""
        probed = self.probes.get(request.model, {})
        for what in ("size", "mask"):
            verdict = probed.get(what, "")
            if verdict.startswith(("ignored", "refused")) and getattr(request, what, None):
                yield f"{what} was {verdict} (probed {probed.get('asked')})"

    def _streamed(self, request: R, model: Model) -> R:
        if request.stream or request.n > 1 or self.stream == "never":
            return request
        if self.stream == "auto" and not _is_long(request, model):
            return request
        wishes = request.optional | {"stream", "partial_images"}
        return replace(
            request, stream=True, partial_images=STREAMED_PARTIALS, optional=frozenset(wishes)
        )

    def _ask(self, request: Request, keep: Keep) -> ImagesAnswer:
        outgoing = wire(request, self.gateway, deployment=self.deployment)
        hear = Collector(self.preview).feed if request.stream else None
        try:
            reply = self.transport.post(outgoing, hear=hear)
        except ProviderUncertain as exc:
            if not holds_pictures(exc.partial):
                raise
            reply = HttpReply(exc.partial, {}, 0)  # received before the connection was lost
        self._raise_error_of_stream(reply)
        keep(reply.body)
        return read_answer(
            reply.body,
            request=request,
            fetch=lambda link: keep.picture(link, self.transport.fetch),
            headers=reply.headers,
            retries=reply.retries,
        )

    def _raise_error_of_stream(self, reply: HttpReply) -> None:
        """Raises the error that a stream holds in place of a picture: refused, or uncertain."""
        if not is_stream(reply.body):
            return
        stream = parse_stream(reply.body)
        if stream.answer() is not None or stream.error is None:
            return
        error_body = json.dumps(stream.error).encode()
        where, clean = self.gateway.name, self.transport.redacted
        error = failure(500, reply.headers, error_body, where=where, clean=clean)
        if isinstance(error, ProviderUncertain):
            error.partial = reply.body
        raise error


def connect(
    settings: Settings,
    *,
    today: date,
    transport: Callable[..., Transport] = Transport,
    preview: Preview | None = None,
) -> Client:
    """A client by the settings: gateway, address, key, local-only. Sends nothing yet."""
    endpoint = choose_endpoint(settings)
    where = endpoint.gateway
    secret = settings.key(*endpoint.keys()) if where.keys else None
    line = transport(
        endpoint.url,
        secret,
        auth=where.auth,
        local_only=settings.local_only,
        timeout_s=settings.timeout_s,
        retries=settings.retries,
    )
    ends = load_facts(settings.home, DATES, where.name)
    client = Client(
        gateway=where,
        transport=line,
        known=models(changes=settings.home, ends=ends),
        limits=limits(changes=settings.home),
        today=today,
        deployment=endpoint.deployment,
        stream=settings.stream,
        ready=secret is not None or not where.keys or where.key_optional,
        preview=preview,
    )
    return replace(client, probes=load_facts(settings.home, PROBES, client.name))


def _is_long(request: Request, model: Model) -> bool:
    """Whether the call may outlast a proxy that cuts idle connections."""
    if not model.output_grid or request.size in (None, "auto"):
        return False
    requested = request.quality or "auto"
    quality = requested if requested in model.output_grid else model.default_quality
    return output_tokens(model, quality, parse_size(request.size or "")) > LONG_CALL_TOKENS


DATES = "shutdown-dates.json"  # service -> model -> ISO date
PROBES = "probes.json"  # service -> model -> feature -> verdict


def load_facts(home: Path, name: str, service: str) -> dict[str, Any]:
    """The stored facts about a service in file `name`; {} where there are none."""
    facts = _all_facts(home / name).get(service, {})
    return facts if isinstance(facts, dict) else {}


def store_facts(home: Path, name: str, service: str, value: dict[str, Any]) -> None:
    """Replace the stored facts about a service in file `name`. Raises OutputError."""
    with writing(home):
        write_whole(
            home / name, json.dumps(_all_facts(home / name) | {service: value}, indent=2).encode()
        )


def _all_facts(file: Path) -> dict[str, Any]:
    try:
        everything = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return everything if isinstance(everything, dict) else {}
