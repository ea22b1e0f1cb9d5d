"""The studio attacked as a stranger would; docs/reliability.md has the table."""

import io
import json
import time
import zlib

import httpx
import pytest
from PIL import Image
from starlette.testclient import TestClient
from studio_user import HERE, LIMITS, User, bearer, png

from styleprompter_jax.cli import main
from styleprompter_jax.web.limits import Limits
from styleprompter_jax.web.security import Names
from styleprompter_jax.web.server import _token, make_app

# Requests that a page of another site, or a stranger, may make.
FOREIGN = {
    "another name": {"Host": "evil.example"},
    "a name that begins alike": {"Host": "127.0.0.1.evil.example"},
    "a name before the address": {"Host": "user@127.0.0.1"},
    "a path in the name": {"Host": "127.0.0.1/evil"},
    "no name": {"Host": ""},
    "another origin": {"Origin": "https://evil.example"},
    "no origin": {"Origin": "null"},
    "another port's origin": {"Origin": "http://127.0.0.1:8000"},
    "a file": {"Origin": "file://127.0.0.1:7860"},
    "a picture in another page": {"Sec-Fetch-Site": "cross-site"},
    "a page of another port": {"Sec-Fetch-Site": "same-site"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_other_sites_are_refused(server, headers):
    for method, path in (("GET", "/api/health"), ("POST", "/api/clients")):
        answer = server.request(method, path, headers=headers)
        assert answer.status_code == 403 and "error" in answer.json()
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_own_pages_and_tunnels_are_let_in(server):
    for headers in (
        {"Host": "localhost:9999", "Origin": "http://localhost:9999"},
        {"Host": "[::1]:7860", "Sec-Fetch-Site": "same-origin"},
        {"Host": "127.0.0.1", "Origin": "https://127.0.0.1"},
    ):
        assert server.post("/api/clients", headers=headers).status_code == 200
    # A link leads to the page from anywhere.
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert server.get("/", headers=link).status_code == 200


def test_names_of_a_server_for_others():
    names = Names("0.0.0.0", ["faces.example"])
    assert "192.168.7.7:7860" in names and "faces.example" in names
    assert "other.example" not in names and "192.168.7.7.example" not in names
    assert "192.168.7.7" not in Names("192.168.7.8")


NAMES = {
    "FACES.Other.:443": "faces.other:8443",
    "münchen.example": "xn--mnchen-3ya.example",
    "XN--mnchen-3ya.example": "xn--mnchen-3ya.example",
    "faces.example": "FACES.example.",
    "my_machine": "my_machine:80",
    "[::1:0]:443": "[::1:0]",
    "2001:DB8:0::7": "[2001:db8::7]:7860",
    "192.168.7.7.": "192.168.7.7",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_those_that_browsers_send(name):
    assert NAMES[name] in Names("127.0.0.1", [name])


@pytest.mark.parametrize(
    "name",
    ["http://faces.example/", "faces.example/", "*.example", "me@faces.example", "",
     "faces example", "faces.example:99999", "faces..example", "straße.example",
     ".", "x" * 64, "faces.example?", "[::1", "\u3042\u0000"],
)  # fmt: skip
def test_other_names_are_refused_at_the_start(name, capsys):
    # The model comes later: there is none.
    words = ["studio", "--model", "no/model", "--name", "faces.example", name]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "--name" in error and "bare host name" in error


def test_a_server_behind_a_proxy_has_a_token():
    assert not _token("127.0.0.1", []) and not _token("localhost", [])
    for host, names in (("127.0.0.1", ["faces.example"]), ("0.0.0.0", [])):
        assert len(_token(host, names)) > 20


def test_strangers_need_the_token(model):
    app = make_app(model, token="secret", names=Names("0.0.0.0"), limits=LIMITS)
    with TestClient(app, base_url="http://192.168.0.9:7860") as server:
        for path, method in (("/api/clients", "POST"), ("/api/metrics", "GET")):
            for key in ("", "wrong", "secre", "secret2", "sécret"):
                given = {"Authorization": f"Bearer {key}".encode()}
                answer = server.request(method, path, headers=given)
                assert answer.status_code == 401 and "token" in answer.json()["error"]
            answer = server.request(method, path, headers=bearer("secret"))
            assert answer.status_code == 200
        # It opens a client, and is no client's key.
        answer = server.get("/api/model", headers=bearer("secret"))
        assert answer.status_code == 401
        assert User(server, "secret").ask("GET", "/api/model")["width"] == 32


def test_the_page_has_no_script_or_style_within(server):
    answer = server.get("/")
    page = answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert "<style" not in page and " style=" not in page and " on" not in {
        word[:3] for word in page.split("<button")
    }  # fmt: skip
    assert page.count("<script") == 1 and 'src="main.js"' in page
    for name, kind in (("main.js", "text/javascript"), ("style.css", "text/css")):
        answer = server.get(f"/{name}")
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "http" not in answer.text.replace("http://www.w3.org", "")


PATHS = [
    "/../setup.cfg",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/..%2fserver.py",
    "//etc/passwd",
    "/main.js/../../server.py",
    "/page/main.js",
    "/index.html",
    "/api/pictures/..%2f..%2fetc%2fpasswd",
    "/api/pictures/%2fetc%2fpasswd",
    "/api/examples/../../x",
    "/api/examples/-1",
    "/api/examples/%00",
    "/api/jobs/x/file",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_to_a_file(user, path):
    answer = user.server.get(path, headers=user.headers)
    assert answer.status_code == 404
    assert answer.json().keys() <= {"error", "unknown"}


def test_ids_are_of_one_client(user, server):
    latents = user.latents(png())
    other = User(server)
    texts = set()
    for name in (latents, "guessed", latents[:-1], "../" + latents, "é" * 60):
        answer = other.post("/api/decode", {"recipe": {"latents": name}}, 404)
        texts.add(answer["error"])
        other.post("/api/unalign", {"recipe": {"latents": name}}, 404)
    assert len(texts) == 1  # nobody learns which of them there are
    mixed = {"latents": other.latents(png()), "mix": {"latents": latents}}
    assert other.post("/api/decode", {"recipe": mixed}, 404)["unknown"] == latents
    # An id of another kind of thing is none, either.
    user.post("/api/encode", {"picture": latents}, 404)


def bomb(width, height):
    """A PNG whose header promises so many pixels."""
    data = bytearray(png(8, 8))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def lying():
    """A PNG whose header says that it is small, and whose data are those of more."""
    data = bytearray(png(100, 100))
    data[16:24] = (3).to_bytes(4, "big") * 2
    return bytes(data)


UPLOADS = {
    "nothing": (b"", 400),
    "a script": (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", 400),
    "a page": (b"<html><script>alert(1)</script></html>", 400),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 400),
    "half a picture": (png()[:300], 400),
    "a lie about its size": (lying(), 400),
    "too many pixels": (bomb(600, 600), 413),
    "a bomb": (bomb(60_000, 60_000), 413),
    "half a bomb": (bomb(12_000, 9_000), 413),  # Pillow would only warn of it
    "too many bytes": (png(260, 260), 413),
}


@pytest.mark.parametrize(("data", "status"), UPLOADS.values(), ids=UPLOADS)
def test_bad_pictures_are_refused_in_words(user, data, status):
    answer = user.post("/api/pictures", data, status)
    assert set(answer) == {"error"} and answer["error"].endswith(".")
    assert "script" not in answer["error"] and "alert" not in answer["error"]
    if data.startswith(bomb(9, 9)[:16]) and status == 413 and len(data) < 200_000:
        # The advice fits the limit.
        assert "300,000 pixels" in answer["error"] and "500x500" in answer["error"]


def test_notes_of_a_picture_go_nowhere(user):
    file = io.BytesIO()
    exif = Image.Exif()
    exif[270] = "<script>alert(1)</script>"
    Image.new("RGB", (50, 50), "red").save(file, "JPEG", exif=exif, comment=b"<script>")
    made = user.post("/api/pictures", file.getvalue())
    assert "script" not in json.dumps(made)
    latents = user.post("/api/encode", {"picture": made["picture"]})["latents"]
    for answer in (
        user.ask("GET", f"/api/pictures/{made['picture']}"),
        user.post("/api/decode", {"recipe": {"latents": latents}}),
        user.post("/api/unalign", {"recipe": {"latents": latents}, "format": "jpg"}),
    ):
        assert b"script" not in answer


def test_mixes_of_mixes_are_bounded(user, server):
    name = user.post("/api/sample", {})["latents"]
    recipe = {"latents": name, "mix": {"latents": name}}
    clients = server.app.app.state.studio.clients
    before = clients.used
    for _ in range(30):  # each mix doubles the code
        answer = user.server.post("/api/mix", json=recipe, headers=user.headers)
        if answer.status_code != 200:
            break
        name = answer.json()["latents"]
        recipe = {"latents": name, "mix": {"latents": name}}
    assert answer.status_code == 400 and "lines" in answer.json()["error"]
    text = user.post("/api/script", {"latents": name})["python"]
    assert clients.used - before > len(text)  # the server counts the code, too


def test_finished_jobs_and_their_files_are_bounded(model):
    app = make_app(model, limits=Limits(jobs_kept=2))
    with TestClient(app, base_url=HERE) as server:
        user, clients = User(server), app.app.state.studio.clients
        recipe = {"latents": user.post("/api/sample", {})["latents"]}
        sweep = {"recipe": recipe, "direction": "smile", "frames": 2}
        before, jobs, files = clients.used, [], []
        for _ in range(4):
            jobs.append(user.post("/api/jobs/sweep", sweep)["job"])
            assert user.wait(jobs[-1])[-1]["state"] == "done"
            files.append(len(user.ask("GET", f"/api/jobs/{jobs[-1]}/file")))
        # A new job makes the server forget all but two of the others.
        assert clients.used - before == sum(files[1:])
        user.ask("GET", f"/api/jobs/{jobs[0]}", status=404)
        user.ask("GET", f"/api/jobs/{jobs[1]}")


def test_an_idle_server_forgets_too(model):
    app = make_app(model, limits=Limits(idle_seconds=0.3))
    with TestClient(app, base_url=HERE) as server:
        user = User(server)
        user.post("/api/pictures", png())
        clients = app.app.state.studio.clients
        for _ in range(100):
            if not len(clients):
                break
            time.sleep(0.05)
        assert not len(clients) and not clients.used


def test_too_much_is_refused_while_it_comes(user):
    def chunks(size):
        yield from (b"x" * 50_000 for _ in range(size))

    for path, size in (("/api/pictures", 10), ("/api/decode", 1)):
        answer = user.server.post(path, content=chunks(size), headers=user.headers)
        assert answer.status_code == 413 and "at most" in answer.json()["error"]
    for length in ("9" * 30, "9" * 5000, "-1"):
        told = user.headers | {"Content-Length": length}
        answer = user.server.post("/api/pictures", content=b"", headers=told)
        assert answer.status_code == 413


def test_a_slow_body_and_many_requests(server, model):
    """Asynchronously, as a server has them."""
    import anyio

    app = server.app
    key = User(server).headers

    async def run():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:

            async def slowly():
                yield b"{"
                await anyio.sleep(1)
                yield b"}"

            slow = await client.post("/api/sample", content=slowly(), headers=key)
            assert slow.status_code == 408
            statuses = []

            async def one():
                answer = await client.post("/api/sample", json={}, headers=key)
                statuses.append(answer.status_code)

            async with anyio.create_task_group() as group:
                for _ in range(40):
                    group.start_soon(one)
            # A client has 8 at a time; the others are told to try again.
            assert set(statuses) == {200, 429} and statuses.count(200) >= 8

    anyio.run(run)
