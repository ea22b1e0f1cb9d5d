"""Users of the studio's HTTP interface, for its tests."""

import io
import json

import numpy as np
from PIL import Image

from styleprompter_jax.web.limits import Limits

HERE = "http://127.0.0.1:7860"
LIMITS = Limits(
    upload_bytes=200_000, pixels=300_000, json_bytes=20_000, body_seconds=0.2
)
POINTS = [[30, 30], [50, 31], [41, 40], [33, 52], [49, 51]]


class User:
    """Somebody with a key."""

    def __init__(self, server, token=""):
        self.server = server
        answer = server.post("/api/clients", headers=bearer(token))
        self.headers = bearer(answer.json()["client"])

    def ask(self, method, path, body=None, status=200):
        given = {"content": body} if isinstance(body, bytes) else {"json": body}
        answer = self.server.request(method, path, headers=self.headers, **given)
        assert answer.status_code == status, answer.text
        if answer.headers["content-type"] == "application/json":
            return answer.json()
        return answer.content

    def post(self, path, body=None, status=200):
        return self.ask("POST", path, body, status)

    def pixels(self, path, body):
        return np.asarray(Image.open(io.BytesIO(self.post(path, body))))

    def latents(self, photo):
        picture = self.post("/api/pictures", photo)["picture"]
        return self.post("/api/encode", {"picture": picture})["latents"]

    def wait(self, job):
        text = self.ask("GET", f"/api/jobs/{job}/events").decode()
        return [json.loads(line[6:]) for line in text.split("\n\n") if line]


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def png(width=80, height=90, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
