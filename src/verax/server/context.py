"""What every route shares: who asks, the service, the limits, the folders."""

from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from verax.server.images_service import ImagesService
from verax.server.keys import ANYBODY, Client, ClientKeys
from verax.server.limits import Limits
from verax.server.replies import Problem
from verax.server.stored_replies import StoredReplies


@dataclass(frozen=True, slots=True)
class Context:
    """One running server.

    Attributes:
        incoming: folder for the files of calls under way.
        results: folder of the page's history, one folder per client in it.
        guarded: a key is needed even when none is configured any more.
    """

    service: ImagesService
    clients: ClientKeys
    replies: StoredReplies
    limits: Limits
    incoming: Path
    results: Path
    guarded: bool = False

    def client(self, request: Request) -> Client:
        """Who asks. Without configured keys anybody on this machine may; else a key is needed."""
        if not self.guarded and not self.clients.names():
            return ANYBODY
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        found = self.clients.client(key.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise Problem(
                401,
                "want a key of this server: Authorization: Bearer KEY; see verax serve-key",
                "invalid_api_key",
                kind="authentication_error",
                headers={"www-authenticate": "Bearer"},
            )
        return found


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context
