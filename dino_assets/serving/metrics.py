"""Prometheus metrics of one service; each service has its own registry."""

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dino_assets.serving.service import Service

_SECONDS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters of requests, and gauges that are read from the service when `/metrics` is requested."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry(auto_describe=True)
        counter = partial(Counter, namespace="dino", registry=self.registry)
        gauge = partial(Gauge, namespace="dino", registry=self.registry)
        by = ["route", "method", "status"]
        self.requests = counter("requests", "Requests by route, method and status", by)
        self.problems = counter("problems", "Error answers (problems), by slug", ["slug"])
        self.seconds = Histogram(
            "request_seconds",
            "Time to the answer",
            ["route"],
            buckets=_SECONDS,
            namespace="dino",
            registry=self.registry,
        )
        self.embeddings = counter(
            "embeddings", "Answers of /embed: computed now, or reused from the store", ["how"]
        )
        self.upload_bytes = counter("upload_bytes", "Bytes of uploaded pictures")
        self.tiles = gauge("tiles_computed", "Tiles computed since the start")
        self.waiting_tiles = gauge("waiting_tiles", "Tiles accepted and not yet computed")
        self.waiting_s = gauge("waiting_seconds", "Forecast seconds to compute all accepted work")
        self.tile_s = gauge("tile_seconds", "Seconds that one thread needs for a tile")
        self.in_work = gauge("pictures_in_work", "Pictures accepted and not yet answered")
        self.ready = gauge("ready", "1 if /ready answers 200, else 0")

    def render(self, service: "Service | None", *, is_ready: bool) -> bytes:
        """Format all metrics as text; ``service`` is None while the model is being opened."""
        from prometheus_client import generate_latest

        self.ready.set(is_ready)
        if service is not None:
            self.tiles.set(service.scheduler.computed)
            self.waiting_tiles.set(service.admission.load.tiles)
            self.waiting_s.set(service.admission.forecast_s())
            self.tile_s.set(service.scheduler.tile_s)
            self.in_work.set(service.admission.load.requests)
        return generate_latest(self.registry)
