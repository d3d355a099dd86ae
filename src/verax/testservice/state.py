"""The state of the test service, and the scripts that control its answers.

A script is a list of steps. Each request for pictures takes the next step; without one it succeeds.
A call is billed when it is written to the ledger, which happens before the first byte of an answer.

    ok                 answer as requested
    429                too many requests, without Retry-After. 429:2 demands 2 s by Retry-After,
                       429:ms=50 by retry-after-ms, 429:date=2 by a date, 429:ahead=2 by a date of
                       a clock that is five minutes ahead; 429:absurd demands 99999 s, 429:text is
                       not a number; 429:quota says that the account has no credit
    500  502  503  409  408  401  400
                       answer with this status; not billed
    html               502 with a proxy's HTML page; not billed
    page               200 with a web page; not billed
    refuse:input       moderation refuses the prompt; not billed
    refuse:output      moderation refuses the generated picture; billed
    cut-early          close the connection; not billed
    cut                bill, then close the connection before the first byte
    timeout:30         bill, send nothing for 30 s, then close the connection
    slow:0.5           bill, wait for 0.5 s (a stream sends comments meanwhile), answer
    half               bill, then send only half of the body
    size:640x480       a picture of this size instead of the requested one
    jpeg               a JPEG picture instead of the requested PNG
    truncated          a complete answer with half a picture file in it
    no-usage           an answer without token counts

The other steps are billed and imitate faults of relays and gateways. Where a variant such as :late
is described, the step is written with it: link:late.

    billed:502         answer with status 502 (or any other) after billing
    moderation:400     a refusal with the code "400"; :null without a code; :200 with status 200
    link               a link in place of the picture; b64_json is absent, or with :null null, with
                       :empty "". :relative is a relative link, :data a data URL; :redirect
                       redirects, :late gives 404 twice, :cut half of the file once, :gone always
                       404, :keyed 401 without the key, :sorry a web page with status 200, :endless
                       bytes without end; :private leads into a private network
    stream:url         a stream whose last event has a link; :nested has the picture in a list,
                       :named the type in the line `event:` only, :noise other events before,
                       :unended no blank line at the end
    stream:plain       a stream declared as text/plain; :odd spells its type unusually, :none
                       declares no type
    usage:zeros        token counts of zero; :prompt gives prompt_tokens as well; :no-output,
                       :null-output and :zero-output lack the count of output tokens; :few counts
                       1 % of all tokens as output; :byok gives a price of 0, and the price that
                       another provider charges (bring your own key)
    base64:wrapped     base64 in lines of 76 characters; :urlsafe and :unpadded are other variants
    empty-entry        a second entry without a picture
    padded:9000000     9,000,000 spaces before the closing brace of the JSON
    ended              the whole JSON, but half of the announced length
    gzip-lie           declares gzip compression without using it
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
LATE, CUT = 2, 1  # number of attempts that fail for link:late and link:cut
STATUSES = {"400", "401", "408", "409", "500", "502", "503"}
STEPS = {"ok", "html", "refuse", "cut", "cut-early", "timeout", "slow", "half", "size", "jpeg"}
STEPS |= {"truncated", "no-usage", "429"} | FAULTS
AHEAD_S = 300.0  # how far the clock of 429:ahead is ahead


def parse_step(step: str) -> tuple[str, str]:
    """The name and the detail of a script step, such as ("429", "ms=50") for "429:ms=50". Raises
    ValueError for an unknown name."""
    name, _, detail = step.partition(":")
    if name not in STEPS and name not in STATUSES:
        known = ", ".join(sorted(STEPS | STATUSES))
        raise ValueError(f"expected the name of a step, got {step!r}; the steps are {known}")
    return name, detail


class ServiceState:
    """The state of the test service, shared by its threads.

    Args:
        ledger: file for the billed calls.
        delay_s: seconds before each answer.
        today: ISO date; models that were shut down by then are refused.
        keyed: whether requests need a key.
        fail_every: n, to bill every n-th call and then answer with 502; 0 for none.

    Attributes:
        finish: function applied to the bytes of each picture file before they are sent.
        most_under_way: the most calls that were in progress at the same time.
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
    """A picture that is sent when its link is requested.

    Attributes:
        data: the bytes of the picture file.
        way: the detail of the script step, such as "late" for "link:late".
        attempts: how often the link was requested.
    """

    data: bytes
    way: str
    attempts: int = 0


@dataclass
class FaultyReply:
    """An HTTP reply with a fault, sent in place of the usual answer.

    Attributes:
        kind: content type, "" for none.
        cut: announce twice the length of the body, and close the connection after the body.
    """

    status: int
    body: bytes
    kind: str = "application/json"
    headers: dict[str, str] | None = None
    cut: bool = False


def faulty_reply(
    step: str, detail: str, answer: dict[str, Any], links: list[str]
) -> FaultyReply | None:
    """The reply for a step that imitates a fault, made from the correct `answer` and the `links`
    to its pictures; None for any other step."""
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
    """The reply to a request for the picture `linked`, whose link is http://host/pictures/number;
    `host` is "name:port". `keyed` says whether the request has a key."""
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
