"""The studio under load: `python -m benchmarks.studio [--seconds N] [--size S]`.

Starts the server in this process, and eight clients in another, which ask it over a
socket, as the page does. It prints the time from a slider to the bytes of the picture
beside the model's own time, the results per second of the clients beside the model's
own batches of 8, and the memory before and after. With --size, the model has
e4e's architecture, a generator of this size and random weights.
"""

import argparse
import concurrent.futures
import contextlib
import http.client
import io
import json
import multiprocessing
import resource
import socket
import statistics
import threading
import time
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

import styleprompter_jax as sp
from benchmarks.cases import draw, encoder_of
from styleprompter_jax.core.compilation_cache import use_compilation_cache
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.large_pages import use_large_pages
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.store.model_folder import model_shapes
from styleprompter_jax.web.server import make_app, make_server

CLIENTS = 8


@contextlib.contextmanager
def running(model):
    """The address of a server in a thread, and its sizes of batches."""
    app = make_app(model)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = make_server(app)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield address, app.app.state.studio.batcher.batches
        server.should_exit = True
        thread.join()


class User:
    """A client with a picture and a slider.

    It shares the cores with the server, so it is a light one: the standard library's.
    """

    def __init__(self, address, seed):
        self.http = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
        self.headers = {}
        self.headers["Authorization"] = (
            f"Bearer {self.post('/api/clients', {})['client']}"
        )
        rng = np.random.default_rng(seed)
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(file, "PNG")
        upload = json.loads(self.ask("POST", "/api/pictures", file.getvalue()))
        body = {"picture": upload["picture"]}
        self.latents = self.post("/api/encode", body)["latents"]
        facts = json.loads(self.ask("GET", "/api/model"))
        self.name = facts["directions"][0]["name"]
        self.format = "jpg" if max(facts["height"], facts["width"]) > 256 else "png"
        self.rng = rng

    def ask(self, method, path, content=None):
        """The content of an answer."""
        self.http.request(method, path, content, self.headers)
        answer = self.http.getresponse()
        found = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {found[:200]!r}")
        return found

    def post(self, path, body):
        return json.loads(self.ask("POST", path, json.dumps(body)))

    def move(self):
        """Seconds from a slider's move to the picture, and the picture."""
        strength = float(self.rng.uniform(-1, 1))
        recipe = {"latents": self.latents, "edits": {self.name: strength}}
        begin = time.perf_counter()
        body = {"recipe": recipe, "format": self.format}
        content = self.ask("POST", "/api/decode", json.dumps(body))
        return time.perf_counter() - begin, content


def clients(address, asked, answers):
    """Moves sliders for the seconds that are asked: of one client, then of all."""
    users = [User(address, seed) for seed in range(CLIENTS)]

    def work(user, end):
        user.http.close()  # opens again: the server closes idle connections
        times = []
        while time.perf_counter() < end:
            times.append(user.move()[0])
        return times

    users[0].move()
    answers.put(work(users[0], time.perf_counter() + asked.get()))
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        for seconds in iter(asked.get, None):
            ends = [time.perf_counter() + seconds] * CLIENTS
            answers.put([t for times in pool.map(work, users, ends) for t in times])


def spread(times):
    cuts = statistics.quantiles(times, n=20)
    middle = statistics.median(times)
    return f"median {1e3 * middle:.0f} ms, p95 {1e3 * cuts[-1]:.0f} ms"


def random_model(size):
    generator = GeneratorConfig(size)
    config = StylePrompterConfig(encoder_of("e4e", generator), None, generator)
    model = sp.StylePrompter(config, draw(model_shapes(config)))
    vector = np.random.default_rng(0).standard_normal(generator.w_dim, np.float32)
    model.directions["random"] = Direction(vector)
    return model


def plain(model, count, seconds):
    """Results a second of the model's own batches of `count`."""
    height, width, channels = model.config.input_shape
    latents = model.encode(np.zeros((count, height, width, channels), np.float32))
    np.asarray(model.decode(latents))
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        np.asarray(model.decode(latents))
        done += count
    return done / (time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int)
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    use_large_pages()
    use_compilation_cache()
    model = random_model(args.size) if args.size else sp.load("avatars64")
    spawned = multiprocessing.get_context("spawn")
    asked, answers = spawned.SimpleQueue(), spawned.SimpleQueue()
    with running(model) as (address, batches):
        spawned.Process(target=clients, args=(address, asked, answers)).start()
        asked.put(args.seconds / 4)
        alone = answers.get()
        ratio = statistics.median(alone) * plain(model, 1, args.seconds / 4)
        print(f"one client: {spread(alone)}, {ratio:.2f} times the model's own time")

        def together(seconds):
            asked.put(seconds)
            return answers.get()

        while CLIENTS // 2 not in batches:  # larger ones are compiled meanwhile
            together(1)
        sizes = batches.copy()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        times = together(args.seconds)
        asked.put(None)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rate = len(times) / args.seconds
        print(f"{CLIENTS} clients: {rate:.1f} results a second, {spread(times)}")
        print(f"batches by size: {dict(sorted((batches - sizes).items()))}")
        print(f"memory: {(after - before) / 1024:.0f} MiB more in {args.seconds:g} s")
    own = plain(model, CLIENTS, args.seconds / 2)
    print(f"batches of {CLIENTS}: {own:.1f} results a second; share {rate / own:.2f}")


if __name__ == "__main__":
    main()
