"""The studio refuses wrong requests, and says what is wrong."""

import pytest
from studio_user import POINTS, png

BODIES = {
    "no JSON": b"{",
    "a list": b"[]",
    "deep": b'{"recipe":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "NaN": b'{"recipe": {"latents": "x", "edits": {"smile": NaN}}}',
    "1e999": b'{"recipe": {"latents": "x", "edits": {"smile": 1e999}}}',
    "too far": b'{"recipe": {"latents": "x", "edits": {"smile": 1e30}}}',
    "text": b'{"recipe": {"latents": "x", "edits": {"smile": "1"}}}',
    "no edits": b'{"recipe": {"latents": "x", "edits": [1]}}',
    "another key": b'{"recipe": {"latents": "x"}, "path": "/etc/passwd"}',
    "another inside": b'{"recipe": {"latents": "x", "model": "/etc"}}',
    "nothing": b"",
    "no latents": b'{"recipe": {}}',
    "a list of names": b'{"recipe": {"latents": ["x"]}}',
    "another format": b'{"recipe": {"latents": "x"}, "format": "../x.png"}',
    "a long name": b'{"recipe": {"latents": "' + b"x" * 5000 + b'"}}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_wrong_requests_are_refused_in_words(user, body):
    answer = user.server.post("/api/decode", content=body, headers=user.headers)
    assert answer.status_code == 400, answer.text
    assert len(answer.json()["error"]) < 400


def test_wrong_recipes_are_refused_in_words(user):
    latents = user.latents(png())
    for recipe, why in (
        ({"edits": {"__class__": 1}}, "no direction"),
        ({"edits": {"x" * 5000: 1}}, "...."),
        ({"options": {"gamma": [1]}}, "no option"),
        ({"options": {"beta": [1]}}, "list of 2"),
        ({"mix": {"latents": latents, "layers": [8]}}, "layer"),
        ({"mix": {"latents": latents, "layers": [-1]}}, "layer"),
        ({"mix": {"latents": latents, "share": 2}}, "from 0 to 1"),
        ({"options": {"beta": [1, 1]}, "refine": False}, "leave out one of them"),
    ):
        body = {"recipe": {"latents": latents} | recipe}
        assert why in user.post("/api/decode", body, 400)["error"]
    nobody = user.post("/api/sample", {})["latents"]
    body = {"recipe": {"latents": nobody, "refine": True}}
    assert "they are sampled" in user.post("/api/decode", body, 400)["error"]
    body = {"recipe": {"latents": nobody}, "direction": "none"}
    assert "no direction" in user.post("/api/jobs/sweep", body, 400)["error"]
    body = {"picture": user.post("/api/pictures", png())["picture"]}
    far = body | {"points": [[x + 900, y] for x, y in POINTS]}
    assert user.post("/api/align", far, 400)["error"]
    mirrored = body | {"points": [POINTS[1], POINTS[0], *POINTS[2:]]}
    assert user.post("/api/align", mirrored, 400)["error"]


def test_wrong_fields_are_refused_in_the_words_of_json(user):
    recipe = {"latents": "x"}
    for path, body, why in (
        ("decode", {}, "The request lacks recipe: add each missing key."),
        ("decode", {"recipe": None}, "recipe is null, but must be an object."),
        ("decode", {"recipe": []}, "The request of the recipe is [], but"),
        ("sample", {"seed": 2**31}, "a whole number from 0 to 2147483647."),
        ("sample", {"seed": True}, "seed is true, but"),
        ("edit", recipe | {"refine": 1}, "refine is 1, but must be true or false or n"),
        (
            "edit",
            recipe | {"mix": recipe | {"layers": "é"}},
            r'layers is "\u00e9", but',
        ),
        ("edit", recipe | {"edits": {"a": 1e10}}, "from -1000000000 to 1000000000 by"),
        ("decode", {"recipe": recipe, "format": "gif"}, '"png" or "jpg" or "webp".'),
    ):
        assert why in user.post(f"/api/{path}", body, 400)["error"]


def test_other_methods_are_told_those_that_an_address_takes(server):
    for method, path, allowed in (
        ("PUT", "/api/health", "GET, HEAD"),
        ("OPTIONS", "/api/clients", "DELETE, POST"),
        ("PATCH", "/api/jobs/x", "DELETE, GET, HEAD"),
        ("HEAD", "/api/decode", "POST"),
        ("POST", "/main.js", "GET, HEAD"),
    ):
        answer = server.request(method, path)
        assert answer.status_code == 405 and answer.headers["allow"] == allowed
        if method != "HEAD":
            why = f"This address does not take {method}: use {allowed}."
            assert answer.json() == {"error": why}
    assert "does not exist" in server.put("/api/nothing").json()["error"]
