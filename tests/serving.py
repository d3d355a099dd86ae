"""A running `verax serve` as users run it: a process of its own on a free loopback port."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

from verax.cli.serve import listening
from verax.server.app import ServerOptions
from verax.server.run import server
from verax.settings import load


@contextlib.contextmanager
def serving(home, *arguments, **environment):
    """The base address of a server that runs while the block does."""
    env = {**os.environ, "VERAX_HOME": str(home), **environment}
    command = [sys.executable, "-m", "verax", "serve", "--port", "0", *map(str, arguments)]
    with (
        tempfile.TemporaryFile("w+") as log,  # a pipe that nobody reads would fill up
        subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        process.log = log
        line = process.stdout.readline()
        match = re.search(r"(http://\S+)/ ", line)
        if not match:
            process.kill()
            raise AssertionError(f"the server did not start: {line}{log_of(process)}")
        try:
            yield match[1], process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
            output = log_of(process)
            assert "Traceback" not in output, output


@contextlib.contextmanager
def serving_here(home, *, environment=None, **options):
    """The base address of a server in a thread of this process, with options of the test's own.

    Quicker by the start of a process; the settings are those of `environment` alone.
    """
    listener = listening("127.0.0.1", 0)
    settings = load({"VERAX_HOME": str(home), **(environment or {})})
    runs = server(ServerOptions(settings, workers=1, **options), lambda **line: None)
    thread = threading.Thread(target=runs.run, args=([listener],))
    thread.start()
    while not runs.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        runs.should_exit = True
        thread.join(timeout=30)
        listener.close()


def log_of(process):
    """What the server has logged so far."""
    return os.pread(process.log.fileno(), 10_000_000, 0).decode()
