"""CORS: only web pages of the configured origins may call the service."""

from collections.abc import MutableMapping
from typing import Any


class CrossOrigin:
    """Middleware that applies Starlette's CORS if the settings name an origin."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._made: dict[tuple[str, ...], Any] = {}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        running = getattr(scope["app"].state, "running", None) if scope["type"] == "http" else None
        origins = running.settings.serving.cors_origins if running else ()
        app = self._app if not origins else self._wrap(origins)
        await app(scope, receive, send)

    def _wrap(self, origins: tuple[str, ...]) -> Any:
        from starlette.middleware.cors import CORSMiddleware

        if origins not in self._made:
            self._made[origins] = CORSMiddleware(
                self._app,
                allow_origins=list(origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "X-API-Key", "Range", "If-None-Match"],
                expose_headers=["ETag", "Content-Range", "Retry-After", "X-Request-Id"],
            )
        return self._made[origins]
