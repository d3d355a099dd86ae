"""Counts work as it is done, without a change to the code: files opened, pictures decoded, hashes.

A profile function sees every call in every thread, an audit hook every file that is opened.
"""

import sys
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

from verax.image.decode import decode
from verax.priors.generated import estimate
from verax.providers import GenerateRequest, ImageFile

COUNTED = {
    decode.__code__: lambda frame: ("decoded", frame.f_locals["data"]),
    ImageFile.sha256.func.__code__: lambda frame: ("hashed", frame.f_locals["self"].data),
    GenerateRequest._fingerprint.func.__code__: lambda frame: "fingerprint",
    estimate.__code__: lambda frame: "task",
}
counts = []  # those that watch at the moment


@dataclass
class Counts:
    """Calls by what they were, and opened files by path."""

    calls: Counter = field(default_factory=Counter)
    opened: Counter = field(default_factory=Counter)

    def decode(self, data):
        """How often these file bytes were decoded."""
        return self.calls["decoded", data]

    def hashed(self):
        """How often each picture that was sent was hashed."""
        return [count for key, count in self.calls.items() if key[0] == "hashed"]


def note_open(event, arguments):
    if event == "open":
        for one in counts:
            one.opened[str(arguments[0])] += 1


sys.addaudithook(note_open)


@contextmanager
def counting():
    """Counts what happens in the block, in all threads that start in it."""
    result = Counts()

    def profile(frame, event, _):
        if event == "call" and frame.f_code in COUNTED:
            result.calls[COUNTED[frame.f_code](frame)] += 1

    counts.append(result)
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield result
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        counts.remove(result)
