"""The client of the Images API: sends requests to one service and returns the answers.

Only a journal calls `Client.send`, since it knows earlier calls and whether to send one again.
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
from verax.providers import GenerateRequest, ImagesAnswer, Request, StoreAnswer
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
LONG_CALL_TOKENS = 3_000  # output tokens above which a call may take longer than 90 s
STREAMED_PARTIALS = 2  # previews of a streamed call, so that proxies keep the connection open


@dataclass(frozen=True)
class Client:
    """Sends requests to one service.

    Attributes:
        gateway, transport: the service's entry in the catalog, and the HTTP client.
        known: name of a model -> the model, with the service's own shutdown date.
        limits: limits of one request, such as the most pictures.
        today: models with a shutdown date up to this day are not used.
        deployment: the name that the service has for the model, "" to use the catalog's name.
        stream: whether answers are streamed: "auto" (long calls only), "always" or "never".
        probes: results of `verax probe` for this service, model -> feature -> finding.
        ready: whether the key is present, or none is needed.
        preview: receives each preview (index, base64) while a call is in progress.
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
        """The model of this name; a placeholder if the catalog lacks it but the service may have
        it. Raises UnknownNameError for another name, InputError if the model was shut down."""
        try:
            model = find(self.known, name, today=self.today)
        except UnknownNameError:
            if not (self.gateway.any_model and name):
                raise
            return unknown(name)
        if (end := self.gateway.ends.get(model.name)) is not None and self.today >= end:
            raise InputError(
                f"{self.gateway.name} shut down the model {name} on {end}; choose another one; to "
                "list the models, run: verax models"
            )
        return model

    def prepare(self, request: R) -> tuple[R, tuple[str, ...]]:
        """Check a request against the rules of model and service; sends nothing.

        Returns the request as it will be sent to this service, and sentences for the user. Raises
        InputError for anything that the model or the service would refuse.
        """
        model = self.model(request.model)
        request = replace(request, gateway=self.name)
        request, notices = check(self._stream(request, model), model, self.gateway, self.limits)
        return request, (*notices, *self._warnings(request))

    def require_key(self) -> None:
        """Raise SettingsError if the service needs a key and none was found."""
        if not self.ready:
            names = " or ".join(self.gateway.keys)
            raise SettingsError(
                f"no key for {self.gateway.name} was found; set the variable {names}, or install "
                f"verax[keyring] and store the key with: keyring set verax {self.gateway.keys[0]}"
            )

    def send(self, request: Request, keep: StoreAnswer, /) -> ImagesAnswer:
        """Send a request and return the answer, which `keep` stores first. If the service rejects
        streaming, the request is sent again without it. Raises a ProviderError, whose class says
        whether the call may have been billed."""
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
            notices=(*answer.notices, "the service cannot stream, so the answer was not streamed"),
        )

    def shutdown_dates(self) -> dict[str, str]:
        """Ask the service for the shutdown dates of its models, at no cost: model -> ISO date."""
        self.require_key()
        try:
            listed = json.loads(self.transport.get("/models").body)["data"]
            dates = {m["id"]: m.get("shutdown_date") for m in listed}
            return {name: date.fromisoformat(d).isoformat() for name, d in dates.items() if d}
        except (ValueError, KeyError, TypeError) as exc:
            raise ProviderError(
                f"{self.gateway.name}: expected a list of models, got something else ({exc!r}); "
                "check the base URL"
            ) from exc

    def announcement(self, *requests: Request) -> str:
        """One line for the user: the service, the models, and how much data will be sent."""
        files = {f.sha256: f for request in requests for _, f in request.files()}.values()
        words = sum(len(request.prompt) for request in requests)
        pictures = f"{len(files)} picture{'s' * (len(files) != 1)}, "
        megabytes = sum(len(f.data) for f in files) / 1e6
        size = f"{megabytes:.1f} MB, without metadata; " if files else ""
        plain = ", UNENCRYPTED," if self._is_unencrypted() else ""
        return (
            f"To{plain} {self.address} ({self.gateway.name}): "
            f"{pictures if files else ''}{size}prompts of {words} characters; "
            f"model {', '.join(sorted({r.model for r in requests}))}"
        )

    @property
    def name(self) -> str:
        """The service's name in requests and their fingerprints: the catalog's name, followed by
        the address if the catalog has another one, and by the deployment if there is one."""
        usual = self.address.rstrip("/") == self.gateway.base_url.rstrip("/")
        where = self.gateway.name if usual else f"{self.gateway.name} {self.address}"
        return f"{where} {self.deployment}".strip()

    def _is_unencrypted(self) -> bool:
        """Whether requests leave this machine unencrypted."""
        if self.transport.base_url.scheme == "https":
            return False
        try:
            return not local_address(self.transport.base_url.host)
        except SettingsError:
            return True

    def _warnings(self, request: GenerateRequest) -> Iterator[str]:
        """Warnings about a size or mask that the service ignored or refused in `verax probe`."""
        probed = self.probes.get(request.model, {})
        for what in ("size", "mask"):
            verdict = probed.get(what, "")
            if verdict.startswith(("ignored", "refused")) and getattr(request, what, None):
                yield f"a probe on {probed.get('asked')} found that {what} was {verdict}"

    def _stream(self, request: R, model: Model) -> R:
        """The request, streamed if `self.stream` is "always", or is "auto" and the call long."""
        if request.stream or request.n > 1 or self.stream == "never":
            return request
        if self.stream == "auto" and not _is_long(request, model):
            return request
        wishes = request.optional | {"stream", "partial_images"}
        return replace(
            request, stream=True, partial_images=STREAMED_PARTIALS, optional=frozenset(wishes)
        )

    def _ask(self, request: Request, keep: StoreAnswer) -> ImagesAnswer:
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
        """Raise the error that a streamed answer states, unless it has a picture."""
        if not is_stream(reply.body):
            return
        stream = parse_stream(reply.body)
        if stream.answer() is not None or stream.error is None:
            return
        error_body = json.dumps(stream.error).encode()
        where, clean = self.gateway.name, self.transport.redact
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
    """A client for the service that the settings name. Opens no connection yet.

    `today`: models with a shutdown date up to this day are not used. `preview` receives the index
    and the base64 of each preview; `transport` makes the HTTP client.
    """
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
    """Whether the call may take so long that a proxy cuts the idle connection."""
    if not model.output_grid or request.size in (None, "auto"):
        return False
    requested = request.quality or "auto"
    quality = requested if requested in model.output_grid else model.default_quality
    return output_tokens(model, quality, parse_size(request.size or "")) > LONG_CALL_TOKENS


DATES = "shutdown-dates.json"  # service -> model -> ISO date
PROBES = "probes.json"  # service -> model -> feature -> finding


def load_facts(home: Path, name: str, service: str) -> dict[str, Any]:
    """The entry of `service` in the JSON file `name` in the folder `home`; {} without an entry. If
    `name` is DATES: model -> shutdown date; if it is PROBES: model -> results of `verax probe`."""
    facts = _all_facts(home / name).get(service, {})
    return facts if isinstance(facts, dict) else {}


def store_facts(home: Path, name: str, service: str, value: dict[str, Any]) -> None:
    """Store `value` as the entry of `service` in the JSON file `name` in the folder `home`, so that
    `load_facts` returns it. `name` is DATES or PROBES."""
    facts = _all_facts(home / name) | {service: value}
    with writing(home):
        write_whole(home / name, json.dumps(facts, indent=2).encode())


def _all_facts(file: Path) -> dict[str, Any]:
    try:
        everything = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return everything if isinstance(everything, dict) else {}
