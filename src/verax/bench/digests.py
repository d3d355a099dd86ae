"""SHA-256 of input files, remembered with a run so that a resume need not read them all again."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

Known = dict[str, tuple[int, int, str]]  # path: size, time of change in ns, SHA-256


@dataclass(slots=True)
class Digests:
    """Hashes by path; a file is read again when its size or its time of change is another."""

    known: Known = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)  # looked at in this process

    def of(self, path: str) -> str:
        """SHA-256 of the file, hexadecimal."""
        if path not in self.seen:
            about = Path(path).stat()
            size, changed, sha256 = self.known.get(path, (-1, -1, ""))
            if (size, changed) != (about.st_size, about.st_mtime_ns):
                sha256 = _sha256(path)
                self.known[path] = (about.st_size, about.st_mtime_ns, sha256)
            self.seen[path] = sha256
        return self.seen[path]


def _sha256(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
