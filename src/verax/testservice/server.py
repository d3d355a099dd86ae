"""The HTTP server of the test service, which simulates the Images API."""

import hashlib
import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from verax.testservice import Refusal, batches, calls, check_answer, state
from verax.testservice.calls import JsonObject, NamedFiles, Painting
from verax.testservice.state import ServiceState


class Server(ThreadingHTTPServer):
    """Serves many connections in threads; does not report clients that disconnect."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def serve(service_state: ServiceState, port: int = 0) -> Server:
    """A server on 127.0.0.1 that is not running yet; port 0 takes a free port."""

    class Handler(Conversation):
        service = service_state

    return Server(("127.0.0.1", port), Handler)


class Conversation(BaseHTTPRequestHandler):
    """Answers the HTTP requests of one connection."""

    service: ServiceState
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    ahead = False  # whether the Date header is AHEAD_S seconds ahead

    def log_message(self, *_args: object) -> None:
        """Write no log, since `ServiceState.requests` lists the requests."""

    def do_GET(self) -> None:
        if self.path.startswith("/pictures/"):
            self.send_linked(int(self.path.split("/")[2]))
        else:
            self.answer("GET")

    def do_POST(self) -> None:
        self.answer("POST")

    def do_DELETE(self) -> None:
        self.answer("DELETE")

    def answer(self, verb: str) -> None:
        """Read the body of a request with this HTTP method, and answer the request."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # the client disconnected while sending
            self.close_connection = True
            return None
        path = self.path.partition("?")[0]
        try:
            if path == "/_script":
                self.service.set_script(json.loads(body))
                return self.send_json(200, {"steps": len(self.service.steps)})
            if self.service.keyed and not self.has_key():
                raise Refusal(401, "You did not provide an API key.", None, "invalid_api_key")
            self.route(verb, path, body)
        except Refusal as refusal:
            error = check_answer("error", {"error": refusal.error})
            self.send_json(refusal.status, error, refusal.headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def route(self, verb: str, path: str, body: bytes) -> None:
        tail = re.sub(r"^.*?/(?=images/|models|files|batches)", "", path)
        if verb == "POST" and tail in ("images/generations", "images/edits"):
            return self.pictures(tail, body)
        if verb == "GET" and tail.startswith("models"):
            return self.send_json(200, calls.models_entry(tail))
        if tail.startswith("files"):
            form = calls.parse_form(self.headers["Content-Type"], body) if verb == "POST" else None
            record = batches.files(self.service, verb, tail, form)
            return self.send_bytes(200, record) if isinstance(record, bytes) else self.ok(record)
        if tail.startswith("batches"):
            return self.ok(batches.batches(self.service, verb, tail, body))
        raise Refusal(404, f"Invalid URL ({verb} {path})", None, "unknown_url")

    def has_key(self) -> bool:
        return bool(self.headers.get("Authorization") or self.headers.get("api-key"))

    def ok(self, body: JsonObject) -> None:
        self.send_json(200, body)

    def pictures(self, endpoint: str, body: bytes) -> None:
        """Answer a request to `endpoint`, "images/edits" or the like, as the test's script says."""
        kind = "edit" if endpoint.endswith("edits") else "generate"
        fields, files = calls.read_request(
            kind, self.headers.get("Content-Type", ""), body, self.service.files
        )
        calls.check(kind, fields, files, self.service.today)
        self.service.note(
            {
                "endpoint": endpoint,
                "fields": {k: v for k, v in fields.items() if k not in ("image", "mask", "markup")},
                "files": [[name, hashlib.sha256(data).hexdigest()] for name, data in files],
                "headers": {k.lower(): v for k, v in self.headers.items() if not calls.secret(k)},
                "path": self.path,
                "time": time.time(),
            }
        )
        step, detail = self.service.next_step()
        if self.fail_before_billing(step, detail):
            return
        with self.service.lock:
            self.service.under_way += 1
            self.service.most_under_way = max(self.service.most_under_way, self.service.under_way)
        try:
            self.paint_and_send(kind, fields, files, step, detail)
        finally:
            with self.service.lock:
                self.service.under_way -= 1

    def fail_before_billing(self, step: str, detail: str) -> bool:
        """If the script step "<step>:<detail>" is a failure that bills nothing, send the failure
        or raise it as a Refusal. Returns whether something was sent."""
        if step == "429":
            self.ahead = detail.startswith("ahead")
            raise calls.too_many(detail)
        if step in state.STATUSES:
            text = f"the test's script demands an answer with status {step}"
            raise Refusal(int(step), text, None, "scripted")
        if step == "refuse" and detail != "output":
            raise calls.moderation("input")
        if step == "html":
            self.send_bytes(502, b"<html><h1>502 Bad Gateway</h1></html>", "text/html")
        if step == "page":
            self.send_bytes(200, b"<!DOCTYPE html><html><h1>Welcome</h1></html>", "text/html")
        if step == "cut-early":
            self.drop()
        return step in ("html", "page", "cut-early")

    def paint_and_send(
        self, kind: str, fields: JsonObject, files: NamedFiles, step: str, detail: str
    ) -> None:
        """Make the pictures, bill the call, and answer as the step "<step>:<detail>" demands."""
        other = {"size": {"size": detail}, "jpeg": {"form": "jpeg"}}.get(step, {})
        painted = calls.paint(kind, fields, files, **other)
        bill = calls.charge(fields, files, painted)
        self.service.ledger.bill(
            **calls.entry(kind, fields, files), usd=bill["usd"], usage=bill["usage"], step=step
        )
        if step == "refuse":
            raise calls.moderation("output")
        if step in state.FAULTS:
            time.sleep(self.service.delay_s)
            return self.send_fault(fields, painted, bill["usage"], step, detail)
        if step in ("cut", "timeout"):
            time.sleep(float(detail or 0))
            return self.drop()
        wait = self.service.delay_s + (float(detail) if step == "slow" else 0.0)
        data = [self.service.finish(picture.data) for picture in painted]
        if step == "truncated":
            data = [picture[: len(picture) // 2] for picture in data]
        answer = self.answer_of(fields, painted, data)
        if step != "no-usage":
            answer["usage"] = bill["usage"]
        if fields.get("stream"):
            return self.send_stream(kind, fields, answer, wait, half=step == "half")
        time.sleep(wait)
        raw = json.dumps(check_answer("answer", answer)).encode()
        self.send_bytes(200, raw, "application/json", half=step == "half")

    def answer_of(
        self, fields: JsonObject, painted: list[Painting], data: list[bytes]
    ) -> JsonObject:
        """The JSON answer with the files `data` and the size of `painted`, without token counts."""
        answer = {"created": int(time.time()), **calls.describe(fields, painted[0].size)}
        return answer | {"data": [{"b64_json": state.encode_base64(picture)} for picture in data]}

    def send_stream(
        self, kind: str, fields: JsonObject, answer: JsonObject, wait: float, *, half: bool
    ) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("x-request-id", calls.request_id())
        self.end_headers()
        until = time.monotonic() + wait
        while time.monotonic() < until:
            self.chunk(b": still painting\n\n")
            time.sleep(min(0.1, max(0.0, until - time.monotonic())))
        every = calls.events(kind, fields, answer)
        for position, event in enumerate(every):
            if "usage" in answer:
                check_answer(event["type"], event)
            text = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            if half and position == len(every) - 1:
                self.chunk(text[: len(text) // 2])
                return self.drop()
            self.chunk(text)
        self.wfile.write(b"0\r\n\r\n")

    def send_fault(
        self, fields: JsonObject, painted: list[Painting], usage: JsonObject, step: str, detail: str
    ) -> None:
        data = [picture.data for picture in painted]
        answer = self.answer_of(fields, painted, data) | {"usage": usage}
        links = [self.link(picture, detail) for picture in data]
        reply = state.faulty_reply(step, detail, answer, links)
        assert reply is not None
        self.send_reply(reply)

    def link(self, data: bytes, way: str) -> str:
        """A new URL of the picture file `data`, to be sent as the script step "link:<way>" says."""
        with self.service.lock:
            self.service.linked.append(state.LinkedPicture(data, way))
            number = len(self.service.linked) - 1
        if way == "private":
            return f"http://10.255.255.1/pictures/{number}"
        return f"{'' if way == 'relative' else 'http://' + self.headers['Host']}/pictures/{number}"

    def send_linked(self, number: int) -> None:
        linked = self.service.linked[number]
        if linked.way == "endless":
            return self.send_without_end(linked)
        self.send_reply(
            state.linked_reply(linked, self.headers["Host"], keyed=self.has_key(), number=number)
        )

    def send_without_end(self, linked: state.LinkedPicture) -> None:
        """Send bytes of value 0 in place of the picture `linked` until the client disconnects."""
        linked.attempts += 1
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(bytes(1 << 20))
        except OSError:
            pass

    def send_reply(self, reply: state.FaultyReply) -> None:
        self.send_response(reply.status)
        if reply.kind:
            self.send_header("Content-Type", reply.kind)
        length = len(reply.body) * 2 if reply.cut else len(reply.body)
        self.send_header("Content-Length", str(length))
        for name, value in (reply.headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)
        if reply.cut:
            self.wfile.flush()
            self.drop()

    def date_time_string(self, timestamp: float | None = None) -> str:
        ahead = state.AHEAD_S if self.ahead else 0.0
        return super().date_time_string((timestamp or time.time()) + ahead)

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def send_json(
        self, status: int, body: JsonObject, headers: dict[str, str] | None = None
    ) -> None:
        self.send_bytes(status, json.dumps(body).encode(), "application/json", headers)

    def send_bytes(
        self,
        status: int,
        body: bytes,
        kind: str = "application/octet-stream",
        headers: dict[str, str] | None = None,
        *,
        half: bool = False,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-request-id", calls.request_id())
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if half else body)
        if half:
            self.wfile.flush()
            self.drop()

    def drop(self) -> None:
        """Close the connection at once."""
        self.close_connection = True
        self.connection.close()
