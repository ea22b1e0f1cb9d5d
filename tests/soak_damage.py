"""Reads damaged files of users: `python tests/soak_damage.py [COUNT] [SEED]`.

The files are a model folder, a classifier, latents, directions, a table of labels,
landmarks, the record of a crop, and the config and metrics of a run. Each has flipped
bits, a cut end, moved bytes, or lies in its JSON. A file with a SHA-256 must be
refused, or give its original content. Every other file must be read, or be refused with
one sentence that names it, within 5 seconds and a gigabyte. `make soak` runs 3,000
cases, and the tests run a sample.
"""

import collections
import json
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import safetensors.numpy
from conftest import TINY, random_directions, random_variables
from soak_files import _change_bytes

from styleprompter_jax.app.unalign import _read_record
from styleprompter_jax.convert.directions import read_direction
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.editing.latents import Latents, load_named
from styleprompter_jax.evaluation import classifier
from styleprompter_jax.images.landmarks import read_landmarks
from styleprompter_jax.search.labelled import read_csv
from styleprompter_jax.store import model_folder
from styleprompter_jax.training.run import workdir
from styleprompter_jax.training.run.report import _keep_lines

SECONDS, GIGABYTE = 5, 2**30
LIES = (
    *(0, -1, 2.5, 10**9, 10**400, 1e300, float("nan"), float("inf"), True, None),
    *("", "8", "\0", "\ud800", [], [[]], [1, None], {}, {"a": {}}, [10**9] * 99),
)


def make(folder):
    """Writes the files; returns the function that reads each, by name."""
    model = model_folder.save_model(
        folder / "model", TINY, random_variables(TINY), directions=random_directions()
    )
    shutil.copy(classifier.BUNDLED, folder)
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((3, 8, 16)).astype(np.float32)
    Latents(codes, (codes[..., None],)).save(
        folder / "latents.npz", features=True, names=["a", "b", "c"]
    )
    np.save(folder / "smile.npy", codes[0])
    safetensors.numpy.save_file({"w": codes[0]}, folder / "hat.safetensors")
    (folder / "labels.csv").write_text(
        "image,smile,hair\na.png,1,red\nb.png,0,blond\nc.png,NA,red\n"
    )
    run = folder / "run"
    run.mkdir()
    rows = [{"step": k, "split": "train", "loss": 0.5} for k in range(9)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run / "metrics.jsonl").write_text(text)
    config = {"stage": "encoder", "data": {"name": "avatars"}, "total_steps": 9}
    (run / "config.json").write_text(json.dumps(config))

    points = {"a.png": [[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]]}
    (folder / "points.json").write_text(json.dumps(points))
    record = {"photograph": "a.png", "size": [99, 99]}
    record["quad"] = [[10, 10], [10, 90], [90, 90], [90, 10]]
    (folder / "crop.json").write_text(json.dumps(record))

    def metrics():
        _keep_lines(run / "metrics.jsonl", 5, False)
        return (run / "metrics.jsonl").read_bytes()

    def directions(name):
        return lambda: read_direction(folder / name, 8, 16).vector

    def load():
        return model_folder.load_model(model)

    return {
        **{f"model/{name}": load for name in ("config.json", "model.safetensors")},
        "model/directions.safetensors": load,
        "classifier.safetensors": lambda: (
            classifier.load_classifier(folder / "classifier.safetensors").params
        ),
        "latents.npz": lambda: load_named(folder / "latents.npz"),
        "smile.npy": directions("smile.npy"),
        "hat.safetensors": directions("hat.safetensors"),
        "labels.csv": lambda: read_csv(str(folder / "labels.csv")),
        "points.json": lambda: read_landmarks(folder / "points.json", [Path("a.png")]),
        "crop.json": lambda: _read_record(folder / "crop.json"),
        "run/metrics.jsonl": metrics,
        "run/config.json": lambda: workdir.check_config(run, config),
    }


SEALED = ("model/", "classifier")


def damaged(content, rng):
    """A changed copy of a file."""
    if content.startswith(b"{") and rng.random() < 0.7:
        try:
            tree = json.loads(content)
        except ValueError:  # lines of them
            return _change_bytes(content, rng)
        node, key = tree, None
        while isinstance(node, dict) and node:
            parent, key = node, rng.choice(list(node))
            node = node[key]
        parent[key] = LIES[rng.integers(len(LIES))]
        return json.dumps(tree).encode()
    return _change_bytes(content, rng)


def flat(value):
    """A result as a text that differs where it does."""
    if hasattr(value, "shape"):
        return f"{np.asarray(value).dtype}{np.asarray(value).tolist()}"
    if isinstance(value, dict):
        return str({key: flat(value[key]) for key in sorted(value)})
    if isinstance(value, list | tuple):
        return str([flat(item) for item in value])
    if hasattr(value, "__dict__"):
        return flat(vars(value))
    return repr(value)


def main(count=3000, seed=0):
    rng, outcomes = np.random.default_rng(seed), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        readers = make(folder)
        whole = {name: (folder / name).read_bytes() for name in readers}
        expected = {name: flat(read()) for name, read in readers.items()}
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (used + GIGABYTE, hard))
        for k in range(count):
            name = list(readers)[k % len(readers)]
            content = damaged(whole[name], rng)
            (folder / name).write_bytes(content)
            start = time.perf_counter()
            try:
                result = flat(readers[name]())
                same = result == expected[name]
                outcome = "as before" if same else "read"
                assert same or not name.startswith(SEALED), f"{name}: read as good"
            except StylePrompterError as error:
                outcome, message = "refused", str(error)
                assert str(folder) in message, message
                assert len(message) < 2000, message
                assert all(line.isprintable() for line in message.split("\n")), message
            assert time.perf_counter() - start < SECONDS, f"{name}: slow"
            outcomes[outcome] += 1
            (folder / name).write_bytes(whole[name])
    print(", ".join(f"{n:,} {outcome}" for outcome, n in outcomes.most_common()))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
