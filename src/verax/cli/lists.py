"""verax models, probe, names: what can be asked and what it costs, and every list of names."""

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verax.cli.paid import (
    BaseUrl,
    DryRun,
    Gateway,
    LocalOnly,
    MaxCost,
    Terms,
    configured,
    counter_of,
)

if TYPE_CHECKING:
    from verax.catalog.models import Model


from collections.abc import Callable, Mapping

from verax.errors import choose

SHOWN_SIZE = (1024, 1024)
OLD_DAYS = 60  # after which prices are worth a second look


def models(
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the service for its end dates and keep them.")
    ] = False,
    list_gateways: Annotated[
        bool, typer.Option("--gateways", help="List the services instead of the models.")
    ] = False,
    gateway: Gateway = None,
    base_url: BaseUrl = None,
    local_only: LocalOnly = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the image models: what they accept, what a picture costs, when they end."""
    from verax.catalog import models as catalog
    from verax.providers import images_api
    from verax.providers.images_api import connect

    terms = Terms(gateway=gateway, base_url=base_url, local_only=local_only)
    settings = configured(terms)
    if list_gateways:
        return show_gateways(as_json=as_json)
    today = datetime.now(UTC).date()
    name = settings.gateway or ("custom" if settings.base_url else "openai")
    if refresh:
        dates = connect(settings, today=today).shutdown_dates()
        images_api.store_facts(settings.home, images_api.DATES, name, dates)
    dates = images_api.load_facts(settings.home, images_api.DATES, name)
    known = catalog.models(changes=settings.home, ends=dates)
    day = catalog.checked(changes=settings.home)
    if as_json:
        rows = [catalog.as_json(m) | extras(m, today) for m in known.values()]
        dates = {"today": today.isoformat(), "checked": day.isoformat()}
        print(json.dumps({**dates, "models": rows}, indent=2))
        return None
    print(f"{'model':26}{'state':20}{'sizes':26}{'USD per 1024x1024 picture'}")
    for model in known.values():
        print(f"{model.name:26}{state(model, today):20}{sizes(model):26}{prices(model)}")
    print("Output tokens only; pictures sent cost extra. Every price and date: --json.")
    print(age(day, today))
    return None


def age(day: date, today: date) -> str:
    """When the prices were checked, and what to do where that is long ago."""
    days = (today - day).days
    old = f", {days} days ago: look at the service's own list, or update Verax"
    return f"Prices and dates were checked on {day}{old if days > OLD_DAYS else ''}."


def show_gateways(*, as_json: bool) -> None:
    """The services of the catalog."""
    from dataclasses import asdict

    from verax.catalog import gateways

    known = gateways()
    if as_json:
        rows = [asdict(one) for one in known.values()]
        print(json.dumps({"gateways": rows}, indent=2, default=str))
        return
    print(f"{'gateway':20}{'mask':8}{'address':44}{'key'}")
    for one in known.values():
        where = one.base_url or (f"${one.address}" if one.address else "--base-url")
        print(f"{one.name:20}{one.mask or 'no':8}{where:44}{' or '.join(one.keys) or 'none'}")


def state(model: "Model", today: date) -> str:
    if model.ended(today):
        return f"ended {model.ends}"
    return f"until {model.ends}" if model.ends else "live"


def sizes(model: "Model") -> str:
    rules = model.sizes
    if rules.fixed:
        return f"{len(rules.fixed)} fixed"
    return f"x{rules.multiple}, {rules.min_pixels / 1e6:.2f}-{rules.max_pixels / 1e6:.1f} MP"


def prices(model: "Model") -> str:
    """Quality with its price at SHOWN_SIZE, cheapest first."""
    usd_by_quality = picture_prices(model)
    marked = " (counts of another model)" if model.output_assumed else ""
    return " ".join(f"{quality} {usd:.4f}" for quality, usd in usd_by_quality.items()) + marked


def picture_prices(model: "Model") -> dict[str, float]:
    from verax.catalog.models import picture_usd

    known = {*model.output_grid, *model.output_table}
    usd_by_quality = {q: picture_usd(model, q, SHOWN_SIZE) for q in model.qualities if q in known}
    return {quality: usd for quality, usd in usd_by_quality.items() if usd is not None}


def extras(model: "Model", today: date) -> dict[str, Any]:
    """What a program wants to know beside the record."""
    shown = f"{SHOWN_SIZE[0]}x{SHOWN_SIZE[1]}"
    return {"ended": model.ended(today), "picture_usd": {shown: picture_prices(model)}}


def probe(
    model: Annotated[str, typer.Option("--model", help="The model to ask there.")],
    gateway: Gateway = None,
    base_url: BaseUrl = None,
    local_only: LocalOnly = False,
    max_cost: MaxCost = None,
    dry_run: DryRun = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Ask a service with a test picture whether size, format and mask are honoured; store it."""
    from verax.providers import dialects, images_api

    terms = Terms(gateway, base_url, local_only, max_cost, dry_run=dry_run)
    with counter_of(terms) as counter:
        requests = dialects.probe_requests(counter.desk.client, model)
        if not counter.announce([request for request in requests.values() if request]):
            return
        verdicts = dialects.probe(requests, counter.desk.call, today=counter.desk.client.today)
        home, service = counter.desk.settings.home, counter.desk.client.name
        known = images_api.load_facts(home, images_api.PROBES, service)
        images_api.store_facts(home, images_api.PROBES, service, known | {model: verdicts})
    if as_json:
        print(json.dumps(verdicts, indent=2))
        return
    for what, verdict in verdicts.items():
        print(f"{what:8}{verdict}")


Names = Mapping[str, str]


def restorers() -> Names:
    """What makes the base: --restorer."""
    from verax.restorers import RESTORERS, WEIGHTS

    words = {
        "none": "the photo itself",
        "auto_levels": "stretched levels",
        "clahe": "local contrast",
        "dcp": "dark channel prior, against haze",
        "gamma": "a gamma curve",
        "guided_derain": "guided filter, against rain streaks",
        "lime": "illumination map, for low light",
        "network": "the embedded networks",
        "nlm": "non-local means, against noise",
    }
    own = {name: words.get(name, "") for name in RESTORERS}
    return {
        "auto": "the embedded networks",
        **own,
        f"FILE{WEIGHTS[0]}": f"weights that spandrel reads ({', '.join(WEIGHTS)})",
    }


def tasks() -> Names:
    """What a service may be asked for: --task of restore."""
    from verax import catalog

    return {"auto": "guessed from the photo"} | {
        name: catalog.prompt(name).text.partition(".")[0] for name in catalog.tasks()
    }


def degradations() -> Names:
    """How a clean picture can be damaged: TASK of --degrade TASK:SEVERITY, severity 0 to 1."""
    from verax.degrade import TASKS

    return {
        name: (function.__doc__ or "").strip().partition("\n")[0]
        for name, function in TASKS.items()
    }


def methods() -> Names:
    """What a benchmark compares: --method."""
    from verax.bench.plan import METHODS

    return {name: method.what for name, method in METHODS.items()}


def priors() -> Names:
    """Where a benchmark's priors come from: --prior of bench run."""
    from verax.bench.plan import PRIORS

    return PRIORS | {"provider:MODEL": "asked from a service, see --base-url"}


def presets() -> Names:
    """Plans that have a name: --preset."""
    from verax.bench.plan import presets as known

    return {name: preset.about for name, preset in known().items()}


def wordings() -> Names:
    """Prompts by name: --prompt of bench run, as TASK/WORDING."""
    from verax import catalog

    return {
        name: catalog.prompt("dehaze", fidelity=name).text.partition(". ")[2]
        or "the task alone, without a word on fidelity"
        for name in catalog.wordings()
    }


def recipes() -> Names:
    """Training recipes: --recipe."""
    return {
        "cpu": "small networks, trained on a processor",
        "gpu": "larger networks, trained on graphics cards",
    }


def others() -> Names:
    """Lists that have a command of their own."""
    return {
        "verax models": "models: --model, --quality",
        "verax models --gateways": "services: --gateway",
        "verax metrics": "metrics: --metric, --metrics",
        "verax data list": "datasets: --dataset",
    }


KINDS: dict[str, Callable[[], Names]] = {
    "restorers": restorers,
    "tasks": tasks,
    "degradations": degradations,
    "methods": methods,
    "priors": priors,
    "presets": presets,
    "wordings": wordings,
    "recipes": recipes,
    "others": others,
}


def names(
    kind: str = typer.Argument("", help=f"One of: {', '.join(KINDS)}. All without it."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """List the names that options take: restorers, tasks, methods, presets and more."""
    chosen = {kind: choose(KINDS, kind, kind="list of names")} if kind else KINDS
    lists = {name: dict(function()) for name, function in chosen.items()}
    if as_json:
        print(json.dumps(lists, ensure_ascii=False, indent=1))
        return
    for name, function in chosen.items():
        print(f"{name}: {function.__doc__}")
        width = max(map(len, lists[name]))
        for entry, words in lists[name].items():
            print(f"  {entry:{width}}  {words}".rstrip())
