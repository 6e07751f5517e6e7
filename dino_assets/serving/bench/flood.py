"""Load of many clients: each sends one picture after another, and waits after a refusal.

Every upload ends with random bytes that decoders ignore. So no two uploads are equal, and the service cannot
reuse a stored embedding.
"""

import http.client
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dino_assets.serving.bench.http_client import FORM_TYPE, Connection, Reply, make_form

# A client stops after so many faults in a row: a status other than 200 and 503, or no answer.
MOST_FAULTS = 3
_PAUSE_S = 1.0  # after a fault, and after a refusal without Retry-After
NO_ANSWER = "no-answer"
CUT_OFF = "cut-off"  # still open when the load ended


@dataclass(frozen=True, eq=False)
class LoadPicture:
    """A picture that clients send, with further ``fields`` of the form.

    ``share`` is its weight when a client draws the next picture to send.
    """

    name: str
    data: bytes
    share: float = 1.0
    fields: dict[str, str] = field(default_factory=dict)

    def make_upload(self, rng: np.random.Generator) -> bytes:
        """Make the form of one upload, with bytes that no other upload has."""
        more = rng.bytes(16)
        if self.data[4:8] == b"ftyp":  # HEIC and AVIF consist of boxes: decoders skip a `free` box
            more = (8 + len(more)).to_bytes(4, "big") + b"free" + more
        return make_form(self.data + more, filename=self.name, fields=self.fields)


@dataclass(frozen=True)
class FloodAnswer:
    """The result of one upload."""

    picture: str
    at_s: float  # when the answer came, by time.monotonic
    took_s: float
    status: int  # 0 without an answer
    slug: str = ""
    tiles: int = 0
    embedding_id: str = ""
    wait_s: int = 0  # Retry-After
    forecast_s: float = 0.0  # seconds of waiting work that a refusal reports
    is_return: bool = False  # the same upload again, after a refusal

    @property
    def is_refusal(self) -> bool:
        """Whether the service asks to send the upload again later."""
        return self.status == 503


class Flood:
    """A load that runs for some seconds; ``clients`` lists the pictures of each client.

    It begins at once, or with ``at_once=False`` when ``begin`` is called.
    """

    def __init__(
        self,
        url: str,
        clients: Sequence[Sequence[LoadPicture]],
        *,
        seconds: float,
        key: str = "",
        seed: int | None = None,  # None: other uploads than in any earlier load
        timeout_s: float = 600.0,
        on_answer: Callable[[FloodAnswer], None] = lambda answer: None,
        at_once: bool = True,
    ) -> None:
        self.answers: list[FloodAnswer] = []
        self.started = time.monotonic()
        self._seconds, self._end = seconds, self.started + seconds
        self._lock = threading.Lock()
        self._on_answer = on_answer
        self._stopping, self._cutting = threading.Event(), threading.Event()
        self._connections = [Connection(url, key, timeout_s) for _ in clients]
        seeds = np.random.SeedSequence(seed).spawn(len(clients))
        self._threads = [
            threading.Thread(target=self._work, args=given, name="bench-client", daemon=True)
            for given in zip(clients, self._connections, seeds, strict=True)
        ]
        if at_once:
            self.begin()

    def begin(self) -> None:
        """Begin to send."""
        self.started = time.monotonic()
        self._end = self.started + self._seconds
        for thread in self._threads:
            thread.start()

    def wait(self, *, grace_s: float = 600.0) -> list[FloodAnswer]:
        """Wait for the last answers, at most ``grace_s`` seconds after the load's end; return all answers."""
        while not self.is_done and time.monotonic() < self._end + grace_s:
            self.join(0.2)  # short waits let Ctrl-C interrupt
        self.stop()
        return self.answers

    @property
    def is_done(self) -> bool:
        """Whether every client has its last answer."""
        return not any(thread.is_alive() for thread in self._threads)

    def join(self, seconds: float) -> None:
        """Wait until every client has its last answer, at most ``seconds``."""
        deadline = time.monotonic() + seconds
        for thread in self._running:
            thread.join(max(0.0, deadline - time.monotonic()))

    def stop(self, *, grace_s: float = 0.0) -> None:
        """Send no more uploads, wait at most ``grace_s`` seconds for answers, and end the connections."""
        self._stopping.set()
        self.join(grace_s)
        self._cutting.set()
        for connection in self._connections:
            connection.end()
        for thread in self._running:
            thread.join(5)

    @property
    def _running(self) -> list[threading.Thread]:
        """The threads that were started; Ctrl-C may arrive before all were."""
        return [thread for thread in self._threads if thread.ident is not None]

    def _work(
        self, pictures: Sequence[LoadPicture], connection: Connection, seed: np.random.SeedSequence
    ) -> None:
        rng, faults = np.random.default_rng(seed), 0
        shares = np.array([each.share for each in pictures])
        while not self._is_over() and faults < MOST_FAULTS:
            picture = pictures[int(rng.choice(len(pictures), p=shares / shares.sum()))]
            upload, is_return = picture.make_upload(rng), False
            while not self._is_over():
                answer = self._send(picture, upload, connection, is_return=is_return)
                if not answer.is_refusal:
                    break
                is_return = True
                self._rest(answer.wait_s or _PAUSE_S)
            faults = 0 if answer.status in (200, 503) else faults + 1
            if faults:
                self._rest(_PAUSE_S)
        connection.close()

    def _send(
        self, picture: LoadPicture, upload: bytes, connection: Connection, *, is_return: bool
    ) -> FloodAnswer:
        started = time.monotonic()
        try:
            reply = connection.ask("POST", "/embed", body=upload, content_type=FORM_TYPE)
        except (OSError, http.client.HTTPException):
            slug = CUT_OFF if self._cutting.is_set() else NO_ANSWER
            now = time.monotonic()
            answer = FloodAnswer(picture.name, now, now - started, 0, slug, is_return=is_return)
        else:
            answer = _read_answer(picture, reply, started, is_return=is_return)
        with self._lock:
            self.answers.append(answer)
            self._on_answer(answer)
        return answer

    def _is_over(self) -> bool:
        return self._stopping.is_set() or time.monotonic() >= self._end

    def _rest(self, seconds: float) -> None:
        self._stopping.wait(min(seconds, max(0.0, self._end - time.monotonic())))


def _read_answer(
    picture: LoadPicture, reply: Reply, started: float, *, is_return: bool
) -> FloodAnswer:
    now, members = time.monotonic(), reply.members
    waits = reply.headers.get("retry-after", "")
    return FloodAnswer(
        picture.name,
        now,
        now - started,
        reply.status,
        slug=str(members.get("slug", "")),
        tiles=int(members.get("num_tiles", 0)),
        embedding_id=read_id(members),
        wait_s=int(waits) if waits.isdecimal() else 0,
        forecast_s=float(members.get("waiting_s", 0)),
        is_return=is_return,
    )


def read_id(answer: dict[str, object]) -> str:
    """Read the id from an answer's ``embedding_uri``."""
    name = str(answer.get("embedding_uri", "")).rpartition("/")[2]
    return name.removeprefix("embed_").removesuffix(".npz")


def ask_health(
    url: str, *, stopping: threading.Event, seconds: float = np.inf, every_s: float = 0.05
) -> list[tuple[float, float]]:
    """Request /health again and again until ``stopping`` is set or ``seconds`` have passed.

    Return, for each request, the time at its end and the seconds that it took. Without an answer, the seconds
    are infinite.
    """
    connection, looks, end = (
        Connection(url, timeout_s=30),
        list[tuple[float, float]](),
        time.monotonic() + seconds,
    )
    while time.monotonic() < end and not stopping.wait(every_s):
        started = time.perf_counter()
        try:
            is_ok = connection.ask("GET", "/health").status == 200
        except (OSError, http.client.HTTPException):
            is_ok = False
        took_s = time.perf_counter() - started if is_ok else np.inf
        looks.append((time.monotonic(), took_s))
    connection.close()
    return looks
