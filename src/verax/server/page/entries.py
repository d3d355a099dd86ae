"""An entry from the request that asks for it to its end, whatever that is."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from verax.errors import VeraxError
from verax.server.api.routes import Context, context_of
from verax.server.keys import Account
from verax.server.page import history
from verax.server.page.history import History
from verax.server.problems import Problem, from_error, json_response, unknown
from verax.server.queue import WorkQueue

MOST_PAUSE_S = 10.0
Work = Callable[[], Awaitable[dict[str, Any]]]  # what is to be added to the entry when it is done


def whose(request: Request) -> tuple[Context, Account, History]:
    """Who asks, with the history that is theirs; Problem 401 for nobody known."""
    context = context_of(request)
    client = context.client(request)
    return context, client, History(context.results / client.name)


def under_way(request: Request) -> dict[str, "asyncio.Task[None]"]:
    """Work under way by entry; lives as long as the application."""
    running: dict[str, asyncio.Task[None]] = request.app.state.page_running
    return running


async def sent_before(request: Request, kept: History, name: str) -> Response | None:
    """The answer to what came once already; Problem 429 while its first coming is under way."""
    if name not in set(kept.ids()):
        return None
    running = name in under_way(request)
    told = await run_in_threadpool(partial(history.record, kept.entry(name), running=running))
    if "format" not in told and told.get("kind") == "restoration":
        raise Problem(429, "this is still being received", "arriving", headers={"retry-after": "2"})
    return json_response(told, status=202)


async def start(request: Request, entry: Path, work: Work) -> Response:
    """Begin the work of an entry; answers with the entry as it stands."""
    running = under_way(request)
    task = asyncio.create_task(_told(entry, work))
    running[entry.name] = task
    task.add_done_callback(lambda _: running.pop(entry.name, None))
    told = await run_in_threadpool(partial(history.record, entry, running=True))
    return json_response(told, status=202)


async def _told(entry: Path, work: Work) -> None:
    """Do the work and write down how it ended."""
    try:
        ended: dict[str, Any] = {"state": "done", **await work()}
    except Problem as problem:
        ended = {"state": "failed", "error": problem.message}
    except VeraxError as exc:
        ended = {"state": "failed", "error": from_error(exc).message.replace(f"{entry}/", "")}
    except Exception as exc:  # noqa: BLE001  # whatever it was, the entry must not wait for ever
        if entry.is_dir():  # a bug; where the entry was deleted meanwhile, it is none
            context = {"message": "an entry failed", "exception": exc}
            asyncio.get_running_loop().call_exception_handler(context)
        ended = {"state": "failed", "error": unknown().message}
    if entry.is_dir():
        await run_in_threadpool(partial(history.amend, entry, **ended))


async def in_turn(jobs: WorkQueue, client: Account, work: Any, *arguments: Any) -> Any:  # noqa: ANN401
    """The result of the work; an entry that was taken in waits until there is room in the line."""
    while True:
        try:
            return await jobs.run(client.name, work, *arguments)
        except Problem as problem:
            if problem.status != 429 or "retry-after" not in problem.headers:
                raise
            await asyncio.sleep(min(MOST_PAUSE_S, float(problem.headers["retry-after"])))
