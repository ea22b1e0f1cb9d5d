"""A classifier of image attributes, which judges the effects of edits.

Each bundled model brings the classifier of its dataset, which
`cli/train_classifier.py` trained.

Axes: b batch, s side of an image, v values of an attribute.
"""

import importlib
import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from einops import rearrange, reduce

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import parse_json
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.core.safetensors_files import read_safetensors
from styleprompter_jax.core.seeds import key_of
from styleprompter_jax.data.labels import Labelled
from styleprompter_jax.data.loader import eval_batches
from styleprompter_jax.data.sources import TfdsSource
from styleprompter_jax.data.tables import is_table
from styleprompter_jax.images.find import EXTENSIONS
from styleprompter_jax.ops.metrics import resized
from styleprompter_jax.store import model_folder

CLASSIFIER = "classifier.safetensors"  # in the folder of a bundled model
BUNDLED = model_folder.BUNDLED / "avatars64" / CLASSIFIER
SIZE = 64  # side of the images that the network sees
STEPS, BATCH, LEARNING_RATE = 2000, 64, 2e-3
SHIFT = 3  # largest shift of an image in training, in pixels


class Network(nn.Module):
    """A convolutional network from images (b, 64, 64, 3) to (b, outputs) logits."""

    outputs: int

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images (b, 64, 64, 3) in [-1, 1] to logits (b, outputs)."""
        # No strides, because XLA:CPU computes gradients of strided convolutions slowly.
        x = rearrange(images, "b (h p) (w q) c -> b h w (p q c)", p=2, q=2)
        for features in (16, 32, 64, 64):
            x = nn.relu(nn.Conv(features, (3, 3))(x))
            x = reduce(x, "b (h p) (w q) c -> b h w c", "mean", p=2, q=2)
        x = rearrange(x, "b h w c -> b (h w c)")
        x = nn.relu(nn.Dense(64, name="hidden")(x))
        return nn.Dense(self.outputs, name="output")(x)


class Classifier:
    """A classifier of the attributes that images show.

    Attributes:
        values: for each attribute its v values: (False, True), or names; the name ""
            means that the attribute is not visible.
        params: parameters of `Network`.
    """

    def __init__(self, values: Mapping[str, tuple], params: Mapping):
        self.values = {name: tuple(values) for name, values in values.items()}
        self.params = jax.device_put(params)

    def probabilities(self, images: jax.Array | np.ndarray) -> dict[str, np.ndarray]:
        """Returns the probabilities of the values, (b, v) for each attribute.

        Args:
            images: (b, s, s, 3) in [-1, 1], of any size.
        """
        logits = np.asarray(_logits(self.params, jnp.asarray(images)))
        parts = np.split(logits, np.cumsum([*map(len, self.values.values())])[:-1], 1)
        return {
            name: np.asarray(nn.softmax(part))
            for name, part in zip(self.values, parts, strict=True)
        }

    def verdicts(self, images: jax.Array | np.ndarray) -> dict[str, np.ndarray]:
        """Returns the most likely value of each image, (b,) for each attribute."""
        return {
            name: np.asarray(self.values[name])[p.argmax(1)]
            for name, p in self.probabilities(images).items()
        }

    @staticmethod
    def varied_logits(params: Any, images: jax.Array, key: jax.Array) -> Any:
        """Computes logits (b, outputs) of images (b, s, s, 3), changed at random.

        They are shifted, mirrored, blurred, noisy, and lighter or darker, as in the
        training.
        """
        return _logits(params, _change(resized(images, SIZE), key))

    def save(self, path: str | os.PathLike) -> None:
        """Writes the classifier as safetensors in float16."""
        params = jax.tree.map(lambda a: np.asarray(a, np.float16), self.params)
        model_folder.save_arrays(path, params, {"values": json.dumps(self.values)})


def load_classifier(path: str | os.PathLike = BUNDLED) -> Classifier:
    """Reads a file of `Classifier.save`; by default the classifier of the avatars.

    Raises:
        StylePrompterError: if the file is missing, damaged or of another kind.
    """
    try:
        arrays, metadata = read_safetensors(path)
    except StylePrompterError as error:
        if os.path.isfile(path) and Path(path).suffix.lower() in EXTENSIONS:
            raise StylePrompterError(
                f"{path} is an image, not a classifier: name a file that "
                "`styleprompter_jax.cli.train_classifier` wrote."
            ) from error
        raise
    try:
        values = parse_json(metadata["values"])
        if not values or not all(map(_are_values, values.values())):
            raise ValueError("an attribute has no list of values")
        outputs = sum(map(len, values.values()))
    except (KeyError, TypeError, ValueError) as error:
        raise StylePrompterError(
            f"{path} is not a classifier ({error}): name a file that "
            "`styleprompter_jax.cli.train_classifier` wrote."
        ) from error
    params = model_folder.fit_variables(
        arrays, _shapes(outputs), f"{path} is not a classifier of this version"
    )["params"]
    return Classifier(values, params)


def train(
    images: np.ndarray,
    attributes: Mapping[str, np.ndarray],
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> Classifier:
    """Trains a classifier; the same arguments give the same classifier.

    The training shifts, mirrors and blurs the images, adds noise and changes their
    brightness, because the classifier must judge images of a generator.

    Args:
        images: (m, 64, 64, 3) in [-1, 1].
        attributes: (m,) booleans or strings for each name.
        steps: number of batches of 64.
        seed: seed of the weights, the order and the augmentation.

    Raises:
        StylePrompterError: if an attribute has only one value.
    """
    values: dict[str, tuple] = {}
    columns = []
    for name, labels in attributes.items():
        found, target = np.unique(labels, return_inverse=True)
        if len(found) < 2:
            raise StylePrompterError(f"{name!r} has only one value: leave it out.")
        values[name] = tuple(found.tolist())
        columns.append(target)
    targets = np.stack(columns, 1)
    sizes = tuple(map(len, values.values()))
    key = key_of(seed)
    sample = jnp.zeros((1, SIZE, SIZE, 3))
    params = Network(sum(sizes)).init(key, sample)["params"]
    state = _adam(steps).init(params)
    rng = np.random.default_rng(seed)
    order = np.concatenate(
        [rng.permutation(len(images)) for _ in range(-(-steps * BATCH // len(images)))]
    )
    with Progress(range(steps), unit="step") as bar:
        for step in bar:
            chosen = order[step * BATCH : (step + 1) * BATCH]
            params, state = _train_step(
                (sizes, steps),
                params,
                state,
                images[chosen],
                targets[chosen],
                jax.random.fold_in(key, step),
            )
    return Classifier(values, params)


def _are_values(values: Any) -> bool:
    """Returns whether these are valid values of an attribute; see `Classifier`."""
    if type(values) is not list or len(values) < 2:
        return False
    booleans = len(values) == 2 and values[0] is False and values[1] is True
    return booleans or all(type(value) is str for value in values)


@jax.jit
def _logits(params: Mapping, images: jax.Array) -> Any:
    outputs = len(params["output"]["bias"])
    return Network(outputs).apply({"params": params}, resized(images, SIZE))


def _shapes(outputs: int) -> dict:
    sample = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), np.float32)
    return jax.eval_shape(Network(outputs).init, jax.random.key(0), sample)


def _adam(steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))


@partial(jax.jit, static_argnums=0)
def _train_step(
    how: Any, params: Any, state: Any, images: jax.Array, targets: Any, key: jax.Array
) -> tuple[Any, Any]:
    sizes, steps = how
    images = _change(images, key)

    def loss(params: Any) -> jax.Array:
        logits: Any = Network(sum(sizes)).apply({"params": params}, images)
        parts = jnp.split(logits, np.cumsum(sizes)[:-1], 1)
        entropy = optax.softmax_cross_entropy_with_integer_labels
        return sum(entropy(p, t).mean() for p, t in zip(parts, targets.T, strict=True))

    updates, state = _adam(steps).update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, updates), state


def _change(images: jax.Array, key: jax.Array) -> jax.Array:
    """Changes images a little in many ways, as a generator might."""
    b, *_ = images.shape
    move, flip, blur, noise, amount, light = jax.random.split(key, 6)

    def share(key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, (b, 1, 1, 1))

    images = jnp.where(share(flip) < 0.5, images[:, :, ::-1], images)
    edges = [(0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)]
    start = jax.random.randint(move, (b, 2), 0, 2 * SHIFT + 1)
    images = jax.vmap(
        lambda image, at: jax.lax.dynamic_slice(image, (*at, 0), (SIZE, SIZE, 3))
    )(jnp.pad(images, edges, "edge"), start)
    blurred = sum(jnp.roll(images, k, 1) for k in (-1, 0, 1)) / 3
    blurred = sum(jnp.roll(blurred, k, 2) for k in (-1, 0, 1)) / 3
    images += share(blur) * (blurred - images)
    images += 0.1 * share(amount) * jax.random.normal(noise, images.shape)
    return images * (0.9 + 0.2 * share(light))


def read_split(
    name: str, split: str, data_dir: str | None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Reads images (m, 64, 64, 3) and attributes of a labelled TFDS dataset."""
    if is_table(name):
        raise StylePrompterError(
            f"{name} is a table, but the classifier learns from a TFDS dataset: build "
            "one, or use `directions --method labels`, which reads tables."
        )
    labelled = Labelled(TfdsSource(name, split, data_dir))
    if not labelled.names:
        raise StylePrompterError(f"{name} has no labels to learn.")
    batches = eval_batches(labelled, batch_size=100, image_size=SIZE)
    columns = jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
    return columns.pop("image"), labelled.attributes(columns)


def right(
    classifier: Classifier, images: np.ndarray, attributes: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Returns the share of images (m, 64, 64, 3) whose verdicts equal the labels."""
    verdicts = [
        classifier.verdicts(images[k : k + BATCH]) for k in range(0, len(images), BATCH)
    ]
    return {
        name: float(
            np.mean(np.concatenate([part[name] for part in verdicts]) == labels)
        )
        for name, labels in attributes.items()
    }


if __name__ == "__main__":  # the program's name in version 0.1
    raise SystemExit(
        importlib.import_module("styleprompter_jax.cli.train_classifier").main()
    )
