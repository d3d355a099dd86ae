"""The `verax` command in this process: its streams and its exit status, as a user gets them."""

import contextlib
import io
import sys
from subprocess import CompletedProcess

import pytest
from typer.testing import CliRunner

from verax.cli import app, run


def verax(*words, cwd=".", encoding="utf-8", **environment):
    """`verax WORDS`, finished, with the text that it wrote to both streams.

    A process of its own costs a second for its imports alone: only what needs one (a signal, a
    limit of the system) has one.
    """
    command = ["verax", *map(str, words)]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, write_through=True) for _ in range(2))
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(sys, "argv", command)
        for name, value in environment.items():
            patch.setenv(name, str(value))
        stack.enter_context(contextlib.chdir(cwd))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        status = 0
        try:
            run()
        except SystemExit as end:
            status = end.code or 0
    texts = (stream.buffer.getvalue().decode(encoding) for stream in (out, err))
    return CompletedProcess(command, status, *texts)


def invoke(*words):
    """The result of `verax WORDS`; our errors are raised, for tests of what they are."""
    return CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
