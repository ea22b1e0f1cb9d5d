"""The studio's HTTP interface, in process, with the tiny model."""

import base64
import dataclasses
import io
import shlex

import jsonschema
import numpy as np
import pytest
from PIL import Image
from studio_user import LIMITS, POINTS, User, png

import styleprompter_jax as sp
from styleprompter_jax.app.joined import joined
from styleprompter_jax.cli import main
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.editing.generator_change import GeneratorChange
from styleprompter_jax.editing.mixing import mix
from styleprompter_jax.images import align as crops
from styleprompter_jax.images.files import read_image, to_uint8
from styleprompter_jax.web import bodies
from styleprompter_jax.web.api import ENDPOINTS
from styleprompter_jax.web.limits import Refused
from styleprompter_jax.web.recipes import Recipes
from styleprompter_jax.web.scripts import Script
from styleprompter_jax.web.sessions import Clients
from styleprompter_jax.web.things import Codes


def test_pictures_are_those_of_the_model(user, model, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png())
    images = sp.read_images([tmp_path / "a.png"], model.image_size)
    own = model.encode(images)
    made = user.latents(png())

    def same(recipe, latents, **options):
        found = user.pixels("/api/decode", {"recipe": {"latents": made} | recipe})
        expected = to_uint8(model.decode(latents, **options))[0]
        np.testing.assert_array_equal(found, expected)

    same({}, own)
    same({"refine": False}, own, refine=False)
    same({"options": {"beta": [0.5, 0.0]}}, own, beta=(0.5, 0.0))
    both = [(model.directions["smile"], 0.5), (model.directions["hat"], -1.0)]
    moved = own.edit(joined(model, both), 1.0)
    # The directions ask for beta (1, 1) and (0.5, 2): the least of each counts.
    same({"edits": {"hat": -1, "smile": 0.5}}, moved, beta=(0.5, 1.0))
    # Sliders need no common strength.
    far = dataclasses.replace(model.directions["hat"], range=(5, 6))
    monkeypatch.setitem(model.directions, "far", far)
    moved = own.edit(joined(model, [both[0], (far, 1.0)]), 1.0)
    same({"edits": {"far": 1, "smile": 0.5}}, moved, beta=(0.5, 1.0))
    # Latents of a recipe, mixed with latents of nobody.
    nobody = user.post("/api/sample", {"seed": 7, "truncation": 0.5})["latents"]
    z = np.random.default_rng(7).standard_normal((1, 16), np.float32)
    codes = np.asarray(model.mapping(z, truncation_psi=0.5))[:, None].repeat(8, 1)
    drawn = sp.Latents(codes)
    made, before = nobody, made
    same({}, drawn, refine=False)
    other = {"latents": before, "layers": [0, 3], "share": 0.25}
    made = user.post("/api/mix", {"latents": nobody, "mix": other})["latents"]
    share = np.isin(range(8), [0, 3]) * np.float32(0.25)
    mixed = sp.Latents(mix(codes, np.asarray(own.w_plus), share))
    same({}, mixed, refine=False)
    (tmp_path / "made.npz").write_bytes(user.ask("GET", f"/api/latents/{made}"))
    kept = tmp_path / "kept.npz"
    kept.write_bytes(user.ask("GET", f"/api/latents/{before}"))
    maps = zip(sp.Latents.load(kept).features, own.features, strict=True)
    assert all(np.array_equal(*pair) for pair in maps)  # to refine them elsewhere
    np.testing.assert_array_equal(
        sp.Latents.load(tmp_path / "made.npz").w_plus, mixed.w_plus
    )


def test_codes_beyond_float32_are_refused(model, monkeypatch):
    clients = Clients(LIMITS)
    client = clients.open()
    codes = Codes(sp.Latents(np.zeros((1, 8, 16), np.float32)), None, Script(()))
    far = Direction(np.full(16, 3e38, np.float32))
    monkeypatch.setitem(model.directions, "far", far)
    recipe = bodies.Recipe(clients.keep(client, codes, 0), edits={"far": 1e9})
    with np.errstate(over="ignore"), pytest.raises(Refused, match="smaller strengths"):
        Recipes(model).ready(client, recipe)


def test_a_tuned_generator_has_its_own_programs(model):
    """So no batch of other clients waits for their compilation."""
    plain = sp.Latents(np.zeros((1, 8, 16), np.float32))
    changes = [GeneratorChange({key: np.zeros(1)}, "") for key in "ab"]
    kinds = [
        {work.program for work, _ in Recipes(model).all_of(latents)}
        for latents in (plain, *map(plain.changed, changes))
    ]
    assert len(set.union(*kinds)) == sum(map(len, kinds))


def test_a_tuned_generator(user, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo_1.png").write_bytes(png())
    latents = user.latents(png())
    start = {"recipe": {"latents": latents, "refine": False}, "steps": 2}
    job = user.post("/api/jobs/tune", start)["job"]
    reports = user.wait(job)
    assert (reports[-1]["state"], reports[-1]["done"]) == ("done", 2)
    recipe = {"latents": reports[-1]["latents"], "refine": False}
    shown = user.pixels("/api/decode", {"recipe": recipe})
    before = user.pixels("/api/decode", {"recipe": start["recipe"]})
    assert (shown != before).any()  # and the others keep their generator
    name = recipe["latents"]
    assert "--tune" in user.ask("GET", f"/api/latents/{name}", status=400)["error"]
    recipe["edits"] = {"smile": 0.5}
    shown = user.pixels("/api/decode", {"recipe": recipe})
    script = user.post("/api/script", recipe)
    exec(compile(script["python"], "script", "exec"), {})
    np.testing.assert_array_equal(read_image("result.png"), shown)
    for line in script["command"].replace("\\\n", "").splitlines():
        assert main(shlex.split(line)[1:]) == 0
    (made,) = (tmp_path / "results").glob("*smile*.png")
    np.testing.assert_array_equal(read_image(made), shown)


def test_a_script_that_tunes_edited_and_mixed_latents(user, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo_1.png").write_bytes(png())
    latents = user.latents(png())
    edit = {"latents": latents, "edits": {"smile": 0.5}}
    edited = user.post("/api/edit", edit)["latents"]
    mix = {"latents": edited, "mix": {"latents": latents, "share": 0.5}}
    mixed = user.post("/api/mix", mix)["latents"]
    start = {"recipe": {"latents": mixed, "refine": False}, "steps": 1}
    job = user.post("/api/jobs/tune", start)["job"]
    recipe = {"latents": user.wait(job)[-1]["latents"], "refine": False}
    shown = user.pixels("/api/decode", {"recipe": recipe})
    script = user.post("/api/script", recipe)["python"]
    exec(compile(script, "script", "exec"), {})
    np.testing.assert_array_equal(read_image("result.png"), shown)


@pytest.mark.parametrize("points", [None, POINTS])
def test_scripts_make_the_same(user, points, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo_1.png").write_bytes(png())
    picture = user.post("/api/pictures", png())["picture"]
    if points:
        body = {"picture": picture, "points": points}
        picture = user.post("/api/align", body)["picture"]
    latents = user.post("/api/encode", {"picture": picture})["latents"]
    job = user.post("/api/jobs/fit", {"recipe": {"latents": latents}, "steps": 2})
    recipe = {
        "latents": user.wait(job["job"])[-1]["latents"],
        "edits": {"smile": 0.5, "hat": 0.25},
        "options": {"beta": [0.75, 0.5]},
    }
    shown = user.pixels("/api/decode", {"recipe": recipe})
    script = user.post("/api/script", recipe)
    exec(compile(script["python"], "script", "exec"), {})
    np.testing.assert_array_equal(read_image("result.png"), shown)
    for line in script["command"].replace("\\\n", "").splitlines():
        words = shlex.split(line)
        if words[0] == "echo":
            (tmp_path / words[-1]).write_text(words[1])
        else:
            assert main(words[1:]) == 0
    (made,) = (tmp_path / "results").glob("photo*+1.png")
    np.testing.assert_array_equal(read_image(made), shown)


def test_a_crop_comes_back_into_its_photograph(user):
    photo = np.asarray(Image.open(io.BytesIO(png())))
    picture = user.post("/api/pictures", png())["picture"]
    crop = user.post("/api/align", {"picture": picture, "points": POINTS})["picture"]
    quad = crops.crop_quad(np.array(POINTS, float))
    shown = Image.open(io.BytesIO(user.ask("GET", f"/api/pictures/{crop}")))
    np.testing.assert_array_equal(np.asarray(shown), crops.align(photo, quad, 32))
    latents = user.post("/api/encode", {"picture": crop})["latents"]
    for detail in (True, False):
        recipe = {"latents": latents, "edits": {"smile": 2}}
        edited = user.pixels("/api/decode", {"recipe": recipe})
        found = user.pixels("/api/unalign", {"recipe": recipe, "detail": detail})
        pasted = crops.unalign(photo, edited, quad, detail=detail)
        np.testing.assert_array_equal(found, pasted)
    # What was not aligned comes back into the middle.
    latents = user.post("/api/encode", {"picture": picture})["latents"]
    found = user.pixels("/api/unalign", {"recipe": {"latents": latents}})
    changed = np.flatnonzero((found != photo).any((1, 2)))
    assert changed.min() >= 5 and changed.max() < 85
    for size in ((1, 1), (9, 1), (1, 9)):  # all of it is the middle
        recipe = {"latents": user.latents(png(*size))}
        assert user.pixels("/api/unalign", {"recipe": recipe}).shape[1::-1] == size
    nobody = user.post("/api/sample", {})["latents"]
    answer = user.post("/api/unalign", {"recipe": {"latents": nobody}}, 400)
    assert "not of a photograph" in answer["error"]


def test_jobs_tell_of_themselves_and_end(user):
    latents = user.latents(png())
    recipe = {"latents": latents, "edits": {"hat": 0.5}}
    sweep = {"recipe": recipe, "direction": "smile", "frames": 3}
    # Also without the refiner, which has no options then.
    plain = sweep | {"recipe": recipe | {"refine": False}}
    assert user.wait(user.post("/api/jobs/sweep", plain)["job"])[-1]["done"] == 3
    job = user.post("/api/jobs/sweep", sweep)["job"]
    reports = user.wait(job)
    assert reports[-1] == {"state": "done", "done": 3, "total": 3}
    film = Image.open(io.BytesIO(user.ask("GET", f"/api/jobs/{job}/file")))
    assert film.n_frames == 4 and film.size == (32, 32)
    # Of two long ones, one waits for the other; a third is refused.
    long = {"recipe": {"latents": latents}, "steps": 1000}
    jobs = [user.post("/api/jobs/fit", long)["job"] for _ in range(2)]
    assert "cancel one" in user.post("/api/jobs/fit", long, 429)["error"]
    for job in reversed(jobs):
        user.ask("DELETE", f"/api/jobs/{job}")
    assert [user.wait(job)[-1]["state"] for job in jobs] == ["cancelled"] * 2
    assert (
        "no file" in user.ask("GET", f"/api/jobs/{jobs[0]}/file", status=404)["error"]
    )


def test_an_animation_keeps_its_options_at_the_strength_0(user):
    latents = user.latents(png())
    own = {"direction": "hat", "low": -1, "high": 1, "frames": 3}
    films = []
    for options in ({}, {"beta": [0.5, 2.0]}):  # those that the direction asks for
        recipe = {"latents": latents, "options": options}
        job = user.post("/api/jobs/sweep", own | {"recipe": recipe})["job"]
        assert user.wait(job)[-1]["state"] == "done"
        films.append(user.ask("GET", f"/api/jobs/{job}/file"))
    assert films[0] == films[1]


def test_a_client_that_leaves_ends_its_jobs(server, user):
    latents = user.latents(png())
    long = {"recipe": {"latents": latents}, "steps": 1000}
    user.post("/api/jobs/fit", long)
    user.ask("DELETE", "/api/clients")
    assert user.post("/api/sample", {}, 401)["error"]
    studio = server.app.app.state.studio
    other = User(server)
    job = other.post(
        "/api/jobs/fit", {"recipe": {"latents": other.latents(png())}, "steps": 1}
    )
    assert other.wait(job["job"])[-1]["state"] == "done"
    assert len(studio.jobs) == 0


def test_facts_of_the_model(user, model):
    facts = user.ask("GET", "/api/model")
    assert facts["width"] == facts["height"] == 32 and facts["codes"] == 8
    assert (
        facts["encodes"] and facts["fits"] and facts["aligns"] and not facts["passes"]
    )
    assert facts["refiner"] == {"title": "SMART", "options": {"beta": [1.0, 1.0]}}
    smile, hat = facts["directions"]
    assert smile["range"] == [-4, 2] and smile["origin"] == "a test"
    assert hat["options"] == {"beta": [0.5, 2.0]}


def test_the_description_is_of_all_that_there_is(server, user):
    described = server.get("/api/openapi.json").json()
    there = {
        (method.upper(), path)
        for path, methods in described["paths"].items()
        for method in methods
    }
    assert there == {(one.method, one.path) for one in ENDPOINTS}
    recipe = described["components"]["schemas"]["Recipe"]
    assert recipe["required"] == ["latents"]
    assert recipe["properties"]["mix"]["anyOf"][0]["$ref"].endswith("/Mix")
    for schema in described["components"]["schemas"].values():
        assert all(field["description"] for field in schema["properties"].values())
    # An empty body is taken where each field has a default.
    needed = {
        path: described["paths"][path]["post"]["requestBody"]["required"]
        for path in ("/api/sample", "/api/pictures", "/api/decode")
    }
    assert list(needed.values()) == [False, True, True]
    for path, required in needed.items():
        user.ask("POST", path, b"", 400 if required else 200)
    kept = described["paths"]["/api/edit"]["post"]["description"]
    assert "not `refine` and `options`" in kept


class Checked(User):
    """Checks each answer against the description of its row."""

    def __init__(self, server):
        self.described = server.get("/api/openapi.json").json()
        self.seen = set()
        super().__init__(server)
        self.ask("POST", "/api/clients")

    def ask(self, method, path, body=None, status=200):
        made = super().ask(method, path, body, status)
        row = next(p for p in self.described["paths"] if self.is_at(p, path))
        content = self.described["paths"][row][method.lower()]["responses"]["200"][
            "content"
        ]
        self.seen.add((method, row))
        if schema := content.get("application/json", {}).get("schema"):
            whole = schema | {"components": self.described["components"]}
            jsonschema.Draft202012Validator(whole).validate(made)
            assert schema.get("$ref") or path == "/api/openapi.json"
        else:
            assert isinstance(made, bytes) and "application/json" not in content
        return made

    @staticmethod
    def is_at(row, path):
        pairs = list(zip(row.split("/"), path.split("/"), strict=False))
        same = all(a == b or a.startswith("{") for a, b in pairs)
        return same and row.count("/") == path.count("/")


def test_answers_are_as_described(server):
    user = Checked(server)
    picture = user.post("/api/pictures", png())["picture"]
    user.ask("GET", f"/api/pictures/{picture}")
    for path in ("model", "health", "metrics", "openapi.json"):
        user.ask("GET", f"/api/{path}")
    crop = user.post("/api/align", {"picture": picture, "points": POINTS})["picture"]
    latents = user.post("/api/encode", {"picture": crop})["latents"]
    recipe = {"latents": latents, "edits": {"smile": 0.5}}
    user.ask("GET", f"/api/latents/{latents}")
    user.post("/api/edit", recipe)
    user.post("/api/mix", {"latents": latents, "mix": user.post("/api/sample", {})})
    for path in ("decode", "unalign"):
        user.post(f"/api/{path}", {"recipe": recipe})
    user.post("/api/script", recipe)
    for kind in ("fit", "tune", "sweep"):
        how = {"direction": "hat", "frames": 2} if kind == "sweep" else {"steps": 1}
        job = user.post(f"/api/jobs/{kind}", {"recipe": recipe} | how)["job"]
        user.wait(job)
        assert user.ask("GET", f"/api/jobs/{job}")["state"] == "done"
    user.ask("GET", f"/api/jobs/{job}/file")
    user.ask("DELETE", f"/api/jobs/{job}")
    user.ask("DELETE", "/api/clients")
    # The tiny model has no examples.
    all_rows = {(one.method, one.path) for one in ENDPOINTS}
    assert all_rows - user.seen == {("GET", "/api/examples/{number}")}


def test_metrics_and_logs_tell_nothing_of_anybody(user, caplog):
    latents = user.latents(png())
    user.post("/api/decode", {"recipe": {"latents": latents}})
    text = user.server.get("/api/metrics").text
    assert 'request="POST /api/decode",status="200"' in text
    assert "styleprompter_kept_bytes" in text and latents not in text
    assert latents not in caplog.text


def test_a_picture_that_the_page_pastes_is_read_as_a_file_is(user, tmp_path):
    """Rotated, with alpha, of 16 bits: the one reader has them all."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    wide = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 60, 3), "u1"))
    wide.save(file, "PNG", exif=exif)
    made = user.post("/api/pictures", file.getvalue())
    assert (made["width"], made["height"]) == (40, 60)
    (tmp_path / "a.png").write_bytes(file.getvalue())
    crop = user.post("/api/encode", {"picture": made["picture"]})["picture"]
    shown = np.asarray(Image.open(io.BytesIO(user.ask("GET", f"/api/pictures/{crop}"))))
    np.testing.assert_array_equal(shown, read_image(tmp_path / "a.png", 32))
    pixel = base64.b64decode("R0lGODdhAQABAIAAAP///////ywAAAAAAQABAAACAkQBADs=")
    assert user.post("/api/pictures", pixel)["width"] == 1
