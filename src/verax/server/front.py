"""What stands in front of the application: a path it lies under, other sites that may ask it."""

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXPOSED = "x-request-id, retry-after"
PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, DELETE",
    "access-control-allow-headers": "authorization, content-type, idempotency-key, *",
    "access-control-max-age": "600",
}


class UnderPath:
    """Serves the application under a path such as "/verax", whether or not a proxy strips it."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.app, self.path = app, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.path:
            if scope["path"] == self.path:
                await RedirectResponse(f"{self.path}/")(scope, receive, send)
                return
            if scope["path"].startswith(f"{self.path}/"):
                scope = {**scope, "path": scope["path"].removeprefix(self.path)}
        await self.app(scope, receive, send)


class OtherSites:
    """Lets pages of named origins ask (CORS); "*" is any origin. Nobody, where none is named."""

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self.app, self.origins = app, frozenset(one.rstrip("/").lower() for one in origins)

    def allows(self, origin: str) -> bool:
        return "*" in self.origins or origin.lower() in self.origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin = headers.get("origin", "")
        if not origin or not self.allows(origin):
            await self.app(scope, receive, send)
            return
        about = {"access-control-allow-origin": origin, "access-control-expose-headers": EXPOSED}
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            answer = Response(status_code=204, headers={**about, **PREFLIGHT, "vary": "origin"})
            await answer(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                sent.update(about)
                sent.add_vary_header("origin")
            await send(message)

        await self.app(scope, receive, marked)
