"""Reports: of benchmark runs as a page and as files, of restorations as sheets.

The compare viewer is one script (in two files) and one style sheet, for the report and for the web
page; how to use it is written at the top of viewer/compare.js. Panels and overlays are
`{"name": ..., "src": ...}`; `src` is a path beside the page or a data address.
"""

from importlib.resources import files


def viewer_script() -> str:
    """The viewer's JavaScript; it defines `veraxCompare(element, options)`."""
    parts = (files(__package__) / "viewer" / name for name in ("hands.js", "compare.js"))
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)


def viewer_style() -> str:
    """The viewer's style sheet."""
    return (files(__package__) / "viewer" / "compare.css").read_text(encoding="utf-8")
