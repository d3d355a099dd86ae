"""How a billed answer goes wrong: the ways of relays and gateways, each an order to the service.

billed:502             that status after billing: 500, 502, 503, 408, 409, 499 ...
moderation:400         a refusal after painting, its code "400"; `null`: none; `200`: that status
page                   nothing billed, a web page with status 200
link  link:null        the picture as a link; b64_json absent, null; `empty`: ""
link:relative          from the service's root; `redirect`: by way of another; `data`: a data: URL
link:late              404 twice; `cut`: half of it once; `gone`: 404 always; `keyed`: wants the key
link:sorry             a web page with status 200 in its place
link:endless           without a length and without an end; `private`: into a private network
stream:url             completed event with a link; `nested`: data[]; `named`: type in the event
                       line only; `noise`: unknown events between; `unended`: no blank line
stream:plain           content type text/plain; `odd`: oddly cased; `none`; these also unasked
usage:zeros            all counts 0; `prompt`: only prompt_tokens beside zeros; `no-output`,
                       `null-output`, `zero-output`; `few`: a tenth; `byok`: cost 0, and upstream
base64:wrapped         at 76; `urlsafe`; `unpadded`
empty-entry            the second of two entries holds nothing
padded:9000000         so many spaces before the end of the JSON
ended                  the whole JSON, then the line is cut although more was announced
gzip-lie               says gzip and is not
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

STEPS = {"billed", "moderation", "link", "stream", "usage", "base64", "empty-entry", "padded"}
STEPS |= {"page", "ended", "gzip-lie"}
Change = Callable[[str, dict[str, Any], list[str]], dict[str, Any]]
LATE, CUT = 2, 1  # attempts that fail


@dataclass
class Linked:
    """A picture behind a link.

    Attributes:
        way: how it is handed out, the detail of the step.
        asked: how often it was asked for.
    """

    data: bytes
    way: str
    asked: int = 0


@dataclass
class Reply:
    """What is sent in place of the usual answer.

    Attributes:
        cut: drop the line after the body although more was announced.
    """

    status: int
    body: bytes
    kind: str = "application/json"
    headers: dict[str, str] | None = None
    cut: bool = False


def reply(step: str, detail: str, answer: dict[str, Any], links: list[str]) -> Reply | None:
    """The faulty reply; `links` are addresses of the pictures of the answer. None: not a fault."""
    if step == "billed":
        error = {"message": f"upstream error {detail}", "type": "server_error", "code": None}
        return Reply(int(detail), _json({"error": error}))
    if step == "moderation":
        return _moderation(detail)
    if step == "stream":
        return _stream(detail, answer, links)
    change: dict[str, Change] = {
        "link": _linked,
        "usage": _counted,
        "base64": _spelled,
        "empty-entry": _emptied,
    }
    if step in change:
        return Reply(200, _json(change[step](detail, answer, links)))
    body = _json(answer)
    if step == "padded":
        return Reply(200, body[:-1] + b" " * int(detail) + b"}")
    if step == "ended":
        return Reply(200, body, cut=True)
    if step == "gzip-lie":
        return Reply(200, body, headers={"Content-Encoding": "gzip"})
    return None


def _moderation(detail: str) -> Reply:
    code = None if detail in ("null", "200") else detail
    kind = "image_generation_user_error" if code is None else "bad_response_status_code"
    message = "Your request was rejected by the safety system (request id 1)."
    error = {"message": message, "type": kind, "param": "", "code": code}
    return Reply(200 if detail == "200" else 400, _json({"error": error}))


def _linked(detail: str, answer: dict[str, Any], links: list[str]) -> dict[str, Any]:
    data = [{"url": link} for link in links]
    if detail == "data":
        data = [{"url": f"data:image/png;base64,{one['b64_json']}"} for one in answer["data"]]
    filler: dict[str, dict[str, Any]] = {"null": {"b64_json": None}, "empty": {"b64_json": ""}}
    return answer | {"data": [filler.get(detail, {}) | one for one in data]}


def _counted(detail: str, answer: dict[str, Any], links: list[str]) -> dict[str, Any]:
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


def _spelled(detail: str, answer: dict[str, Any], links: list[str]) -> dict[str, Any]:
    spellings: dict[str, Callable[[str], str]] = {
        "wrapped": lambda text: "\n".join(text[i : i + 76] for i in range(0, len(text), 76)),
        "urlsafe": lambda text: text.replace("+", "-").replace("/", "_"),
        "unpadded": lambda text: text.rstrip("="),
    }
    spell = spellings[detail]
    return answer | {"data": [{"b64_json": spell(one["b64_json"])} for one in answer["data"]]}


def _emptied(detail: str, answer: dict[str, Any], links: list[str]) -> dict[str, Any]:
    return answer | {"data": [answer["data"][0], {}]}


def _stream(detail: str, answer: dict[str, Any], links: list[str]) -> Reply:
    kinds = {"plain": "text/plain", "odd": "Text/Event-Stream;Charset=UTF-8", "none": ""}
    picture: dict[str, Any] = {"b64_json": answer["data"][0]["b64_json"]}
    if detail == "url":
        picture = {"url": links[0]}
    elif detail == "nested":
        picture = {"data": [picture]}
    event = {"type": "image_generation.completed", **picture, "usage": answer.get("usage")}
    if detail == "named":
        del event["type"]
    noise = 'event: ping\ndata: {"type": "ping"}\n\ndata: {"type": "x.created", "id": "1"}\n\n'
    text = f"event: image_generation.completed\ndata: {json.dumps(event)}\n\n"
    text = noise + text + "data: [DONE]\n\n" if detail == "noise" else text
    text = text.rstrip("\n") if detail == "unended" else text
    return Reply(200, text.encode(), kinds.get(detail, "text/event-stream"))


def picture(linked: Linked, host: str, *, keyed: bool, number: int) -> Reply:
    """One attempt to get a linked picture; `keyed`: it came with a key."""
    linked.asked += 1
    way, count = linked.way, linked.asked
    if way == "gone" or (way == "late" and count <= LATE):
        return Reply(404, b"not yet", "text/plain")
    if way == "sorry":
        return Reply(200, b"<html>This link has expired</html>", "text/html")
    if way == "keyed" and not keyed:
        return Reply(401, b"who are you?", "text/plain")
    if way == "redirect" and count == 1:
        return Reply(302, b"", headers={"Location": f"http://{host}/pictures/{number}/again"})
    cut = way == "cut" and count <= CUT
    return Reply(
        200, linked.data[: len(linked.data) // 2] if cut else linked.data, "image/png", cut=cut
    )


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def encoded(picture_bytes: bytes) -> str:
    return base64.b64encode(picture_bytes).decode()
