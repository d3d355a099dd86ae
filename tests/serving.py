"""A running `verax serve` as users run it: a process of its own on a free loopback port."""

import contextlib
import os
import re
import signal
import subprocess
import sys


@contextlib.contextmanager
def serving(home, *arguments, **environment):
    """The base address of a server that runs while the block does."""
    env = {**os.environ, "VERAX_HOME": str(home), **environment}
    command = [sys.executable, "-m", "verax", "serve", "--port", "0", *map(str, arguments)]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        found = re.search(r"http://[^/]+:(\d+)/", line)
        if not found:
            process.kill()
            raise AssertionError(f"the server did not start: {line}{process.stderr.read()}")
        address = f"http://127.0.0.1:{found[1]}"
        try:
            yield address, process
        finally:
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=30)
            assert "Traceback" not in log, log
