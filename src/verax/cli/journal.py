"""The command `verax journal`: calls to image services, their cost, and the stored answers."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verax.cli.paid import LocalOnly, Terms, settings_of
from verax.errors import InputError, ProviderError, VeraxError, choose, quantity

if TYPE_CHECKING:
    from verax.providers.answers import Fetch
    from verax.providers.journal import Journal
    from verax.providers.records import Call
    from verax.providers.transport import Transport

app = typer.Typer(
    name="journal",
    help="Calls to image services, their cost, and the stored answers.",
    no_args_is_help=True,
)


States = Annotated[
    list[str] | None,
    typer.Option("--state", help="Only calls in this state: done, uncertain, refused, failed ..."),
]
Run = Annotated[str | None, typer.Option("--run", help="Only calls of the run with this name.")]
Before = Annotated[
    datetime | None,
    typer.Option("--before", formats=["%Y-%m-%d"], help="Only calls before this day (UTC)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Calls = Annotated[
    list[str] | None,
    typer.Argument(help="Numbers of calls, or the first 8 or more characters of fingerprints."),
]


@app.command("list")
def list_calls(
    states: States = None, run: Run = None, before: Before = None, as_json: Json = False
) -> None:
    """List calls to services: number, time, state, request, cost, and why a call failed."""
    with open_journal() as journal:
        matches = select(journal, None, states, run, before)
    if as_json:
        print(json.dumps([record_of(call) for call in matches], ensure_ascii=False, indent=2))
        return
    for call in matches:
        print(line(call))
    counts = Counter(call.state for call in matches)
    print(", ".join(f"{count} {state}" for state, count in counts.items()) or "no calls")
    billed = sum(call.cost_usd or 0.0 for call in matches)
    open_usd = sum(call.counted_usd for call in matches) - billed
    print(f"billed ${billed:.4f}" + (f", possibly ${open_usd:.4f} more" if open_usd else ""))


@app.command()
def show(call: Annotated[str, typer.Argument(help="Number or fingerprint of the call.")]) -> None:
    """Show everything that the journal has on a call, as JSON."""
    with open_journal() as journal:
        for one in select(journal, [call], None, None, None):
            entry = record_of(one)
            if one.state in ("done", "unusable"):
                entry["answer"] = str(journal.answers.path(one.fingerprint))
            print(json.dumps(entry, ensure_ascii=False, indent=2))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder for calls.jsonl and pictures.")],
    states: States = None,
    run: Run = None,
    before: Before = None,
) -> None:
    """Write the records of calls as JSON lines, and every stored picture as it was received."""
    from verax.store import write_whole, writing

    with open_journal() as journal, writing(folder):
        matches = select(journal, None, states, run, before)
        lines = []
        for call in matches:
            files = files_of(journal, call)
            for name, data in files.items():
                write_whole(folder / name, data)
            lines.append(json.dumps(record_of(call) | {"files": list(files)}, ensure_ascii=False))
        write_whole(folder / "calls.jsonl", "".join(f"{one}\n" for one in lines).encode())
    print(f"wrote {quantity(len(matches), 'call')} to {folder}")


@app.command()
def prune(
    calls: Calls = None,
    states: States = None,
    run: Run = None,
    before: Before = None,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm the removal.")] = False,
) -> None:
    """Remove calls and their answers from the journal; the same request is then paid again.

    Uncertain calls (perhaps billed, without an answer) are only removed if they are named, or if
    --state uncertain is given.
    """
    if not (calls or states or run or before):
        raise InputError(
            "expected a selection of calls, got none; say what to remove: numbers, --state, --run "
            "or --before"
        )
    with open_journal() as journal:
        matches = select(journal, calls, states, run, before)
        if not (calls or states):
            matches = [call for call in matches if call.state != "uncertain"]
        matches = [call for call in matches if call.state not in ("started", "batched")]
        size = sum(answer_bytes(journal, call) for call in matches)
        if yes:
            size = journal.answers.remove(matches)
    verb = "removed" if yes else "would remove"
    print(
        f"{verb} {quantity(len(matches), 'call')} and {size / 1e6:.1f} MB"
        + ("" if yes else "; to remove them, add --yes")
    )


@app.command("fetch")
def fetch_pictures(calls: Calls = None, run: Run = None, local_only: LocalOnly = False) -> None:
    """Download pictures that services sent as links and that are still missing. Costs nothing."""
    from verax.providers.answers import links

    with open_journal() as journal:
        matches = select(journal, calls, ["done", "unusable"], run, None)
        waiting = [call for call in matches if call.message and links(journal.answers.body(call))]
        with fetchers(local_only) as fetcher:
            counts = read_again(journal, waiting, fetcher)
    print(f"{counts['done']} of {quantity(len(waiting), 'answer')} complete now; nothing was paid")


@app.command()
def reread(calls: Calls = None, run: Run = None) -> None:
    """Read stored answers again that an older version of Verax could not read. Sends nothing."""
    with open_journal() as journal:
        states: list[str] = ["unusable", "uncertain"]
        matches = select(journal, calls, states, run, None)
        counts = read_again(journal, matches, lambda call: None)
    print(f"{counts['done']} of {len(matches)} can be read now; nothing was sent or paid")


def read_again(
    journal: "Journal", calls: "list[Call]", fetcher: "Callable[[Call], Fetch | None]"
) -> Counter[str]:
    """Read the stored answers of calls again; errors are printed to stderr.

    `fetcher` gives for a call the function that downloads linked pictures. If it gives None, they
    are not downloaded.
    Returns how many calls are now in each state, such as "done".
    """
    counts: Counter[str] = Counter()
    for call in calls:
        try:
            state = journal.answers.reread(call, fetcher(call))
        except VeraxError as exc:  # the others are still read
            print(f"call {call.id}: {exc}", file=sys.stderr)
            continue
        counts[state] += 1
        left = journal.records.newest(call.fingerprint)
        if left is not None and left.message:
            print(f"call {call.id}: {left.message}", file=sys.stderr)
    return counts


@contextmanager
def fetchers(local_only: bool) -> "Iterator[Callable[[Call], Fetch]]":
    """Yields a function that gives for a call the function that downloads its linked pictures.

    There is one connection per service; all are closed at the end. With `local_only`, addresses
    beyond this machine are refused.
    """
    from verax.providers.images_api import connect

    with ExitStack() as stack:

        @cache
        def transport(gateway: str) -> "Transport":
            name, _, address = gateway.partition(" ")
            terms = Terms(name, address.partition(" ")[0] or None, local_only)
            line = connect(settings_of(terms), today=datetime.now(UTC).date()).transport
            stack.callback(line.close)
            return line

        yield lambda call: transport(call.gateway).fetch


def open_journal() -> "Journal":
    from verax.providers.journal import Journal
    from verax.settings import load

    return Journal(load().home / "journal")


def select(
    journal: "Journal",
    names: list[str] | None,
    states: list[str] | None,
    run: str | None,
    before: datetime | None,
) -> "list[Call]":
    """The calls that meet all conditions; an argument that is None or empty is no condition.

    `names` are numbers of calls, or beginnings of fingerprints with at least eight characters;
    `run` is the name that --run gave to calls; `before`: calls that started before this time (UTC).
    Raises InputError if one of `names` fits none of the calls that meet the other conditions.
    """
    from verax.providers.records import STATES

    for state in states or ():
        choose(dict.fromkeys(STATES), state, kind="state of a call")
    matches = journal.records.select(
        states=states or STATES,
        run=run,
        before=before.replace(tzinfo=UTC).timestamp() if before else float("inf"),
    )
    if not names:
        return matches
    picked = [call for call in matches if any(fits(call, name) for name in names)]
    missing = [name for name in names if not any(fits(call, name) for call in matches)]
    if missing:
        raise InputError(
            f"expected numbers or fingerprints of calls, found no call {missing[0]}; "
            "verax journal list shows all calls"
        )
    return picked


def fits(call: "Call", name: str) -> bool:
    return name == str(call.id) or (len(name) >= 8 and call.fingerprint.startswith(name))


def line(call: "Call") -> str:
    fields = call.request["fields"]
    what = " ".join(str(fields[name]) for name in ("size", "quality") if name in fields)
    cost = "?" if call.cost_usd is None else f"${call.cost_usd:.4f}"
    if call.cost_usd is None and call.counted_usd:
        cost = f"≤${call.counted_usd:.4f}"
    when = datetime.fromtimestamp(call.started, UTC).strftime("%Y-%m-%d %H:%M:%S")
    head = f"{call.id:5} {when} {call.state:9} {call.kind:8} {call.model} {what} {cost}"
    reason = f"{call.stage} {'/'.join(call.categories)} {call.message}".strip()
    return f"{head}\n      {reason}" if reason else head


def record_of(call: "Call") -> dict[str, Any]:
    """The record of a call as a dict for JSON, with times in ISO format (UTC)."""
    entry = asdict(call) | {"counted_usd": call.counted_usd}
    del entry["owner"]
    for name in ("started", "ended"):
        when = entry[name]
        entry[name] = when and datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds")
    return entry


def answer_bytes(journal: "Journal", call: "Call") -> int:
    return sum(path.stat().st_size for path in journal.answers.files(call))


def files_of(journal: "Journal", call: "Call") -> dict[str, bytes]:
    """The files to export for a call, as name -> bytes: the pictures of its answer; the answer
    itself if no picture can be read from it; the received part of an incomplete answer."""
    if call.state not in ("done", "unusable"):
        return {f"{call.id:05}.part": path.read_bytes() for path in journal.answers.files(call)}
    body = journal.answers.body(call)
    try:
        images = journal.answers.read(call).images
    except ProviderError:
        return {f"{call.id:05}.json": body}
    endings = [image.media_type.removeprefix("image/") for image in images]
    return {
        f"{call.id:05}-{index}.{ending}": image.data
        for index, (image, ending) in enumerate(zip(images, endings, strict=True))
    }
