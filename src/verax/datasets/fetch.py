"""Downloads datasets: interrupted downloads continue, checksums are checked, archives unpacked."""

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
    """The addresses that a pattern stands for: a{08..10}.zip gives a08.zip, a09.zip, a10.zip.

    An address without such braces is returned as it is.
    """
    match = re.search(r"\{(\d+)\.\.(\d+)\}", place)
    if match is None:
        return [place]
    low, high = match.groups()
    numbers = (str(n).zfill(len(low)) for n in range(int(low), int(high) + 1))
    return [place[: match.start()] + number + place[match.end() :] for number in numbers]


def file_name(address: str) -> str:
    """The name for the downloaded file: the last part of the address, or "download"."""
    return PurePosixPath(httpx2.URL(address).path).name or "download"


def download(
    address: str, target: Path, *, client: httpx2.Client, tell: Tell, sha256: str = ""
) -> str:
    """Download `address` to the file `target` unless it exists; returns the SHA-256 of the file.

    Data is first written to `target`.part, and an interrupted download is continued, unless the
    file on the server has changed. After every block `tell` is called with the name of the file,
    the bytes so far and those in total (None: unknown). Raises RunError if the connection fails,
    InputError if the file's checksum is not `sha256` ("": any is accepted).
    """
    if not target.is_file():
        part, tag = target.with_name(target.name + ".part"), target.with_name(target.name + ".tag")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _get(address, part, tag, client, tell)
        except httpx2.HTTPError as exc:
            there = part.stat().st_size if part.is_file() else 0
            raise RunError(
                f"{address}: the download stopped after {there} bytes ({type(exc).__name__}: "
                f"{exc}); run the same command again to continue"
            ) from exc
        part.replace(target)
        tag.unlink(missing_ok=True)
    actual = digest(target)
    if sha256 and actual != sha256:
        raise InputError(
            f"{target}: expected SHA-256 {sha256}, got {actual}; remove the file and fetch it again"
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
            raise httpx2.RemoteProtocolError(
                "the file on the server has changed since the download began"
            )
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
            raise httpx2.RemoteProtocolError(
                "the connection ended before the whole file had arrived"
            )


def _starts_at(answer: httpx2.Response, start: int) -> bool:
    return answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _total(answer: httpx2.Response) -> int:
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdecimal() else -1


def _room(place: Path, needed: int) -> None:
    free = shutil.disk_usage(place.parent).free
    if needed > free:
        raise OutputError(
            f"{place.parent}: expected {needed / 1e9:.1f} GB of free disk space, found "
            f"{free / 1e9:.1f} GB; make space and run the command again"
        )


def digest(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a zip archive into `folder`. Returns the number of files unpacked.

    Before anything is written, the archive is checked: InputError is raised if it has paths outside
    the folder, links, encrypted files, or so much content that it could fill the disk.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            members = list(_check_members(archive, content))
            _room(folder, sum(member.file_size for member in members))
            for member in members:
                with writing(folder):
                    content.extract(member, folder)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as exc:
        raise InputError(
            f"{archive}: expected a zip archive, but it cannot be read: {exc}; remove it and fetch "
            "it again"
        ) from exc
    return len(members)


def _check_members(archive: Path, content: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    members = content.infolist()
    unpacked = sum(member.file_size for member in members)
    if len(members) > MOST_FILES or unpacked > MOST_RATIO * max(archive.stat().st_size, CHUNK):
        raise InputError(
            f"{archive}: expected an archive of pictures, which hardly compress, but "
            f"{archive.stat().st_size / 1e6:.1f} MB hold {len(members)} files of "
            f"{unpacked / 1e9:.1f} GB; it was not unpacked, look for another copy"
        )
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        kind = stat.S_IFMT(member.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise InputError(
                f"{archive}: expected files inside the folder, but {member.filename!r} would be "
                "written outside; the archive was not unpacked, look for another copy"
            )
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or member.flag_bits & 1:
            raise InputError(
                f"{archive}: expected plain files, but {member.filename!r} is a link or encrypted; "
                "the archive was not unpacked, look for another copy"
            )
        if not member.is_dir():
            yield member
