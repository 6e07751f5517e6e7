"""Steps of a load test: check the service, send one upload, run the load, delete the embeddings."""

import http.client
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np

from dino_assets.errors import ConfigError, ServiceError
from dino_assets.serving.bench.figures import Figures, summarise
from dino_assets.serving.bench.flood import Flood, FloodAnswer, LoadPicture, ask_health, read_id
from dino_assets.serving.bench.http_client import FORM_TYPE, Connection, Reply, parse_address
from dino_assets.serving.requests.access import is_loopback

# How long to wait for the last answers after a load.
GRACE_S = 60.0
_LOOK_S = 10.0
_TICK_S = 0.5
_DELETING = 4  # requests at a time
_DETAIL = 300  # most characters of the service's own message in an error

Tick = Callable[[float, Sequence[FloodAnswer]], None]  # seconds since the start, answers so far


def check_address(url: str, *, may_be_remote: bool) -> str:
    """Check the address of a service; return it in full, with its scheme.

    Raises:
        ConfigError: ``url`` is not an address, or it is another machine's and ``may_be_remote`` is False.
    """
    address = parse_address(url)
    if not (may_be_remote or is_loopback(str(address.hostname))):
        raise ConfigError(
            f"{url!r} is on another machine, and a load test may disturb its other users. If they agree, "
            "add --remote.",
            setting="url",
            value=url,
            reason="remote",
        )
    return address.geturl().rstrip("/")


def look_at_service(url: str) -> dict[str, str]:
    """Check that a service is there and ready; return its model, device, storage and engine.

    Raises:
        ServiceError: no-answer, not-a-service, not-ready.
    """
    with closing(Connection(url, timeout_s=_LOOK_S)) as connection:
        about = _ask(connection, "GET", "/health").members
        ready = _ask(connection, "GET", "/ready")
    if about.get("status") != "ok":
        raise ServiceError(
            f"{url} answers, but its /health is not the answer of an embedding service. Give the address "
            "that `dino-assets serve` prints.",
            url=url,
            reason="not-a-service",
        )
    if ready.status != 200:
        raise ServiceError(
            f"the service at {url} is not ready: {_detail(ready)}. Wait until {url}/ready answers 200.",
            url=url,
            reason="not-ready",
            status=ready.status,
        )
    about = {**about, "engine": ready.members.get("engine", "")}
    return {name: str(about.get(name, "")) for name in ("model", "device", "storage", "engine")}


def try_upload(url: str, picture: LoadPicture, *, key: str = "") -> str:
    """Send one upload as a trial; return the id of its embedding.

    Raises:
        ServiceError: the service refuses the upload (then ``reason`` is the problem's slug), or no answer.
    """
    upload = picture.make_upload(np.random.default_rng())
    with closing(Connection(url, key, timeout_s=600)) as connection:
        reply = _ask(connection, "POST", "/embed", body=upload)
    if reply.status == 200:
        return read_id(reply.members)
    advice = {
        401: "Give a key of the service with --key.",
        403: "Give a key that has the scope embed with --key.",
        404: "Check that this is the address of an embedding service.",
        503: "Run the load test when the service has no other work.",
    }.get(reply.status, f"{picture.name} was sent; choose other pictures with --picture.")
    raise ServiceError(
        f"the service at {url} refused an upload with {reply.status}: {_detail(reply)}. {advice}",
        url=url,
        reason=str(reply.members.get("slug", "refused")),
        status=reply.status,
    )


def run_load(
    url: str,
    pictures: Sequence[LoadPicture],
    *,
    clients: int,
    seconds: float,
    key: str = "",
    keep_id: Callable[[str], None] = lambda embedding_id: None,
    tick: Tick = lambda seconds, answers: None,
) -> Figures:
    """Send pictures for some seconds from several clients at once, and measure /health meanwhile.

    ``keep_id`` is called with the id of each embedding, and ``tick`` again and again during the load.
    """
    stopping, health = threading.Event(), list[float]()

    def look() -> None:
        health.extend(took_s for _, took_s in ask_health(url, stopping=stopping))

    looking = threading.Thread(target=look, daemon=True)

    def take(answer: FloodAnswer) -> None:
        if answer.embedding_id:
            keep_id(answer.embedding_id)

    flood = Flood(
        url, [pictures] * clients, seconds=seconds, key=key, on_answer=take, at_once=False
    )
    try:
        looking.start()
        flood.begin()
        while not flood.is_done and time.monotonic() < flood.started + seconds + GRACE_S:
            tick(time.monotonic() - flood.started, flood.answers)
            flood.join(_TICK_S)
    finally:
        # After Ctrl-C too: without its answer, an upload may be stored under an id that is unknown here, and
        # could not be deleted.
        flood.stop(grace_s=_LOOK_S)
        stopping.set()
        if looking.ident is not None:
            looking.join(_LOOK_S)
    return summarise(flood.answers, clients=clients, started=flood.started, health=health)


def delete_embeddings(url: str, ids: Iterable[str], *, key: str = "") -> list[str]:
    """Delete embeddings; return the ids that could not be deleted.

    After a request that has no answer or is answered with 401 or 403, no further request is sent.
    """
    waiting, lock = list(ids), threading.Lock()
    left: list[str] = []
    forbidden = threading.Event()

    def work() -> None:
        connection = Connection(url, key, timeout_s=_LOOK_S)
        while True:
            with lock:
                if forbidden.is_set() or not waiting:
                    break
                embedding_id = waiting.pop()
            try:
                status = connection.ask("DELETE", f"/embeddings/{embedding_id}").status
            except (OSError, http.client.HTTPException):
                status = 0
            if status not in (204, 404):
                left.append(embedding_id)
            if status in (0, 401, 403):
                forbidden.set()
        connection.close()

    with ThreadPoolExecutor(_DELETING) as pool:
        for each in [pool.submit(work) for _ in range(_DELETING)]:
            each.result()
    return sorted(left + waiting)


def _ask(connection: Connection, method: str, path: str, *, body: bytes | None = None) -> Reply:
    try:
        return connection.ask(method, path, body=body, content_type=FORM_TYPE if body else "")
    except (OSError, http.client.HTTPException) as err:
        what = getattr(err, "strerror", None) or str(err) or type(err).__name__
        raise ServiceError(
            f"no HTTP answer from {connection.url} ({what}). Check that the service runs: "
            "`dino-assets serve` starts one and prints its address.",
            url=connection.url,
            reason="no-answer",
        ) from err


def _detail(reply: Reply) -> str:
    text = str(reply.members.get("detail") or "no reason given")
    return "".join(each for each in text if each.isprintable())[:_DETAIL].rstrip(".")
