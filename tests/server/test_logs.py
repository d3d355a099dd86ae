"""The log, and the server whose log nobody reads."""

import json
import os
import subprocess
import sys
import threading
import time

import httpx2
import pytest

from verax.server.run import LogLines


@pytest.mark.slow
def test_a_log_that_nobody_reads_does_not_stop_the_server(tmp_path):
    env = {**os.environ, "VERAX_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "verax", "serve", "--port", "0"]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        address = process.stdout.readline().split()[4]
        with httpx2.Client(base_url=address, timeout=10) as http:
            for _ in range(750):  # more than a pipe holds
                assert http.get("/healthz").status_code == 200
        process.terminate()
        _, log = process.communicate(timeout=60)

    assert "/healthz" in log


def test_lines_that_were_dropped_are_counted():
    class Stalled:
        """A stream that takes nothing before it is released."""

        def __init__(self):
            self.released, self.text = threading.Event(), ""

        def write(self, text):
            self.released.wait()
            self.text += text

        def flush(self):
            pass

    stream = Stalled()
    lines = LogLines(stream, most_waiting=10)
    for number in range(50):
        lines(number=number)
    time.sleep(0.05)
    stream.released.set()
    lines.close()
    records = [json.loads(line) for line in stream.text.splitlines()]

    assert len(records) + sum(line.get("lines_dropped", 0) for line in records) == 50
