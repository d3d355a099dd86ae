"""Fetching a dataset: resumable downloads, checksums, safe unpacking of archives."""

import hashlib
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import httpx2

from verax.errors import InputError, OutputError, RunError
from verax.store import writing

CHUNK = 1 << 20
MOST_FILES = 2_000_000
MOST_RATIO = 200  # largest ratio of unpacked to packed bytes; pictures hardly compress
Tell = Callable[[str, int, int | None], None]  # file name, bytes so far, bytes in total


def expand(place: str) -> list[str]:
    """The addresses that a pattern such as {01..24} expands to."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}", place)
    if match is None:
        return [place]
    low, high = match.groups()
    numbers = (str(n).zfill(len(low)) for n in range(int(low), int(high) + 1))
    return [place[: match.start()] + number + place[match.end() :] for number in numbers]


def file_name(address: str) -> str:
    """The name that a downloaded file gets."""
    return PurePosixPath(httpx2.URL(address).path).name or "download"


def download(
    address: str, target: Path, *, client: httpx2.Client, tell: Tell, sha256: str = ""
) -> str:
    """Download to `target`, resuming an earlier attempt. Returns the SHA-256 of the file.

    Data is written to `target`.part; if the remote file has changed, the download starts again.
    Raises RunError if the connection fails (call again to resume), InputError for a wrong checksum.
    """
    if not target.is_file():
        part, tag = target.with_name(target.name + ".part"), target.with_name(target.name + ".tag")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _get(address, part, tag, client, tell)
        except httpx2.HTTPError as exc:
            there = part.stat().st_size if part.is_file() else 0
            raise RunError(
                f"{address}: {type(exc).__name__}: {exc}; {there} bytes are kept, run the same "
                "command again to continue"
            ) from exc
        part.replace(target)
        tag.unlink(missing_ok=True)
    actual = digest(target)
    if sha256 and actual != sha256:
        raise InputError(
            f"{target}: SHA-256 is {actual}, expected {sha256}; remove it and fetch it again"
        )
    return actual


def _get(address: str, part: Path, tag: Path, client: httpx2.Client, tell: Tell) -> None:
    start = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if tag.is_file():
            headers["If-Range"] = tag.read_text("utf-8")
    with client.stream("GET", address, headers=headers, follow_redirects=True) as answer:
        if answer.status_code == 416 and _total(answer) == start:
            return
        if answer.status_code == 416:  # the partial file is longer than the remote one
            part.unlink()
            raise httpx2.RemoteProtocolError("the file at this place has changed")
        answer.raise_for_status()
        goes_on = answer.status_code == 206 and _starts_at(answer, start)
        start = start if goes_on else 0
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        _room(part, (total or 0) - start)
        validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if validator and not validator.startswith("W/"):
            tag.write_text(validator, "utf-8")
        with writing(part), part.open("ab" if goes_on else "wb") as file:
            for chunk in answer.iter_raw():
                file.write(chunk)
                tell(part.stem, file.tell(), total)
        if total is not None and part.stat().st_size != total:
            raise httpx2.RemoteProtocolError("the connection ended early")


def _starts_at(answer: httpx2.Response, start: int) -> bool:
    return answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _total(answer: httpx2.Response) -> int:
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdecimal() else -1


def _room(place: Path, needed: int) -> None:
    free = shutil.disk_usage(place.parent).free
    if needed > free:
        raise OutputError(
            f"{place.parent}: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free; make space"
        )


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a zip archive below `folder`. Returns the number of files.

    Before anything is written, the archive is checked for paths outside the folder, links,
    passwords and excessive size. Raises InputError.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            members = list(_checked(archive, content))
            _room(folder, sum(member.file_size for member in members))
            for member in members:
                with writing(folder):
                    content.extract(member, folder)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as exc:
        raise InputError(
            f"{archive}: not a valid zip archive: {exc}; remove it and fetch it again"
        ) from exc
    return len(members)


def _checked(archive: Path, content: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    members = content.infolist()
    unpacked = sum(member.file_size for member in members)
    if len(members) > MOST_FILES or unpacked > MOST_RATIO * max(archive.stat().st_size, CHUNK):
        raise InputError(
            f"{archive}: {len(members)} files of {unpacked / 1e9:.1f} GB in an archive of "
            f"{archive.stat().st_size / 1e6:.1f} MB; that is not an archive of "
            "pictures; it was not unpacked"
        )
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        kind = stat.S_IFMT(member.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise InputError(f"{archive}: {member.filename!r} would leave the folder; not unpacked")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or member.flag_bits & 1:
            raise InputError(f"{archive}: {member.filename!r} is a link or encrypted; not unpacked")
        if not member.is_dir():
            yield member
