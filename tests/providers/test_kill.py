"""A run that is killed again and again pays for every picture once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

KILL_TEST = Path(__file__).parents[2] / "benchmarks" / "kill_test.py"


@pytest.mark.timeout(90)
def test_killed_runs_end_restored_and_pay_for_nothing_twice():
    command = [sys.executable, KILL_TEST, "--kills", "4", "--pictures", "4", "--delay", "0.02"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=80, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tally = json.loads(done.stdout.splitlines()[-1])

    assert tally["kills"] == 4
    assert tally["restored"] == tally["pictures"] >= 4
    assert tally["paid_again_without_listing"] == 0
    assert tally["limit_passed"] == 0
    assert tally["limit_raised"] >= 1
