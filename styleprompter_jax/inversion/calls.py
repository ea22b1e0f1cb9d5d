"""Checks of the arguments of a model's methods, before any computation.

Axes: b batch, s side of an image, n codes.
"""

import logging
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from styleprompter_jax.core.arrays import as_numbers
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.values import plural, shown
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.inversion.noise import noise_rngs
from styleprompter_jax.models.inverter import DTYPES, StylePrompterConfig
from styleprompter_jax.ops.framing import framed
from styleprompter_jax.store.model_folder import mean_shapes, model_shapes

_FAR = 8.0  # beyond [-1, 1] and the little by which inversions exceed it

log = logging.getLogger(__name__)

_MISSING = {
    "encoder": "no encoder: train one for its generator (`styleprompter train`, "
    'stage "encoder"), or convert a checkpoint that has one',
    "refiner": "no refiner: decode W+ alone (refine=False, --no-refine), or train "
    'SMART (`styleprompter train`, stage "smart")',
}


def require(config: StylePrompterConfig, part: str) -> Any:
    """Returns the config of a part; refuses a model without this part."""
    found = getattr(config, part)
    if found is None:
        raise StylePrompterError(f"This model has {_MISSING[part]}.")
    return found


def refines(
    config: StylePrompterConfig,
    refine: bool | None,
    options: Mapping | None = None,
) -> bool:
    """Returns whether a call uses the refiner.

    Args:
        config: the configuration of the model.
        refine: None uses the refiner if the model has one or ``options`` are given.
        options: options of a refiner.

    Raises:
        StylePrompterError: if the call asks for a refiner, and the model has none.
    """
    if refine is not None and not isinstance(refine, bool | np.bool | int):
        raise StylePrompterError(
            f"refine is {shown(refine)}: it must be True, False or None."
        )
    if refine is None:
        refine = config.refiner is not None or bool(options)
    if refine:
        require(config, "refiner")
    return bool(refine)


def check_variables(config: StylePrompterConfig, variables: Any) -> None:
    """Checks that variables are {"params": ..., "const": ...} and fit the config."""
    if not isinstance(config, StylePrompterConfig):
        raise StylePrompterError(
            f"The config is {shown(config)}: give a StylePrompterConfig."
        )
    expected = model_shapes(config)
    if not isinstance(variables, Mapping) or not expected.keys() <= variables.keys():
        raise StylePrompterError(
            'The variables must be {"params": ..., "const": ...}: give them as the '
            "module's init returns them."
        )
    shapes = {
        collection: {key: np.shape(leaf) for key, leaf in _flat(tree).items()}
        for collection, tree in expected.items()
    }
    for collection, known in shapes.items():
        found = {k: np.shape(leaf) for k, leaf in _flat(variables[collection]).items()}
        for key, shape in mean_shapes(config).items():
            if found.get(key) == shape:
                known[key] = shape
        if wrong := sorted(k for k in known | found if known.get(k) != found.get(k)):
            raise StylePrompterError(
                f"{len(wrong)} of the variables do not fit the config, such as "
                f"{wrong[0]}: its shape is {found.get(wrong[0])}, but must be "
                f"{known.get(wrong[0])}."
            )


def _flat(tree: Any) -> dict:
    return flatten_dict(tree, sep="/") if isinstance(tree, Mapping) else {"": tree}


def check_dtype(dtype: Any) -> None:
    """Refuses a dtype that no model computes in."""
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise StylePrompterError(
            f"dtype is {shown(dtype)}: it must be one of {', '.join(DTYPES)}."
        )


def check_images(config: StylePrompterConfig, images: Any) -> jax.Array | np.ndarray:
    """Checks images (b, h, w, c) for the encoder, or else of the generator's size."""
    h, w, c = config.input_shape
    array = as_numbers(images, "The images")
    if array.ndim != 4 or array.shape[1:] != (h, w, c):
        raise StylePrompterError(
            f"The images are {array.shape}, but this model reads (b, {h}, {w}, {c}): "
            + (
                "read them with read_images(paths, model.image_size)."
                if c == 3
                else "give `encode` such arrays, which InputReader of "
                "styleprompter_jax.images.inputs makes from files."
            )
        )
    _check_floats(images, array)
    if c == 3 and isinstance(array, np.ndarray):
        _warn_of_range(array)
    return array


def _warn_of_range(images: np.ndarray) -> None:
    """Warns of images in [0, 1]; nearly every image in [-1, 1] has negative numbers."""
    if images[0].min() < 0:  # the usual case, decided by one image
        return
    least, most = images.min(), images.max()
    if 0 <= least < most:  # images of one colour, such as zeros, are placeholders
        log.warning(
            "The images are floats from %.3g to %.3g, but this model reads floats in "
            "[-1, 1]: read them with read_images, or scale them.",
            least,
            most,
        )


def target_size(config: StylePrompterConfig) -> tuple[int, int]:
    """Returns (height, width) of the part of a generated image that inputs show."""
    side = config.generator.image_size
    height, width, channels = config.input_shape
    if channels != 3:
        return side, side
    return min(side, side * height // width), min(side, side * width // height)


def check_targets(config: StylePrompterConfig, images: Any) -> jax.Array | np.ndarray:
    """Checks targets (b, h, w, 3) of the size of the generator or the encoder."""
    height, width = target_size(config)
    shapes = {(height, width, 3), config.input_shape}
    array = as_numbers(images, "The images")
    fits = array.ndim == 4 and array.shape[3] == 3 and array.shape[1:] in shapes
    if not fits:
        size = height if height == width else (height, width)
        raise StylePrompterError(
            f"The images are {array.shape}, but this model makes (b, {height}, {width},"
            f" 3): read them with read_images(paths, {size})."
        )
    _check_floats(images, array)
    return array


def _check_floats(images: Any, array: jax.Array | np.ndarray) -> None:
    if not len(array):
        raise StylePrompterError("There are no images: give one or more.")
    kind = (images if isinstance(images, jax.Array) else np.asarray(images)).dtype
    found = "" if jnp.issubdtype(kind, jnp.floating) else f"are {kind}"
    # Like `as_numbers`, this does not wait for an array on a device.
    if isinstance(array, np.ndarray) and (most := np.abs(array).max()) > _FAR:
        found = found or f"have numbers up to {most:g}"
    if found:
        raise StylePrompterError(
            f"The images {found}, but this model reads floats in [-1, 1]: read them "
            "with read_images(paths, model.image_size), or scale them."
        )


def check_pictures(config: StylePrompterConfig, images: Any) -> jax.Array | np.ndarray:
    """Checks images as `check_images`, for a comparison with the output."""
    check_reads_pictures(config)
    return check_images(config, images)


def check_reads_pictures(config: StylePrompterConfig) -> None:
    """Refuses a model that reads sketches or maps of labels."""
    *_, channels = config.input_shape
    if channels != 3:
        raise StylePrompterError(
            f"This model reads inputs of {plural(channels, 'channel')}, which cannot "
            "be compared with images: use a model that reads images."
        )


def check_outputs(config: StylePrompterConfig, images: Any) -> jax.Array | np.ndarray:
    """Checks outputs (b, s, s, 3), and crops them as the encoder reads images."""
    array, size = as_numbers(images, "The images"), config.generator.image_size
    if array.ndim != 4 or array.shape[1:] != (size, size, 3):
        raise StylePrompterError(
            f"The images are {array.shape}, but this model makes (b, {size}, {size}, "
            "3): give the result of `decode`."
        )
    height, width, _ = config.input_shape
    return framed(array, height, width)


def check_z(
    config: StylePrompterConfig, z: Any, truncation_psi: Any
) -> tuple[Any, Any]:
    """Checks z and psi; returns z float32 (b, z_dim), and psi () or (b, 1)."""
    z = as_numbers(z, "The z")
    z_dim = config.generator.z_dim
    if z.ndim != 2 or z.shape[1] != z_dim or not len(z):
        raise StylePrompterError(f"z is {z.shape}, but expected (b, {z_dim}).")
    psi = as_numbers(truncation_psi, "truncation_psi's numbers")
    if psi.ndim and psi.shape not in ((len(z), 1), (1,)):
        raise StylePrompterError(
            f"truncation_psi is {shown(truncation_psi)}: give a number, or "
            f"({len(z)}, 1)."
        )
    return z, psi


def check_codes(config: StylePrompterConfig, codes: Any, shared: bool = True) -> Any:
    """Checks codes (b, n, w_dim), or (b, w_dim) if ``shared``; returns the former."""
    n, w_dim = config.generator.num_codes, config.generator.w_dim
    if isinstance(codes, Latents):
        raise StylePrompterError(
            "The codes are Latents: give latents.w_plus, or decode(latents, "
            "refine=False)."
        )
    array = as_numbers(codes, "The codes")
    if shared and array.ndim == 2 and array.shape[1] == w_dim:
        array = jnp.repeat(array[:, None], n, 1)
    if array.ndim != 3 or array.shape[1:] != (n, w_dim):
        raise StylePrompterError(
            f"The codes are {array.shape}, but this model's are (b, {n}, {w_dim})."
        )
    if not len(array):
        raise StylePrompterError("There are no codes: give those of one image or more.")
    return array


def check_latents(config: StylePrompterConfig, latents: Any, refine: bool) -> Latents:
    """Checks latents of this model; a refined call also needs their features."""
    if not isinstance(latents, Latents):
        raise StylePrompterError(
            f"The latents are {shown(latents)}: give the result of `encode` or "
            "`Latents.load`, or give codes alone to `synthesize`."
        )
    codes = check_codes(config, latents.w_plus, shared=False)
    if not refine:
        return Latents(codes)
    title, maps = require(config, "refiner").title, latents.features
    reads_none = config.encoder is not None and not config.encoder.feature_shapes
    if not isinstance(maps, tuple | list) or not (maps or reads_none):
        way = "encode the image (`invert --features` stores them), or give"
        if latents.changes is not None:
            way = (
                "repeat the `invert --tune` call with --features, which adds them "
                f"and does not tune again, or, if you tuned without {title}, give"
            )
        raise StylePrompterError(
            f"The latents hold no feature maps for {title} to read: {way} refine=False "
            "(--no-refine)."
        )
    features = tuple(as_numbers(one, "The features") for one in maps)
    found = [maps.shape for maps in features]
    if config.encoder is not None:
        expected = [(len(codes), *shape) for shape in config.encoder.feature_shapes]
    else:
        expected = [(len(codes), *shape[1:]) for shape in found]
    if found != expected:
        raise StylePrompterError(
            f"The features are {_shapes(found)}, but {title} reads "
            f"{_shapes(expected)}: encode the images with this model, and change "
            "features as you change codes."
        )
    return Latents(codes, features)


def check_fit(
    config: StylePrompterConfig,
    latents: Any,
    count: int,
    refine: bool | None,
    noise_mode: str,
    options: Mapping,
) -> tuple[Latents, bool, dict]:
    """Checks the arguments of a fit of codes or of a generator to images.

    Args:
        config: of the model.
        latents: the start, latents of `count` images.
        count: number of images.
        refine: whether to fit with the refiner; None leaves it to the model.
        noise_mode: "const" or "none".
        options: options of the refiner.

    Returns:
        The latents, whether to refine, and the refiner's options.
    """
    refine = refines(config, refine, options)
    found = check_latents(config, latents, refine)
    if len(found) != count:
        raise StylePrompterError(
            f"There are {count} images but the latents of {len(found)}: give the "
            "latents of each image."
        )
    if noise_mode == "random":
        raise StylePrompterError(
            'A fit to random noise is not possible: use noise_mode "const" or "none".'
        )
    noise_rngs(noise_mode, None)
    return found, refine, check_options(config, options, count)


_COUNTS = {1: "a number", 2: "two numbers", 3: "three numbers", 4: "four numbers"}


def check_options(config: StylePrompterConfig, options: Mapping, batch: int) -> dict:
    """Returns the refiner's options of a call; defaults replace missing ones.

    Args:
        config: the configuration of the model; a model without a refiner has none.
        options: the options by name; see `RefinerBase.options`.
        batch: b, the number of images.

    Returns:
        By name, float32 () or (b,), or a tuple of these.

    Raises:
        StylePrompterError: if the refiner does not have an option, or an option cannot
            have its value.
    """
    if config.refiner is None:
        return {}
    defaults = config.refiner.options
    if unknown := sorted(options.keys() - defaults.keys()):
        raise StylePrompterError(
            f"There is no option {unknown[0]}: this model's refiner has "
            f"{', '.join(defaults) or 'none'}."
        )
    return {
        name: _option(name, options.get(name, default), default, batch)
        for name, default in defaults.items()
    }


def check_edit_options(config: StylePrompterConfig, options: Mapping) -> dict:
    """Returns the refiner's options of an edit, as Python numbers.

    Args:
        config: the configuration of the model; a model without a refiner has none.
        options: the options of the call, by name. The refiner's own options for edits
            replace the missing ones: SMART's beta is (0.5, 0.5).

    Raises:
        StylePrompterError: as in `check_options`; also if the model has no refiner and
            the call has options.
    """
    if config.refiner is None and options:
        raise StylePrompterError(
            f"This model has no refiner, so its directions have no {min(options)}: "
            "leave out the refiner's options (--beta, --refiner)."
        )
    own = {} if config.refiner is None else config.refiner.edit_options
    return jax.tree.map(float, check_options(config, {**own, **options}, 0))


def _option(name: str, value: Any, default: Any, batch: int) -> Any:
    """Returns an option of a refiner, checked against its default."""
    count = len(default) if isinstance(default, tuple) else 1
    what = _COUNTS.get(count, f"{count} numbers")
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        numbers = tuple(value) if isinstance(default, tuple) else (value,)
        if len(numbers) != count:
            raise ValueError
    except (TypeError, ValueError) as error:
        raise StylePrompterError(f"{name} is {what}, not {shown(value)}.") from error
    arrays = tuple(as_numbers(number, f"{name}'s numbers") for number in numbers)
    if any(array.shape not in ((), (batch,)) for array in arrays):
        arrays_of = "an array" if count == 1 else f"{what.split()[0]} arrays"
        raise StylePrompterError(
            f"{name} is {what}, or {arrays_of} of one for each of {batch} images, "
            f"not {shown(value)}."
        )
    return arrays if isinstance(default, tuple) else arrays[0]


def _shapes(shapes: Any) -> str:
    return ", ".join(map(str, shapes))
