"""The page's own files, with a policy that lets nothing in from elsewhere."""

from collections.abc import Callable
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from verax.report import viewer

POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
HTML, CSS, JS = "text/html", "text/css", "text/javascript"


def _page(name: str) -> Callable[[], str]:
    return lambda: (files("verax.server") / "pages" / name).read_text(encoding="utf-8")


STATIC: dict[str, tuple[str, Callable[[], str]]] = {
    "/": (HTML, _page("index.html")),
    "/page.css": (CSS, _page("page.css")),
    "/page.js": (JS, _page("page.js")),
    "/server.js": (JS, _page("server.js")),
    "/choose.js": (JS, _page("choose.js")),
    "/restore.js": (JS, _page("restore.js")),
    "/result.js": (JS, _page("result.js")),
    "/generate.js": (JS, _page("generate.js")),
    "/sizes.js": (JS, _page("sizes.js")),
    "/compare.css": (CSS, viewer.style),
    "/compare.js": (JS, viewer.script),
}


async def static(request: Request) -> Response:
    """GET one of the page's own files."""
    media_type, read = STATIC[request.url.path]
    return Response(read(), media_type=media_type, headers=HEADERS)
