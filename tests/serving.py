"""A running `verax serve` as users run it: a process of its own on a free loopback port."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile


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
        line = process.stdout.readline()
        found = re.search(r"http://[^/]+:(\d+)/", line)
        if not found:
            process.kill()
            log.seek(0)
            raise AssertionError(f"the server did not start: {line}{log.read()}")
        try:
            yield f"http://127.0.0.1:{found[1]}", process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
            log.seek(0)
            told = log.read()
            assert "Traceback" not in told, told
