"""The compare viewer: one script and one style sheet, for the report and for the web page.

How to use it is written at the top of compare.js. Panels and overlays are
`{"name": ..., "src": ...}`; `src` is a path beside the page or a data address.
"""

from importlib.resources import files


def script() -> str:
    """The viewer's JavaScript; it defines `veraxCompare(element, options)`."""
    parts = (files(__package__) / name for name in ("hands.js", "compare.js"))
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)


def style() -> str:
    """The viewer's style sheet."""
    return (files(__package__) / "compare.css").read_text(encoding="utf-8")
