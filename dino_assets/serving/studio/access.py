"""Access to the studio: the token, the Host and the Origin of every request, and the headers of every answer."""

import hmac
import secrets
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response

from dino_assets.serving.studio.problems import StudioProblem, answer_problem

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_READING = ("GET", "HEAD")


def make_token() -> str:
    """Make the secret part of a studio's address."""
    return secrets.token_urlsafe(24)


class StudioAccess:
    """Middleware that answers only requests of this studio's own page, or of programs that have the token.

    The token comes in the address, once, and then in a cookie; a program may send it as a bearer token. Other
    sites cannot guess it. The Host must name this machine, against rebinding of other names. A request that a
    page of another origin started is refused, also one of another port, which browsers send cookies to.
    """

    def __init__(self, app: Any, *, token: str, port: int) -> None:
        self._app = app
        self._token = token
        self._cookie = f"studio-{port}"
        self._hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._judge(scope, Headers(scope=scope))
        await (answer or self._app)(scope, receive, _add_headers(send))

    def _judge(self, scope: MutableMapping[str, Any], headers: Headers) -> Response | None:
        """Return the answer that refuses a request or gives it the cookie; None lets it pass."""
        host = headers.get("host", "")
        if host not in self._hosts:
            return _refuse("foreign-host", f"the studio has no name {host[:100]!r}")
        if headers.get("origin", f"http://{host}") != f"http://{host}":
            return _refuse("foreign-page", "a web page of another origin sent the request")
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        is_opening = scope["path"] == "/" and scope["method"] in _READING
        if is_opening and self._is_token(given):
            # The address with the token does not stay in the address bar, nor in screenshots.
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return answer
        site = headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none") and not is_opening:
            return _refuse("foreign-page", "a web page of another origin sent the request")
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        is_program = scheme.lower() == "bearer" and self._is_token(bearer.strip())
        given_before = _list_cookies(headers, self._cookie)
        if not is_program and not any(map(self._is_token, given_before)):
            return _refuse(
                "token-needed",
                "open the address that `dino-assets studio` printed when it started; an earlier address no "
                "longer works",
            )
        if scope["method"] not in _READING:
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":  # a form of another page cannot send this type
                return _refuse("not-json", "the body must be application/json", status=415)
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


def _list_cookies(headers: Headers, name: str) -> list[str]:
    """List the values of a cookie.

    Browsers send the cookies of all ports of this machine. `http.cookies` reads none of them if another program
    has set one that it does not understand, such as JSON.
    """
    pairs = (each.partition("=") for line in headers.getlist("cookie") for each in line.split(";"))
    return [value.strip() for key, _, value in pairs if key.strip() == name]


def _refuse(slug: str, detail: str, *, status: int = 403) -> Response:
    return answer_problem(StudioProblem(status, slug, detail))


def _add_headers(send: Any) -> Any:
    async def send_with_headers(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return send_with_headers
