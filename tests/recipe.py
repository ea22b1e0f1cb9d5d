"""Reads the fixtures in tests/data: the results of the published PyTorch code.

``<case>.npz`` holds inputs and outputs.  ``<case>.json`` holds, in place of the
weights, how to draw them: for each key of the state dict its shape, a mean, a
standard deviation and a kind, from a generator seeded by the case's seed and the
CRC-32 of the key.
"""

import functools
import json
import pathlib
import zlib

import numpy as np

DATA = pathlib.Path(__file__).parent / "data"
# (case, name) -> the largest relative error that tests found: `pytest --differences`.
differences: dict[tuple[str, str], float] = {}
_known: dict[int, tuple] = {}  # arrays of the fixtures by identity: case, name, array


@functools.cache
def manifest(case):
    """The JSON of a case: seed, config, tensors and buffers."""
    return json.loads((DATA / f"{case}.json").read_text())


def arrays(case):
    """Inputs and outputs of a case, by name."""
    with np.load(DATA / f"{case}.npz") as file:
        found = {name: array.copy() for name, array in file.items()}
    for name, array in found.items():
        _known[id(array)] = case, name, array  # kept, so that no other gets its id
    return found


def normal(seed, *shape):
    """An input that was too large to keep: standard normal float32."""
    return np.random.default_rng(int(seed)).standard_normal(shape, np.float32)


def state_dict(case, prefix=""):
    """The weights of a case whose keys start with ``prefix``, which is cut off."""
    recipe = manifest(case)
    return {
        row[0].removeprefix(prefix): _draw(recipe["seed"], *row)
        for row in recipe["tensors"]
        if row[0].startswith(prefix)
    }


def damped(state):
    """Scales the weights of IR-SE50 in place, so that its blocks add a tenth.

    With the recipe's weights and the generator's image, the inputs of the last gates
    are in the thousands, and the gates switch like steps. Scaled, the inputs are below
    2, and training can follow the gradients.
    """
    for key in state:
        if key.endswith("res_layer.4.weight"):
            state[key] *= np.float32(0.1)
    return state


def same_layout(arrays, case):
    """Whether these are all tensors and buffers of a case, in shape and dtype."""
    recipe = manifest(case)
    expected = {key: (shape, dtype) for key, shape, dtype in recipe["buffers"]}
    for key, shape, _, _, kind in recipe["tensors"]:
        expected[key] = (shape, "int64" if kind == "int" else "float32")
    return expected == {k: (list(a.shape), a.dtype.name) for k, a in arrays.items()}


def num_parameters(case, prefix=""):
    """How many numbers the tensors under ``prefix`` hold."""
    rows = manifest(case)["tensors"]
    return sum(int(np.prod(row[1])) for row in rows if row[0].startswith(prefix))


def relative_error(a, b):
    """Largest absolute difference over the largest absolute value of ``b``."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape, (a.shape, b.shape)
    error = np.abs(a - b).max() / np.abs(b).max()
    owner = b if b.base is None else b.base  # of a view
    if id(owner) in _known:
        case, name, _ = _known[id(owner)]
        differences[case, name] = max(error, differences.get((case, name), 0.0))
    return error


def _draw(seed, key, shape, mean, std, kind):
    if kind == "int":
        return np.full(shape, int(mean), np.int64)
    if kind == "const":
        return np.full(shape, mean, np.float32)
    generator = np.random.default_rng([seed, zlib.crc32(key.encode())])
    noise = generator.standard_normal(shape, np.float32)
    if kind == "abs":
        noise = np.abs(noise)
    return np.float32(mean) + np.float32(std) * noise
