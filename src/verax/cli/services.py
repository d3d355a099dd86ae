"""The commands `verax models`, `probe` (what services can do) and `provenance` (of a file)."""

import json
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verax.cli.paid import (
    BaseUrl,
    DryRun,
    Gateway,
    LocalOnly,
    MaxCost,
    Terms,
    paid_calls,
    settings_of,
)
from verax.errors import ImageReadError

if TYPE_CHECKING:
    from verax.catalog.models import Model
    from verax.provenance import Provenance


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
SHOWN_SIZE = (1024, 1024)
OLD_DAYS = 60  # prices that were checked longer ago get a warning


def models(
    refresh: Annotated[
        bool,
        typer.Option("--refresh", help="Get the shutdown dates from the service, and store them."),
    ] = False,
    list_gateways: Annotated[
        bool, typer.Option("--gateways", help="List the services instead of the models.")
    ] = False,
    gateway: Gateway = None,
    base_url: BaseUrl = None,
    local_only: LocalOnly = False,
    as_json: AsJson = False,
) -> None:
    """List the image models: what they accept, what a picture costs, when they are shut down."""
    from verax.catalog import models as catalog
    from verax.providers import images_api
    from verax.providers.images_api import connect

    terms = Terms(gateway=gateway, base_url=base_url, local_only=local_only)
    settings = settings_of(terms)
    if list_gateways:
        return show_gateways(as_json=as_json)
    today = datetime.now(UTC).date()
    name = settings.gateway or ("custom" if settings.base_url else "openai")
    if refresh:
        dates = connect(settings, today=today).shutdown_dates()
        images_api.store_facts(settings.home, images_api.DATES, name, dates)
    dates = images_api.load_facts(settings.home, images_api.DATES, name)
    known = catalog.models(changes=settings.home, ends=dates)
    checked = catalog.check_date(changes=settings.home)
    if as_json:
        rows = [catalog.as_json(m) | extras(m, today) for m in known.values()]
        dates = {"today": today.isoformat(), "checked": checked.isoformat()}
        print(json.dumps({**dates, "models": rows}, indent=2))
        return None
    print(f"{'model':26}{'state':20}{'sizes':26}{'USD per 1024x1024 picture'}")
    for model in known.values():
        print(f"{model.name:26}{state(model, today):20}{sizes(model):26}{prices(model)}")
    print("Output tokens only; pictures sent cost extra. Every price and date: --json.")
    print(age(checked, today))
    return None


def age(checked: date, today: date) -> str:
    """A sentence on the day when prices were `checked`; after 60 days, it asks to compare them."""
    days = (today - checked).days
    old = f", {days} days ago; compare them with the service's own list, or update Verax"
    return f"Prices and dates were checked on {checked}{old if days > OLD_DAYS else ''}."


def show_gateways(*, as_json: bool) -> None:
    """Print the image services that Verax knows, with address and name of the key."""
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
    if model.has_ended(today):
        return f"ended {model.ends}"
    return f"until {model.ends}" if model.ends else "live"


def sizes(model: "Model") -> str:
    rules = model.sizes
    if rules.fixed:
        return f"{len(rules.fixed)} fixed"
    return f"x{rules.multiple}, {rules.min_pixels / 1e6:.2f}-{rules.max_pixels / 1e6:.1f} MP"


def prices(model: "Model") -> str:
    """The price of a 1024x1024 picture for each quality, such as "low 0.0110 high 0.1670" (USD)."""
    usd_by_quality = picture_prices(model)
    marked = " (estimated from another model)" if model.output_assumed else ""
    return " ".join(f"{quality} {usd:.4f}" for quality, usd in usd_by_quality.items()) + marked


def picture_prices(model: "Model") -> dict[str, float]:
    from verax.catalog.models import picture_usd

    known = {*model.output_grid, *model.output_table}
    usd_by_quality = {q: picture_usd(model, q, SHOWN_SIZE) for q in model.qualities if q in known}
    return {quality: usd for quality, usd in usd_by_quality.items() if usd is not None}


def extras(model: "Model", today: date) -> dict[str, Any]:
    """Further fields of --json: whether the model was shut down, and its price by quality."""
    size = f"{SHOWN_SIZE[0]}x{SHOWN_SIZE[1]}"
    return {"ended": model.has_ended(today), "picture_usd": {size: picture_prices(model)}}


def probe(
    model: Annotated[str, typer.Option("--model", help="Model of the service to test.")],
    gateway: Gateway = None,
    base_url: BaseUrl = None,
    local_only: LocalOnly = False,
    max_cost: MaxCost = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Test by a few paid calls whether a service obeys size, format and mask; store the result."""
    from verax.providers import dialects, images_api

    terms = Terms(gateway, base_url, local_only, max_cost, dry_run=dry_run)
    with paid_calls(terms) as calls:
        client = calls.desk.client
        requests = dialects.probe_requests(model, client.model(model).sizes, client.prepare)
        if not calls.announce([request for request in requests.values() if request]):
            return
        verdicts = dialects.probe(requests, calls.desk.call, today=client.today)
        home, service = calls.desk.settings.home, client.name
        known = images_api.load_facts(home, images_api.PROBES, service)
        images_api.store_facts(home, images_api.PROBES, service, known | {model: verdicts})
    if as_json:
        print(json.dumps(verdicts, indent=2))
        return
    for what, verdict in verdicts.items():
        print(f"{what:8}{verdict}")


File = Annotated[Path, typer.Argument(help="A picture file.")]
MEANING = {
    "absent": "no Content Credentials",
    "valid": "Content Credentials, valid: the file is as it was signed; the signer is not checked "
    "against a list of trusted ones",
    "trusted": "Content Credentials, valid, by a trusted signer",
    "invalid": "Content Credentials that do not match: the file was changed after it was signed",
    "unreadable": "Content Credentials that cannot be read",
    "unread": "Content Credentials, not read since a package for reading them is missing",
}
PROVES_NOTHING = (
    "Missing credentials prove nothing: saving a file loses them, and invisible watermarks are not "
    "looked for."
)


def provenance(file: File, as_json: AsJson = False) -> None:
    """Show what a file says about its origin: C2PA manifest, metadata, statement file beside it."""
    from verax import provenance as credentials
    from verax.provenance import statement

    try:
        data = file.read_bytes()
    except OSError as exc:
        raise ImageReadError(f"{file}: cannot be read: {exc.strerror}; check the path") from exc
    manifest = credentials.read(data)
    claim, fits = statement.read_statement(file)
    if as_json:
        entry: dict[str, Any] = {"file": str(file), **asdict(manifest)}
        entry["source_in_xmp"] = credentials.source_in_xmp(data)
        entry["names_remote_manifest"] = credentials.names_remote_manifest(data)
        entry["statement"] = claim
        entry["statement_fits"] = fits
        print(json.dumps(entry, indent=2, ensure_ascii=False))
        return
    print(f"{file}: {MEANING[manifest.state]}")
    for line in manifest_lines(manifest):
        print(f"  {line}")
    if source := credentials.source_in_xmp(data):
        print(f"  its XMP metadata, unsigned, says: {source}")
    if credentials.names_remote_manifest(data):
        print("  names a manifest at another address, which was not fetched")
    if claim is not None:
        changed = "" if fits else ", but the file was changed afterwards"
        print(f"  a statement beside it, unsigned, says: made by {claim['made_by']}{changed}")
    if manifest.state == "absent":
        print(PROVES_NOTHING)


def manifest_lines(manifest: "Provenance") -> list[str]:
    """What a C2PA manifest says, as lines: maker, signer, actions, sources and problems."""
    lines = []
    if manifest.generator:
        lines.append(f"made by    {manifest.generator}")
    if manifest.issuer or manifest.signer:
        when = f" on {manifest.signed_at}" if manifest.signed_at else ""
        lines.append(
            f"signed by  {', '.join(filter(None, (manifest.signer, manifest.issuer)))}{when}"
        )
    for action in manifest.actions:
        about = " ".join(filter(None, (action.source, action.agent and f"with {action.agent}")))
        lines.append(f"action     {action.name} {about}".rstrip())
    for one in manifest.ingredients:
        own = "with" if one.has_manifest else "without"
        lines.append(f"made from  {one.title} ({one.relationship}, {own} credentials of its own)")
    lines += [f"problem    {problem}" for problem in manifest.problems]
    return lines
