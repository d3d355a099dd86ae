"""The verb `provenance`: where a picture says it comes from."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verax.errors import ImageReadError

if TYPE_CHECKING:
    from verax.provenance import Provenance

File = Annotated[Path, typer.Argument(help="A picture file.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable answer on stdout.")]

MEANING = {
    "absent": "no Content Credentials",
    "valid": "Content Credentials, valid: the file is as it was signed; the signer is not checked "
    "against a list of trusted ones",
    "trusted": "Content Credentials, valid, by a trusted signer",
    "invalid": "Content Credentials that do not fit: the file or its manifest was changed since",
    "unreadable": "Content Credentials that cannot be read",
    "unread": "Content Credentials, not read",
}
PROVES_NOTHING = (
    "Missing credentials prove nothing: saving a file loses them, and invisible watermarks are not "
    "looked for."
)


def provenance(file: File, as_json: Json = False) -> None:
    """Show what a file says about where it comes from: C2PA manifest and statement beside it."""
    from verax import provenance as credentials
    from verax.provenance import statement

    try:
        data = file.read_bytes()
    except OSError as exc:
        raise ImageReadError(f"{file}: cannot be read: {exc.strerror}") from exc
    found = credentials.read(data)
    told, fits = statement.read_statement(file)
    if as_json:
        entry: dict[str, Any] = {"file": str(file), **asdict(found)}
        entry["source_in_xmp"] = credentials.source_in_xmp(data)
        entry["names_remote_manifest"] = credentials.names_remote_manifest(data)
        entry["statement"] = told
        entry["statement_fits"] = fits
        print(json.dumps(entry, indent=2, ensure_ascii=False))
        return
    print(f"{file}: {MEANING[found.state]}")
    for line in described(found):
        print(f"  {line}")
    if source := credentials.source_in_xmp(data):
        print(f"  its XMP, unsigned, says: {source}")
    if credentials.names_remote_manifest(data):
        print("  names a manifest that is kept elsewhere; it was not fetched")
    if told is not None:
        changed = "" if fits else ", but the file was changed since"
        print(f"  a statement beside it, unsigned, says: {told['made_by']}{changed}")
    if found.state == "absent":
        print(PROVES_NOTHING)


def described(found: "Provenance") -> list[str]:
    """The manifest in lines."""
    lines = []
    if found.generator:
        lines.append(f"made by    {found.generator}")
    if found.issuer or found.signer:
        when = f" on {found.signed_at}" if found.signed_at else ""
        lines.append(f"signed by  {', '.join(filter(None, (found.signer, found.issuer)))}{when}")
    for action in found.actions:
        about = " ".join(filter(None, (action.source, action.agent and f"with {action.agent}")))
        lines.append(f"action     {action.name} {about}".rstrip())
    for one in found.ingredients:
        kept = "with" if one.has_manifest else "without"
        lines.append(f"made from  {one.title} ({one.relationship}, {kept} credentials of its own)")
    lines += [f"problem    {problem}" for problem in found.problems]
    return lines
