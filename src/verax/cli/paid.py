"""What commands that call a paid service have in common: options, estimate of the cost, calls."""

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from verax.errors import InputError, VeraxError, quantity

if TYPE_CHECKING:
    from verax.providers import GenerateRequest, ImagesAnswer, Request
    from verax.providers.batch import Batches
    from verax.providers.budget import Estimate
    from verax.providers.journal import Desk
    from verax.settings import Settings

R = TypeVar("R", bound="GenerateRequest")
PANEL = "Paid service"
Model = Annotated[
    str | None,
    typer.Option("--model", rich_help_panel=PANEL, help="Use this model; see: verax models."),
]
Gateway = Annotated[
    str | None,
    typer.Option(rich_help_panel=PANEL, help="The service; see: verax models --gateways."),
]
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", rich_help_panel=PANEL, help="Use this address of the service."),
]
LocalOnly = Annotated[
    bool,
    typer.Option(
        "--local-only", rich_help_panel=PANEL, help="Refuse every address beyond this machine."
    ),
]


def dollars(text: str) -> float:
    """US dollars in a text such as "2.50"; infinity for "any" (no limit). Else ValueError."""
    return math.inf if text == "any" else float(text)


MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost",
        parser=dollars,
        metavar="USD",
        rich_help_panel=PANEL,
        help="US dollars that this run may cost at most, or 'any' for no limit.",
    ),
]
Run = Annotated[
    str | None,
    typer.Option(
        "--run",
        rich_help_panel=PANEL,
        help="Name of the run; runs with the same name share one --max-cost.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", rich_help_panel=PANEL, help="Print the expected cost; send nothing."),
]
RetryUncertain = Annotated[
    bool,
    typer.Option(
        "--retry-uncertain",
        rich_help_panel=PANEL,
        help="Repeat calls that may have been billed already.",
    ),
]


def group_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator for typer commands: a parameter of a dataclass type becomes one option per field.

    The fields are annotated as options: `Annotated[type, typer.Option(...)]`.
    """
    flat: list[inspect.Parameter] = []
    records: dict[str, tuple[Any, list[str]]] = {}
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        kind = parameter.annotation
        if not is_dataclass(kind):
            flat.append(parameter)
            continue
        hints = get_type_hints(kind, include_extras=True)
        records[name] = kind, [field.name for field in fields(kind)]
        for field in fields(kind):
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            flat.append(
                inspect.Parameter(
                    field.name, parameter.kind, default=default, annotation=hints[field.name]
                )
            )

    @wraps(command)
    def run(**values: Any) -> None:  # noqa: ANN401
        for name, (kind, names) in records.items():
            values[name] = kind(**{field: values.pop(field) for field in names})
        command(**values)

    run.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    run.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    return run


@dataclass(frozen=True, slots=True)
class Terms:
    """The options of a command that calls a paid service. `run`: name under which costs are summed
    up for the limit; `retry_uncertain`: repeat calls that may have been billed already."""

    gateway: Gateway = None
    base_url: BaseUrl = None
    local_only: LocalOnly = False
    max_cost: MaxCost = None
    run: Run = None
    dry_run: DryRun = False
    retry_uncertain: RetryUncertain = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The options of a command for the pictures that it requests from a service."""

    model: Model = None
    quality: Annotated[
        str | None, typer.Option(help="Quality: low, medium, high ...; see: verax models.")
    ] = None
    complexity: Annotated[
        str | None, typer.Option(help="How much the model plans ahead: low, medium or high.")
    ] = None
    background: Annotated[str | None, typer.Option(help="auto, opaque or transparent.")] = None
    moderation: Annotated[
        str | None, typer.Option(help="The service's moderation: auto, or low (less strict).")
    ] = None
    output_format: Annotated[str | None, typer.Option("--format", help="png, jpeg or webp.")] = None
    output_compression: Annotated[
        int | None, typer.Option("--compression", help="Compression of jpeg and webp, 0 to 100.")
    ] = None
    n: Annotated[int, typer.Option("--n", help="Pictures per call.", min=1, max=10)] = 1
    repeat_index: Annotated[
        int, typer.Option("--again", help="1, 2, 3 ...: pay for another answer.", min=0)
    ] = 0

    def fields(self) -> dict[str, Any]:
        """The options as keyword arguments of `GenerateRequest`, a request to a service."""
        return asdict(self) | {"model": self.model or ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """The options of a command for the number of calls and for what it prints."""

    best_of: Annotated[
        int,
        typer.Option("--best-of", help="Make this many calls; rank the answers.", min=1, max=50),
    ] = 1
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Guides:
    """The options of `verax edit` for what is sent together with the photo."""

    mask: Annotated[
        Path | None, typer.Option(help="Mask, transparent (or else white) in the area to edit.")
    ] = None
    markup: Annotated[
        Path | None, typer.Option(help="PNG with arrows or circles, transparent elsewhere.")
    ] = None
    reference: Annotated[
        list[Path] | None, typer.Option(help="A further picture to send along; repeatable.")
    ] = None
    input_fidelity: Annotated[
        str | None, typer.Option(help="How closely to keep the photo: high or low (some models).")
    ] = None


@dataclass(frozen=True)
class PaidCalls:
    """Makes the paid calls of one command within its cost limit, through `desk`, which sends the
    requests and stores the answers."""

    desk: "Desk"
    terms: Terms

    def batches(self) -> "Batches":
        """The object that sends requests in batches (Batch API) to the service of this command."""
        from verax.providers.batch import batches_of

        return batches_of(self.desk)

    def announce(self, requests: Sequence["Request"], notices: Sequence[str] = ()) -> bool:
        """Print `notices`, what is sent where, and its cost. Returns False only on a dry run."""
        for notice in dict.fromkeys(notices):
            print(f"note: {notice}", file=sys.stderr)
        open_ones = self.desk.missing(requests)
        stored = len(requests) - len(open_ones)
        if stored:
            print(
                f"{stored} of {quantity(len(requests), 'answer')} stored already", file=sys.stderr
            )
        price = price_text(self.desk.estimate(open_ones)) if open_ones else "nothing"
        if open_ones and not self.terms.dry_run:
            self.desk.client.require_key()
        if open_ones:
            print(self.desk.client.announcement(*open_ones), file=sys.stderr)
        if self.terms.dry_run:
            calls = quantity(len(open_ones), "call")
            print(f"dry run: {calls} would cost {price}; nothing was sent")
            return False
        if open_ones:
            self._require_price(open_ones)
            print(f"Expected cost: {price}", file=sys.stderr)
        return True

    def ask(
        self, request: R, count: int, notices: Sequence[str] = ()
    ) -> "list[tuple[R, ImagesAnswer]]":
        """Make `count` calls for different answers. Returns [(request, answer)]; [] on a dry run.

        Prints `notices` first, and errors of failed calls, which are left out; raises if all fail.
        """
        requests = [
            replace(request, repeat_index=request.repeat_index + index) for index in range(count)
        ]
        if not self.announce(requests, notices):
            return []
        answers = list(zip(requests, self.desk.call_all(requests), strict=True))
        failed = [answer for _, answer in answers if isinstance(answer, VeraxError)]
        if len(failed) == len(answers):
            raise failed[0]
        for error in failed:
            print(f"failed: {error}", file=sys.stderr)
        return [(one, answer) for one, answer in answers if not isinstance(answer, VeraxError)]

    def _require_price(self, requests: Sequence["Request"]) -> None:
        """Raises InputError if no cost limit is set and a known service has no known price."""
        settings, client = self.desk.settings, self.desk.client
        limit = self.terms.max_cost if self.terms.max_cost is not None else settings.max_cost
        if limit is not None or client.gateway.name == "custom":
            return
        for request in requests:
            if self.desk.budget.tariff.price(request) is None:
                near = get_close_matches(request.model.rpartition("/")[2], client.known, n=1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise InputError(
                    f"no price is known for {request.model!r} at {client.gateway.name}{hint}; to "
                    "call this model anyway, whatever it costs: --max-cost any"
                )


@contextmanager
def paid_calls(terms: Terms) -> "Iterator[PaidCalls]":
    """Yields the object that makes paid calls to the service that options or settings name."""
    from verax.providers.journal import journal_folder, open_desk

    settings = settings_of(terms)
    with ExitStack() as stack:
        folder = None
        if terms.dry_run and not journal_folder(settings).exists():  # a dry run makes no folder
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="verax-dry-run-")))
        desk = open_desk(
            settings,
            run=terms.run or "",
            max_cost_usd=terms.max_cost,
            retry_uncertain=terms.retry_uncertain,
            folder=folder,
        )
        yield PaidCalls(stack.enter_context(desk), terms)


def settings_of(terms: Terms) -> "Settings":
    """The settings from environment and config file, overridden by the options."""
    from verax.settings import load

    settings = load()
    if terms.gateway:
        settings = replace(settings, gateway=terms.gateway)
    if terms.base_url:
        settings = replace(settings, base_url=terms.base_url)
    return replace(settings, local_only=settings.local_only or terms.local_only)


def price_text(estimate: "Estimate") -> str:
    """The estimated price as text, such as "$0.0420, at most $0.1300"; or that it is unknown."""
    if estimate.expected_usd is None or estimate.high_usd is None:
        return "an unknown amount (no price of this model at this service is known)"
    return f"${estimate.expected_usd:.4f}, at most ${estimate.high_usd:.4f}"
