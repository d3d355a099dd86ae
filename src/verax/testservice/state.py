"""The state of the test service, and the scripts that control its answers.

A script is a list of steps, one taken by each request for pictures; when it is used up, requests
succeed. Steps (`parse_step` is the whole list):

    ok                     answer as requested
    429  429:2  429:ms=50  429:date=2  429:absurd  429:text  429:ahead=2  429:quota
                           too many requests: without Retry-After, in seconds, retry-after-ms,
                           as an HTTP date, 99999 seconds, not a number, as a date by a clock
                           that is five minutes ahead; an account without money
    500  502  503  409  408  401  400
                           that status; nothing billed
    html                   502 with a proxy's HTML page
    refuse:input           moderation before painting; not billed
    refuse:output          moderation after painting; billed
    cut-early  cut         drop the connection before billing; after billing, before the first byte
    timeout:30             bill, then stay silent for that many seconds and disconnect
    slow:0.5               bill, wait, answer (a stream sends comments meanwhile)
    half                   bill, then only half of the body
    size:640x480           another size than requested
    jpeg                   JPEG bytes although PNG was requested
    truncated              a picture file that ends too early, in a whole answer
    no-usage               an answer without usage
    billed:502, link ...   a billed answer that goes wrong, see below

A billed answer may go wrong in the ways of relays and gateways:

    billed:502         that status after billing: 500, 502, 503, 408, 409, 499 ...
    moderation:400     a refusal after painting, its code "400"; `null`: none; `200`: status
    page               nothing billed, a web page with status 200
    link  link:null    the picture as a link; b64_json absent, null; `empty`: ""
    link:relative      from the service's root; `redirect`: by way of another; `data`: a data: URL
    link:late          404 twice; `cut`: half of it once; `gone`: 404 always; `keyed`: needs the key
    link:sorry         a web page with status 200 in its place
    link:endless       without a length and without an end; `private`: into a private network
    stream:url         completed event with a link; `nested`: data[]; `named`: type in the event
                       line only; `noise`: unknown events between; `unended`: no blank line
    stream:plain       content type text/plain; `odd`: oddly cased; `none`; also without `stream`
    usage:zeros        all counts 0; `prompt`: only prompt_tokens beside zeros; `no-output`,
                       `null-output`, `zero-output`; `few`: a tenth; `byok`: cost 0, and upstream
    base64:wrapped     at 76; `urlsafe`; `unpadded`
    empty-entry        the second of two entries holds nothing
    padded:9000000     so many spaces before the end of the JSON
    ended              the whole JSON, then disconnects although more was announced
    gzip-lie           says gzip and is not

Billed means: written to the ledger and synced before the first byte of the answer.
"""

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verax.testservice import models

FAULTS = {"billed", "moderation", "link", "stream", "usage", "base64", "empty-entry", "padded"}
FAULTS |= {"page", "ended", "gzip-lie"}
Change = Callable[[str, dict[str, Any], list[str]], dict[str, Any]]
LATE, CUT = 2, 1  # attempts that fail
STATUSES = {"400", "401", "408", "409", "500", "502", "503"}
STEPS = {"ok", "html", "refuse", "cut", "cut-early", "timeout", "slow", "half", "size", "jpeg"}
STEPS |= {"truncated", "no-usage", "429"} | FAULTS
AHEAD_S = 300.0  # of the clock of 429:ahead


def parse_step(step: str) -> tuple[str, str]:
    """("429", "ms=50") from "429:ms=50"."""
    name, _, detail = step.partition(":")
    if name not in STEPS and name not in STATUSES:
        raise ValueError(f"unknown step {step!r}. Known: {', '.join(sorted(STEPS | STATUSES))}")
    return name, detail


class ServiceState:
    """Everything the service knows, shared by its threads.

    Args:
        ledger: file of the billed calls.
        delay_s: seconds before each answer.
        today: the day by which models have ended, ISO.
        keyed: whether a key is required.
        fail_every: every so many-th call is billed and then answered with 502; 0: none.

    `finish` may be set: it changes the file bytes of every picture that goes out.
    """

    def __init__(
        self,
        ledger: Path,
        *,
        delay_s: float = 0.0,
        today: str = "2026-11-20",
        keyed: bool = True,
        fail_every: int = 0,
    ) -> None:
        self.ledger = models.Ledger(ledger)
        self.delay_s = delay_s
        self.today = today
        self.keyed = keyed
        self.fail_every, self.calls = fail_every, 0
        self.lock = threading.Lock()
        self.steps: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.files: dict[str, dict[str, Any]] = {}
        self.files_ever = 0
        self.batches: dict[str, dict[str, Any]] = {}
        self.batch_plan: dict[str, Any] = {}
        self.linked: list[LinkedPicture] = []
        self.finish: Callable[[bytes], bytes] = lambda picture: picture
        self.under_way = 0
        self.most_under_way = 0

    def set_script(self, steps: list[str]) -> None:
        for step in steps:
            parse_step(step)
        with self.lock:
            self.steps = list(steps)

    def next_step(self) -> tuple[str, str]:
        with self.lock:
            self.calls += 1
            if self.steps:
                return parse_step(self.steps.pop(0))
            fails = self.fail_every and self.calls % self.fail_every == 0
            return ("billed", "502") if fails else ("ok", "")

    def note(self, entry: dict[str, Any]) -> None:
        with self.lock:
            self.requests.append(entry)


@dataclass
class LinkedPicture:
    """A picture behind a link.

    Attributes:
        way: how it is handed out, the detail of the step.
        attempts: how often it was requested.
    """

    data: bytes
    way: str
    attempts: int = 0


@dataclass
class FaultyReply:
    """A reply in place of the usual answer.

    Attributes:
        cut: close the connection after the body although more was announced.
    """

    status: int
    body: bytes
    kind: str = "application/json"
    headers: dict[str, str] | None = None
    cut: bool = False


def faulty_reply(
    step: str, detail: str, answer: dict[str, Any], links: list[str]
) -> FaultyReply | None:
    """The reply for a fault of the script in place of `answer`; None if the step is no fault.
    `links` are addresses of the answer's pictures."""
    if step == "billed":
        error = {"message": f"upstream error {detail}", "type": "server_error", "code": None}
        return FaultyReply(int(detail), _json_bytes({"error": error}))
    if step == "moderation":
        return _moderation(detail)
    if step == "stream":
        return _stream(detail, answer, links)
    change: dict[str, Change] = {
        "link": _with_links,
        "usage": _with_usage,
        "base64": _with_base64,
        "empty-entry": _with_empty_entry,
    }
    if step in change:
        return FaultyReply(200, _json_bytes(change[step](detail, answer, links)))
    body = _json_bytes(answer)
    if step == "padded":
        return FaultyReply(200, body[:-1] + b" " * int(detail) + b"}")
    if step == "ended":
        return FaultyReply(200, body, cut=True)
    if step == "gzip-lie":
        return FaultyReply(200, body, headers={"Content-Encoding": "gzip"})
    return None


def _moderation(detail: str) -> FaultyReply:
    code = None if detail in ("null", "200") else detail
    kind = "image_generation_user_error" if code is None else "bad_response_status_code"
    message = "Your request was rejected by the safety system (request id 1)."
    error = {"message": message, "type": kind, "param": "", "code": code}
    return FaultyReply(200 if detail == "200" else 400, _json_bytes({"error": error}))


def _with_links(detail: str, answer: dict[str, Any], links: list[str]) -> dict[str, Any]:
    data = [{"url": link} for link in links]
    if detail == "data":
        data = [{"url": f"data:image/png;base64,{one['b64_json']}"} for one in answer["data"]]
    filler: dict[str, dict[str, Any]] = {"null": {"b64_json": None}, "empty": {"b64_json": ""}}
    return answer | {"data": [filler.get(detail, {}) | one for one in data]}


def _with_usage(detail: str, answer: dict[str, Any], links: list[str]) -> dict[str, Any]:
    usage = dict(answer["usage"])
    zeros = dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), 0)
    if detail == "zeros":
        usage = {**zeros}
    elif detail == "prompt":
        usage = {**zeros, "prompt_tokens": usage["input_tokens"], "completion_tokens": 7}
    elif detail == "few":
        usage["output_tokens"] = max(1, usage.pop("total_tokens") // 100)
    elif detail == "byok":
        usage = {"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.04}}
    elif detail == "no-output":
        del usage["output_tokens"]
    else:
        usage["output_tokens"] = {"null-output": None, "zero-output": 0}[detail]
    return answer | {"usage": usage}


def _with_base64(detail: str, answer: dict[str, Any], links: list[str]) -> dict[str, Any]:
    spellings: dict[str, Callable[[str], str]] = {
        "wrapped": lambda text: "\n".join(text[i : i + 76] for i in range(0, len(text), 76)),
        "urlsafe": lambda text: text.replace("+", "-").replace("/", "_"),
        "unpadded": lambda text: text.rstrip("="),
    }
    spell = spellings[detail]
    return answer | {"data": [{"b64_json": spell(one["b64_json"])} for one in answer["data"]]}


def _with_empty_entry(detail: str, answer: dict[str, Any], links: list[str]) -> dict[str, Any]:
    return answer | {"data": [answer["data"][0], {}]}


def _stream(detail: str, answer: dict[str, Any], links: list[str]) -> FaultyReply:
    kinds = {"plain": "text/plain", "odd": "Text/Event-Stream;Charset=UTF-8", "none": ""}
    linked_reply: dict[str, Any] = {"b64_json": answer["data"][0]["b64_json"]}
    if detail == "url":
        linked_reply = {"url": links[0]}
    elif detail == "nested":
        linked_reply = {"data": [linked_reply]}
    event = {"type": "image_generation.completed", **linked_reply, "usage": answer.get("usage")}
    if detail == "named":
        del event["type"]
    noise = 'event: ping\ndata: {"type": "ping"}\n\ndata: {"type": "x.created", "id": "1"}\n\n'
    text = f"event: image_generation.completed\ndata: {json.dumps(event)}\n\n"
    text = noise + text + "data: [DONE]\n\n" if detail == "noise" else text
    text = text.rstrip("\n") if detail == "unended" else text
    return FaultyReply(200, text.encode(), kinds.get(detail, "text/event-stream"))


def linked_reply(linked: LinkedPicture, host: str, *, keyed: bool, number: int) -> FaultyReply:
    """The reply to one request for a linked picture; `keyed`: the request has the key."""
    linked.attempts += 1
    way, count = linked.way, linked.attempts
    if way == "gone" or (way == "late" and count <= LATE):
        return FaultyReply(404, b"not yet", "text/plain")
    if way == "sorry":
        return FaultyReply(200, b"<html>This link has expired</html>", "text/html")
    if way == "keyed" and not keyed:
        return FaultyReply(401, b"who are you?", "text/plain")
    if way == "redirect" and count == 1:
        return FaultyReply(302, b"", headers={"Location": f"http://{host}/pictures/{number}/again"})
    cut = way == "cut" and count <= CUT
    return FaultyReply(
        200, linked.data[: len(linked.data) // 2] if cut else linked.data, "image/png", cut=cut
    )


def _json_bytes(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def encode_base64(picture_bytes: bytes) -> str:
    return base64.b64encode(picture_bytes).decode()
