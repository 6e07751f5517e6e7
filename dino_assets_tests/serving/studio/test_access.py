"""Who may read and write: only this studio's page and programs that have its token."""

import httpx
import pytest

from dino_assets_tests.worlds.studio import RunningStudio, StudioProject, label

PATHS = [
    "/",
    "/static/main.js",
    "/api/state",
    "/api/rounds",
    "/api/drops",
    "/api/map/points",
    "/pictures/tile/a/b",
    "/files/images/_/ridge-north/report.html",
    "/nothing",
]


def plain(studio: RunningStudio, **headers: str) -> httpx.Client:
    return httpx.Client(base_url=studio.url, headers=headers)


@pytest.mark.parametrize("path", PATHS)
def test_access__nothing_is_readable_without_the_token(studio: RunningStudio, path: str):
    with plain(studio) as client:
        for answer in (
            client.get(path),
            client.get(path, params={"token": "wrong"}),
            client.get(path, headers={"Authorization": "Bearer wrong"}),
            client.get(path, headers={"Cookie": f"studio-{client.base_url.port}=wrong"}),
        ):
            assert (answer.status_code, answer.json()["slug"]) == (403, "token-needed")


def test_access__nothing_is_writable_without_the_token(
    studio: RunningStudio, shared_project: StudioProject
):
    tile = shared_project.list_round()[0]
    body = {"by": "Mallory", "answers": [label(tile, "x", 1)]}
    with plain(studio) as client:
        for path in ("/api/answers", "/api/queue", "/api/order", "/api/map/tiles"):
            assert client.post(path, json=body).status_code == 403
    assert not [answer for answer in shared_project.answers if answer.by == "Mallory"]


def test_access__the_token_of_the_address_becomes_a_cookie(studio: RunningStudio):
    with plain(studio) as client:
        opened = client.get(studio.address)
        assert (opened.status_code, opened.headers["location"]) == (303, "/")
        cookie = opened.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/").status_code == client.get("/api/state").status_code == 200
        # Only the first page takes the token from its address.
        client.cookies.clear()
        assert client.get(f"/api/state?token={studio.token}").status_code == 403


@pytest.mark.parametrize(
    "other",
    [
        'prefs={"theme": "dark"}',
        "x[0]=1",
        "a:b=1",
        "alone",
        'open="quote',
        "name=h\xe9",
        "studio-PORT=old",
    ],
)
def test_access__cookies_of_other_ports_do_no_harm(studio: RunningStudio, other: str):
    """Browsers send the cookies of all ports of this machine to each of them."""
    port = studio.client.base_url.port
    own, other_cookie = f"studio-{port}={studio.token}", other.replace("PORT", str(port))
    with plain(studio) as client:
        for cookies in (f"{other_cookie}; {own}", f"{own}; {other_cookie}"):
            headers = [(b"Cookie", cookies.encode("latin-1"))]
            assert client.get("/api/state", headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", ""])
def test_access__another_host_name_is_refused(studio: RunningStudio, host: str):
    # As a name of another site that resolves to this machine would send.
    answer = studio.client.get("/api/state", headers={"Host": host})
    assert answer.status_code in (400, 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port of this machine: cookies are sent to it
    ],
)
def test_access__a_page_of_another_origin_is_refused(
    studio: RunningStudio, shared_project: StudioProject, headers: dict[str, str]
):
    body = {"by": "Eve", "answers": [label(shared_project.list_round()[0], "x", 1)]}
    for answer in (
        studio.client.post("/api/answers", json=body, headers=headers),
        studio.client.get("/api/state", headers=headers),
        studio.client.get("/pictures/tile/a/b", headers=headers),
    ):
        assert (answer.status_code, answer.json()["slug"]) == (403, "foreign-page")
    assert not [answer for answer in shared_project.answers if answer.by == "Eve"]


def test_access__a_form_cannot_write(studio: RunningStudio):
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = studio.client.post("/api/answers", content=b"{}", headers={"Content-Type": kind})
        assert answer.status_code == 415


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/api/state", "/nothing"])
def test_access__every_answer_has_the_headers(studio: RunningStudio, path: str):
    with plain(studio) as client:
        for answer in (studio.client.get(path), client.get(path)):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "access-control-allow-origin" not in answer.headers


def test_access__a_report_runs_without_the_network(studio: RunningStudio):
    answer = studio.client.get("/files/images/_/ridge-north/report.html")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("sandbox ")
    assert "connect-src" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2fapp.py",
        "/static/app.py",
        "/static/%00.js",
        f"/static/{'x' * 5000}.js",
        "/files/weights/_/_/model.safetensors",
        "/files/images/_/ridge-north/..%2f..%2fx.png",
        "/pictures/raw/ridge-north/x",
    ],
)
def test_access__other_files_are_not_served(studio: RunningStudio, path: str):
    assert studio.client.get(path).status_code == 404
