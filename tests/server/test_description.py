"""schemathesis against the server's own description: no 500, no breach of its schema."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("phases", "examples"),
    [("fuzzing", "2"), pytest.param("coverage,fuzzing", "30", marks=pytest.mark.slow)],
)
def test_random_requests_by_the_description_meet_no_server_error(server, phases, examples):
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{server}/openapi.json",
        "--checks", "not_a_server_error,content_type_conformance,response_schema_conformance,"
        "status_code_conformance", "--phases", phases, "--max-examples", examples,
        "--seed", "1", "--generation-database", "none", "--suppress-health-check", "all",
        "--request-timeout", "20",
    ]  # fmt: skip
    if not Path(command[0]).exists():
        pytest.skip("schemathesis is not installed")

    done = subprocess.run(command, capture_output=True, text=True, timeout=110)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
