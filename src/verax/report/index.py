"""The index page of a folder's report: every photo of one `verax restore`, with its sheet."""

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from verax.image import replace_file

STYLE = (
    "body{font:16px/1.4 sans-serif;margin:2em;max-width:75em}"
    "img{max-width:100%}h2{font-size:1em;overflow-wrap:anywhere}.failed{color:#a00}"
)


def write_index(folder: Path, rows: Sequence[tuple[Path, Mapping[str, Any]]]) -> Path:
    """Write folder/index.html; `rows` are each photo's report folder and its JSON record."""
    parts = "".join(_row(folder, place, record) for place, record in rows)
    failed = sum("error" in record for _, record in rows)
    page = (
        f"<!doctype html><meta charset=utf-8><title>Restorations</title><style>{STYLE}</style>"
        f"<h1>{len(rows) - failed} of {len(rows)} photos restored</h1>{parts}"
    )
    replace_file(folder / "index.html", page.encode(errors="backslashreplace"))
    return folder / "index.html"


def _row(folder: Path, place: Path, record: Mapping[str, Any]) -> str:
    name = html.escape(str(record["photo"]))
    if "error" in record:
        return f"<h2>{name}</h2><p class=failed>{html.escape(record['error'])}</p>"
    sheet = os.path.relpath(place / "sheet.png", folder).replace(os.sep, "/")
    notes = "".join(f"<br>{html.escape(note)}" for note in record["notes"])
    link = html.escape(quote(os.fsencode(sheet)), quote=True)
    said = f"prior {html.escape(record['prior'])}, {record['seconds']:.1f} s{notes}"
    return (
        f'<h2>{name}</h2><p>{said}</p><a href="{link}"><img loading=lazy src="{link}" alt=""></a>'
    )
