"""Measures how well a model inverts images.

    result = evaluate(load("avatars64"), eval_batches(source, ...))
    result["refined"]["psnr"]

Axes: b images of a batch, n images in all, s side of the encoder's images, t side of
the compared images.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax.core.batches import pad, take
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.values import whole
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.images.files import resize, to_float, to_uint8
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.losses import PERCEPTUAL
from styleprompter_jax.ops import metrics
from styleprompter_jax.ops.frechet import frechet_distance, gaussian, layout_features
from styleprompter_jax.ops.kernel_distance import kernel_distance

LARGEST = 256  # largest default side of compared images
SMALLEST = 32  # smallest side for the metrics
DEPTHS = ("unquantised", "8bit")
METRICS = ("mse", "psnr", "ssim", "ms_ssim", *(p.metric for p in PERCEPTUAL.values()))


def evaluate(model: StylePrompter, batches: Iterable, **options: Any) -> dict:
    """Inverts images, compares the results with them, and returns means of `measure`.

    Args:
        model: as for `measure`.
        batches: as for `measure`.
        **options: as for `measure`.

    Returns:
        {"num_images": n, "w_plus": {...}, "refined": {...}}: the mean of each metric
        over all images, and the distances between the sets, of unquantised results;
        "refined" only if the model has a refiner.
    """
    measured = measure(model, batches, **options)
    return {"num_images": len(measured.w_plus)} | measured.means()["unquantised"]


@dataclasses.dataclass(frozen=True)
class Measured:
    """The results of `measure`.

    Attributes:
        values: [depth][part][metric]: float32 (n,).
        distances: [depth][part][metric]: a number for all images together.
        w_plus: float32 (n, codes, w_dim), the codes of the n images.
    """

    values: dict
    distances: dict
    w_plus: np.ndarray

    def means(self) -> dict:
        """Returns [depth][part][metric] as JSON numbers; None for infinite ones."""
        return {
            depth: {
                part: {name: _number(np.mean(v)) for name, v in values.items()}
                | {name: _number(v) for name, v in self.distances[depth][part].items()}
                for part, values in parts.items()
            }
            for depth, parts in self.values.items()
        }


def measure(
    model: StylePrompter,
    batches: Iterable,
    *,
    size: int | None = None,
    networks: Mapping | None = None,
    refine: bool | None = None,
    iterations: int | None = None,
    batch_size: int | None = None,
    **decoding: Any,
) -> Measured:
    """Inverts images, and compares the results with them.

    It compares results at two depths: "unquantised", as the generator renders them, and
    "8bit", clipped and rounded as in the PNG that `styleprompter invert` writes. It
    resizes results of another size without aliasing, with a triangle filter that widens
    as the image shrinks.

    Args:
        model: a model with an encoder; the refined half of the results needs a refiner.
        batches: batches of images (b, h, w, 3) in [-1, 1], as the encoder reads them,
            or dicts with such an "image" and optionally a "target" (b, h', t, 3) for
            the comparison, and "latents" as for `latents_of`. The last batch may be
            smaller; the function pads it.
        size: t, the width of the compared images; by default the generator's size, at
            most 256.
        networks: results of `network_folder.load_network` by kind ("lpips", "arcface",
            "moco", "inception"); the function skips the metrics of missing kinds.
        refine: False skips the refined half; None measures it if the model has one.
        iterations: passes of a ReStyle encoder; None for the model's own number.
        batch_size: rows to which each batch is padded; None for those of the first.
        decoding: options of `StylePrompter.decode`, the same for all batches.

    Returns:
        The metrics of each image: "mse" (on the [-1, 1] scale), "psnr" (decibels),
        "ssim", "ms_ssim" (with as many of the five scales as fit), "lpips",
        "id_similarity" and "moco_similarity" (cosines). For two images or more, also
        distances of the whole sets: "fid" and "kid", and "frechet_layout", the Fréchet
        distance on `layout_features`, which needs no network, but a height and a
        width that 8 divides.

    Raises:
        StylePrompterError: if images cannot be compared at the size, or if `batches`
            is empty.
    """
    shape = comparison_shape(model, comparison_size(model, size))
    if batch_size is not None:
        batch_size = whole(batch_size, "batch_size", 1)
    networks = networks or {}
    parts = ["w_plus"]
    if calls.refines(model.config, refine):
        parts.append("refined")
    keys = [(depth, part) for depth in DEPTHS for part in parts]
    values: dict[tuple[str, str], list] = {key: [] for key in keys}
    sets: dict[Any, list] = {key: [] for key in ["target", *keys]}
    w_plus = []
    for batch in batches:
        batch = batch if isinstance(batch, dict) else {"image": batch}
        count = len(batch["image"])
        batch_size = batch_size or count
        latents = latents_of(model, batch, batch_size, iterations)
        target = pad(batch.get("target", batch["image"]), batch_size)
        target = metrics.resized(model.devices.split(jnp.asarray(target)), shape)
        of_target = _network_features(networks, target)
        sets["target"].append(_set_features(networks, target, count))
        for part in parts:
            made = model.decode(latents, refine=part == "refined", **decoding)
            made = model.shown(made)
            for depth in DEPTHS:
                outputs = model.devices.split(_at_depth(made, depth, shape))
                found = metrics.compare(outputs, target)
                found |= _scores(_network_features(networks, outputs), of_target)
                values[depth, part].append(
                    {k: take(found[k], count) for k in METRICS if k in found}
                )
                sets[depth, part].append(_set_features(networks, outputs, count))
        w_plus.append(take(latents.w_plus, count))
    if not w_plus:
        raise StylePrompterError("`batches` has no images: give at least one.")
    joined = {key: _concatenate(rows) for key, rows in sets.items()}
    target = {name: (f, _gaussian(f)) for name, f in joined.pop("target").items()}

    def nested(made: Callable[[Any], dict]) -> dict:
        return {d: {part: made((d, part)) for part in parts} for d in DEPTHS}

    return Measured(
        nested(lambda key: _concatenate(values[key])),
        nested(lambda key: _set_distances(joined[key], target)),
        np.concatenate(w_plus),
    )


def latents_of(
    model: StylePrompter, batch: Mapping, size: int, iterations: int | None = None
) -> Latents:
    """Returns the latents of a batch: those that it has, or else the encoder's.

    Args:
        model: a model with an encoder.
        batch: has an "image" (b, h, w, 3) in [-1, 1], and may have the "latents" of b
            images. From these it takes the codes and the changes of generators. The
            maps for the refiner are the encoder's maps of the image.
        size: rows of the result, b or more; see `pad`.
        iterations: passes of a ReStyle encoder; None for the model's own number.
    """
    given = batch.get("latents")
    if given is not None and model.config.refiner is None:
        return pad(given, size)
    found = model.encode(pad(batch["image"], size), iterations)
    if given is None:
        return found
    return dataclasses.replace(pad(given, size), features=found.features)


def scores(
    outputs: jax.Array, target: jax.Array, networks: Mapping
) -> dict[str, jax.Array]:
    """Computes the metrics of `measure` that exist for each image, (b,) each.

    Args:
        outputs: (b, t, t, 3) in [-1, 1].
        target: of that shape.
        networks: as for `measure`.
    """
    found = metrics.compare(outputs, target)
    pair = (_network_features(networks, images) for images in (outputs, target))
    return {k: v for k, v in (found | _scores(*pair)).items() if k in METRICS}


def comparison_size(model: StylePrompter, size: int | None = None) -> int:
    """Returns the width t of compared images; see `measure`.

    Raises:
        StylePrompterError: if the size is out of range, or the model reads no images,
            only sketches or label maps.
    """
    calls.check_reads_pictures(model.config)
    largest = model.config.generator.image_size
    size = size or min(LARGEST, largest)
    if not SMALLEST <= size <= largest:
        raise StylePrompterError(
            f"Images of {largest} px cannot be compared at {size} px: choose a size "
            f"from {SMALLEST} to {largest}."
        )
    return size


def comparison_shape(model: StylePrompter, size: int) -> tuple[int, int]:
    """Returns (h, w) of the compared images; oblong if the model reads oblong ones."""
    height, width, _ = model.config.input_shape
    return size * height // width, size


def _at_depth(made: Any, depth: str, shape: tuple[int, int]) -> Any:
    if depth == "unquantised":
        return metrics.resized(made, shape)
    pixels = (resize(image, shape) for image in to_uint8(made))
    return jnp.asarray(to_float(np.stack(list(pixels))))


def _network_features(networks: Mapping, images: Any) -> dict:
    """Returns the features of images by loss, for the losses with a network."""
    return {
        name: apply(*networks[loss.kind], images)
        for name, loss in PERCEPTUAL.items()
        if loss.kind in networks
    }


def _scores(a: Mapping, b: Mapping) -> dict:
    return {
        PERCEPTUAL[name].metric: PERCEPTUAL[name].score(features, b[name])
        for name, features in a.items()
    }


def _set_features(networks: Mapping, images: Any, count: int) -> dict:
    """Returns the features (count, d) for the distances of sets, by name."""
    found = {}
    if images.shape[1] % 8 == images.shape[2] % 8 == 0:
        found["layout"] = _layout(images)
    if "inception" in networks:
        found["inception"] = apply(*networks["inception"], images)
    return take(found, count)


def _set_distances(found: Any, target: Any) -> dict:
    distances = {}
    for name, features in found.items():
        of_target, its_gaussian = target[name]
        if len(features) < 2:
            continue
        distance = frechet_distance(its_gaussian, gaussian(features))
        if name == "layout":
            distances["frechet_layout"] = distance
        else:
            distances["fid"] = distance
            distances["kid"] = kernel_distance(of_target, features)
    return distances


def _gaussian(features: Any) -> Any:
    return gaussian(features) if len(features) > 1 else None


@partial(jax.jit, static_argnums=0)
def apply(module: nn.Module, variables: Mapping, images: Any) -> Any:
    """Applies a fixed network to images."""
    return module.apply(variables, images)


_layout = jax.jit(layout_features)


def _concatenate(trees: Any) -> Any:
    return {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
