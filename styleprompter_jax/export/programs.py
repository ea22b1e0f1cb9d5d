"""The programs of an export: functions of arrays that another program calls.

    encode(image)                       -> w_plus, features_0, ...
    edit(w_plus, strengths)             -> edited
    decode(w_plus, features_0, ..., beta) -> image
    synthesize(w_plus)                  -> image, without the refiner
    map(z, psi)                         -> w_plus

A model's parts decide which programs it has. The first axis of each array is the batch.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from styleprompter_jax.editing.directions import Direction, combine
from styleprompter_jax.images.inputs import default_kind
from styleprompter_jax.models.inverter import StylePrompter, StylePrompterConfig

ENCODE, EDIT, DECODE, SYNTHESIZE, MAP = NAMES = (
    *("encode", "edit", "decode", "synthesize", "map"),
)
W_PLUS, IMAGE = "w_plus", "image"
# For each kind of input: what `encode` reads, and its range.
_ENCODED = {
    "picture": ("what to encode", (-1.0, 1.0)),
    "sketch": ("a drawing to encode: black is 0, white is 1", (0.0, 1.0)),
    "labels": ("a label map to encode, one-hot: 1 in the label's channel", (0.0, 1.0)),
}


@dataclasses.dataclass(frozen=True)
class Input:
    """An input or output of a program.

    Attributes:
        shape: the shape without the batch.
        dtype: "float32" or "bool".
        range: the smallest and the largest useful value; None for any value.
        about: a description for people.
    """

    shape: tuple[int, ...]
    about: str
    range: tuple[float, float] | None = None
    dtype: str = "float32"

    def spec(self, batch: Any) -> jax.ShapeDtypeStruct:
        """Returns the shape and dtype for a batch."""
        return jax.ShapeDtypeStruct((batch, *self.shape), np.dtype(self.dtype))


@dataclasses.dataclass(frozen=True)
class Program:
    """A function of weights and arrays.

    Attributes:
        function: function(weights, *inputs) returns a tuple of arrays.
        inputs: the inputs by name, in the order of the call.
        outputs: the outputs by name, in the order of the results.
    """

    function: Callable[..., tuple]
    inputs: Mapping[str, Input]
    outputs: Mapping[str, Input]

    def specs(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns the inputs for a batch of any size."""
        (batch,) = export.symbolic_shape("batch")
        return {name: each.spec(batch) for name, each in self.inputs.items()}


def programs(
    config: StylePrompterConfig, directions: Mapping[str, Direction]
) -> dict[str, Program]:
    """Returns the programs of a model, by name.

    Args:
        config: the model's architecture.
        directions: the directions of `edit`, in the order of its strengths.
    """
    module, generator = StylePrompter(config), config.generator
    codes = Input(
        (generator.num_codes, generator.w_dim), "codes W+, one for each layer"
    )
    found = {}
    if config.encoder is not None:
        found[ENCODE] = _encoding(module, codes)
    if directions:
        limits = [limit for one in directions.values() for limit in one.range]
        strengths = Input(
            (len(directions),),
            "of each direction, 0 for no change; `directions` has the ranges",
            (min(limits), max(limits)),
        )
        found[EDIT] = Program(
            _edit, {W_PLUS: codes, "strengths": strengths}, {"edited": codes}
        )
    if config.refiner is not None and config.encoder is not None:
        found[DECODE] = _decoding(module, codes)
    found[SYNTHESIZE] = Program(
        partial(_synthesize, module), {W_PLUS: codes}, {IMAGE: _image(config)}
    )
    found[MAP] = Program(
        partial(_map, module),
        {
            "z": Input((generator.z_dim,), "normal random numbers"),
            "psi": Input((), "truncation: 1 for none, 0 for the mean code", (0, 1)),
        },
        {W_PLUS: codes},
    )
    return found


def _features(config: StylePrompterConfig) -> dict[str, Input]:
    shapes = config.encoder.feature_shapes if config.encoder is not None else ()
    return {
        f"features_{k}": Input(tuple(shape), "a map of the encoder, for the refiner")
        for k, shape in enumerate(shapes)
    }


def _encoding(module: StylePrompter, codes: Input) -> Program:
    config = module.config
    assert config.encoder is not None
    kind = default_kind(config.input_shape[-1])
    inputs = {IMAGE: Input(config.input_shape, *_ENCODED[kind])}
    if config.encoder.passes:
        about = "codes of the pass before; those of `map` with psi 0 in the first"
        inputs["before"] = dataclasses.replace(codes, about=about)
    return Program(
        partial(_encode, module), inputs, {W_PLUS: codes} | _features(config)
    )


def _decoding(module: StylePrompter, codes: Input) -> Program:
    config, refiner = module.config, module.config.refiner
    assert refiner is not None
    inputs = {W_PLUS: codes} | _features(config)
    for name, default in refiner.options.items():
        about = f"weights of {refiner.title}; its own: {default}"
        inputs[name] = Input(np.shape(default), about)
    return Program(partial(_decode, module), inputs, {IMAGE: _image(config)})


def _image(config: StylePrompterConfig) -> Input:
    size = config.generator.image_size
    return Input((size, size, 3), "the result; clip it to its range", (-1.0, 1.0))


def _encode(module: StylePrompter, weights: Mapping, *inputs: jax.Array) -> tuple:
    w_plus, features = module.apply(_variables(weights), *inputs, method="encode")
    return w_plus, *(map(jnp.float32, features))


def _decode(
    module: StylePrompter, weights: Mapping, w_plus: jax.Array, *inputs: jax.Array
) -> tuple:
    config = module.config
    assert config.encoder is not None and config.refiner is not None
    count = len(config.encoder.feature_shapes)
    features, given = inputs[:count], inputs[count:]
    options: dict[str, Any] = {
        name: tuple(value.T) if isinstance(default, tuple) else value
        for (name, default), value in zip(
            config.refiner.options.items(), given, strict=True
        )
    }
    variables = _variables(weights)
    image = module.apply(variables, w_plus, features, **options, method="decode")
    return (image,)


def _synthesize(module: StylePrompter, weights: Mapping, w_plus: jax.Array) -> tuple:
    return (module.apply(_variables(weights), w_plus, method="synthesize"),)


def _map(
    module: StylePrompter, weights: Mapping, z: jax.Array, psi: jax.Array
) -> tuple:
    w: Any = module.apply(_variables(weights), z, method="mapping")
    w = w[:, None]
    mean = weights["const"]["latent_avg"]
    w_plus = mean + psi[:, None, None] * (w - mean)
    generator = module.config.generator
    shape = z.shape[0], generator.num_codes, generator.w_dim
    return (jnp.broadcast_to(w_plus, shape),)


def _edit(weights: Mapping, w_plus: jax.Array, strengths: jax.Array) -> tuple:
    """Adds each direction's step to the codes, as `editing.directions` does."""
    of = weights["directions"]
    step = jnp.einsum("bd,dnw->bnw", strengths, of["vectors"])
    if "reads" in of:
        read = jnp.einsum("rnw,bnw->br", of["reads"], w_plus) - of["offsets"]
        own = jnp.einsum("bd,rd->br", strengths, of["owners"])
        step = step + jnp.einsum("br,rnw->bnw", own * read, of["writes"])
    return (w_plus + step,)


def _variables(weights: Mapping) -> dict:
    return {name: weights[name] for name in ("params", "const")}


def direction_weights(
    directions: Mapping[str, Direction], num_codes: int
) -> dict[str, np.ndarray]:
    """Returns the arrays of `edit`; {} without directions.

    Args:
        directions: the directions by name.
        num_codes: n, the number of codes.

    Returns:
        vectors (d, n, w_dim). If steps depend on the codes, also reads and writes
        (r, n, w_dim), offsets (r,), and owners (r, d): 1 if r belongs to direction d.
    """
    if not directions:
        return {}
    ordered = [combine([(one, 1.0)], num_codes) for one in directions.values()]
    found: dict[str, Any] = {"vectors": [one.vector for one in ordered]}
    parts: list[tuple] = []
    for k, direction in enumerate(ordered):
        response = direction.response
        if response is not None:
            owner = np.zeros((len(response.offsets), len(ordered)))
            owner[:, k] = 1
            parts.append((response.reads, response.offsets, response.writes, owner))
    if parts:
        names = "reads", "offsets", "writes", "owners"
        joined = map(np.concatenate, zip(*parts, strict=True))
        found |= dict(zip(names, joined, strict=True))
    return {name: np.asarray(array, np.float32) for name, array in found.items()}


def weights_of(
    variables: Mapping,
    directions: Mapping[str, Direction],
    num_codes: int,
) -> dict[str, Any]:
    """Returns the programs' weights: those of the model and of its directions."""
    found: dict[str, Any] = {name: variables[name] for name in ("params", "const")}
    if directions:
        found["directions"] = direction_weights(directions, num_codes)
    return found
