"""The OpenAPI description: every problem has an example, and no other answer occurs."""

import contextlib
import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dino_assets.serving.app import make_app
from dino_assets.serving.problems import KINDS, MEDIA_TYPE, Problem, describe
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.serving.conftest import Serve
from dino_assets_tests.worlds.serving import Painter

DESCRIBED = make_app().openapi()
# Problems without a route: unknown address, wrong method.
OF_NO_ROUTE = {"no-such-page", "method-not-allowed"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in DESCRIBED["paths"].items()
        for method, operation in methods.items()
    ]


def examples_of(about: dict[str, Any]) -> dict[str, tuple[int, dict[str, Any]]]:
    return {
        slug: (int(status), example["value"])
        for status, response in about["responses"].items()
        for slug, example in response.get("content", {})
        .get(MEDIA_TYPE, {})
        .get("examples", {})
        .items()
    }


def test_openapi__every_problem_has_an_example():
    slugs: set[str] = set()
    for _, _, operation in operations():
        for slug, (status, value) in examples_of(operation).items():
            slugs.add(slug)
            assert status == KINDS[slug].status == value["status"]
            assert value == describe(slug, KINDS[slug].example)
    assert slugs == set(KINDS) - OF_NO_ROUTE


def test_openapi__every_operation_is_described_without_fastapis_422():
    for path, _, operation in operations():
        assert operation["description"], path
        assert "HTTPValidationError" not in json.dumps(operation)
    assert "HTTPValidationError" not in json.dumps(DESCRIBED["components"])


def test_openapi__examples_are_the_published_answers():
    example = DESCRIBED["components"]["schemas"]["Embedded"]["example"]
    assert {"embedding_uri", "shape", "num_tiles", "metadata"} < set(example)
    health = DESCRIBED["components"]["schemas"]["Health"]["example"]
    assert set(health) == {"status", "model", "device", "storage"}


def test_openapi__no_page_that_loads_scripts(serve: Serve):
    served = serve()
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert served.client.get(path).status_code == 404
    assert served.client.get("/openapi.json").json()["paths"] == DESCRIBED["paths"]


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nowhere", 404, "no-such-page"),
        ("GET", "/embed", 405, "method-not-allowed"),
        ("PUT", "/health", 405, "method-not-allowed"),
        ("GET", "/health/", 404, "no-such-page"),
        ("GET", "/embeddings/abc", 404, "no-embedding"),
        ("GET", "/embeddings/" + "0" * 32, 404, "no-embedding"),
        ("DELETE", "/embeddings/..%2F..%2Fetc", 404, None),
        ("GET", "//example.org/%2e%2e/", 404, "no-such-page"),
    ],
)
def test_problems__unknown_addresses_and_methods(serve: Serve, method, path, status, slug):
    answer = serve().client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == MEDIA_TYPE
    members = answer.json()
    assert slug in (None, members["slug"])
    assert members["type"] == f"urn:dino-assets:problem:{members['slug']}"
    assert members["request_id"] == answer.headers["x-request-id"]
    assert ("allow" in answer.headers) == (status == 405)


def test_as_headers__keeps_given_headers():
    problem = Problem("busy", "later", retry_after_s=7, waiting_s=3.5)
    assert problem.as_headers() == {"Retry-After": "7"}
    assert problem.as_members("r")["waiting_s"] == 3.5
    assert Problem("key-needed").as_headers() == {"WWW-Authenticate": "Bearer"}
    assert Problem("not-ready").as_headers() == {"Retry-After": "5"}
    assert Problem("no-file").as_headers() == {}


@pytest.mark.parametrize("requests", [40, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_schemathesis__no_500_and_nothing_undocumented(serve: Serve, mode, requests):
    """Valid and invalid requests, to a service that has an embedding."""
    served = serve(Painter())
    served.embed(photo_bytes(16, 16, kind="PNG"))
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    described_operations = [result.ok() for result in schema.get_all_operations()]
    assert len(described_operations) == len(operations())
    for operation in described_operations:
        try:
            strategy = operation.as_strategy(generation_mode=mode)
        except Unsatisfiable:  # a request without parameters cannot be invalid
            continue
        ask_oddly(strategy, requests)


def ask_oddly(strategy: Any, requests: int) -> None:
    @settings(
        max_examples=requests,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def ask(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    with contextlib.suppress(Unsatisfiable):
        ask()
