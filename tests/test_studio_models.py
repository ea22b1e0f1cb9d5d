"""The studio of models of other kinds: in passes, of oblong pictures, generators."""

import io

import numpy as np
import pytest
from conftest import TINY, random_variables
from PIL import Image
from starlette.testclient import TestClient
from studio_user import HERE, User, png
from test_restyle import model_of

import styleprompter_jax as sp
from styleprompter_jax.app.export import export
from styleprompter_jax.images.files import to_uint8
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.ops.framing import framed
from styleprompter_jax.web.server import make_app

pytestmark = pytest.mark.slow


@pytest.fixture
def user():
    servers = []

    def begin(model):
        servers.append(TestClient(make_app(model), base_url=HERE))
        return User(servers[-1].__enter__())

    yield begin
    for server in servers:
        server.__exit__(None, None, None)


def test_passes(user, tmp_path):
    model = model_of("ResNetProgressiveBackboneEncoder", 6, passes=3)
    one = user(model)
    assert one.ask("GET", "/api/model")["passes"] == 3
    (tmp_path / "a.png").write_bytes(png())
    images = sp.read_images([tmp_path / "a.png"], model.image_size)
    picture = one.post("/api/pictures", png())["picture"]
    for passes in (None, 2):
        body = {"picture": picture, "iterations": passes}
        recipe = {"latents": one.post("/api/encode", body)["latents"]}
        own = model.encode(images, passes)
        expected = to_uint8(model.decode(own))[0]
        found = one.pixels("/api/decode", {"recipe": recipe})
        np.testing.assert_array_equal(found, expected)
        script = one.post("/api/script", recipe)
        assert ("iterations=2" in script["python"]) == (passes == 2)
        assert ("--iterations 2" in script["command"]) == (passes == 2)
    one.post("/api/encode", {"picture": picture, "iterations": 0}, 400)


def test_oblong_pictures(user, tmp_path):
    model = model_of("Encoder4Editing", image_height=24)
    one = user(model)
    facts = one.ask("GET", "/api/model")
    assert (facts["height"], facts["width"], facts["aligns"]) == (24, 32, False)
    picture = one.post("/api/pictures", png(90, 50))["picture"]
    made = one.post("/api/encode", {"picture": picture})
    shown = Image.open(io.BytesIO(one.ask("GET", f"/api/pictures/{made['picture']}")))
    assert shown.size == (32, 24)
    (tmp_path / "a.png").write_bytes(png(90, 50))
    own = model.encode(sp.read_images([tmp_path / "a.png"], model.image_size))
    expected = to_uint8(framed(model.decode(own), 24, 32))[0]
    recipe = {"latents": made["latents"]}
    found = one.pixels("/api/decode", {"recipe": recipe})
    np.testing.assert_array_equal(found, expected)
    # There is no face to align, and nothing square to paste back.
    points = [[30, 20], [50, 20], [40, 30], [33, 38], [49, 38]]
    one.post("/api/align", {"picture": picture, "points": points}, 400)
    one.post("/api/unalign", {"recipe": recipe}, 400)


def test_an_export_fits_nothing(user, tiny_folder, tmp_path):
    export(tiny_folder, tmp_path / "programs", format="jax")
    one = user(sp.load(tmp_path / "programs"))
    facts = one.ask("GET", "/api/model")
    assert facts["encodes"] and not facts["fits"]
    body = {"recipe": {"latents": one.latents(png())}, "steps": 2}
    for kind, what in (("fit", "cannot fit codes"), ("tune", "cannot be tuned")):
        assert what in one.post(f"/api/jobs/{kind}", body, 400)["error"]


def test_a_generator_alone_samples(user):
    config = StylePrompterConfig(None, None, TINY.generator)
    one = user(sp.StylePrompter(config, random_variables(config)))
    facts = one.ask("GET", "/api/model")
    assert not facts["encodes"] and facts["refiner"] is None and not facts["directions"]
    picture = one.post("/api/pictures", png())["picture"]
    answer = one.post("/api/encode", {"picture": picture}, 400)
    assert "sample" in answer["error"]
    recipe = {"latents": one.post("/api/sample", {"seed": 3})["latents"]}
    assert one.pixels("/api/decode", {"recipe": recipe}).shape == (32, 32, 3)
    for more in ({"refine": True}, {"options": {"beta": [1, 1]}}):
        answer = one.post("/api/decode", {"recipe": recipe | more}, 400)
        assert "no refiner: leave out" in answer["error"]
    script = one.post("/api/script", recipe)
    assert script["command"] == "" and "default_rng(3)" in script["python"]
