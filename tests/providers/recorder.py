"""A loopback server that records requests: path, headers, form parts or JSON."""

import base64
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from asking import png
from verax.testservice.calls import parse_form

PICTURE = base64.b64encode(png(32, 32)).decode()


@dataclass
class Heard:
    """One request: `parts` are (field, file name, bytes) in order, or `json` is the body."""

    path: str
    headers: dict
    parts: list = field(default_factory=list)
    json: dict | None = None


@contextmanager
def recorder(answer=None):
    """(base URL, list of Heard); answers every POST with `answer` (status, headers, body)."""
    requests = []
    body = json.dumps({"created": 1, "data": [{"b64_json": PICTURE}]}).encode()
    status, headers, sent = answer or (200, {"content-type": "application/json"}, body)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_POST(self):
            data = self.rfile.read(int(self.headers["content-length"]))
            kind = self.headers["content-type"]
            entry = Heard(self.path, {k.lower(): v for k, v in self.headers.items()})
            if kind.startswith("multipart"):
                entry.parts = parse_form(kind, data)
            else:
                entry.json = json.loads(data)
            requests.append(entry)
            self.reply()

        def do_GET(self):
            requests.append(Heard(self.path, {k.lower(): v for k, v in self.headers.items()}))
            self.reply()

        def reply(self):
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(sent))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
