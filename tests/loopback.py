"""A small HTTP server on loopback for tests that fetch: a thread of this process."""

import contextlib
import threading
from http.server import ThreadingHTTPServer


@contextlib.contextmanager
def loopback(handler, **facts):
    """A server while the block runs; `facts` are its attributes, for the handler to read."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    vars(server).update(facts)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
