"""The cases: each builds one call, and states its useful work.

Weights are random, with the full, published sizes. Only the 64 px cases are those of
the bundled domain.
"""

import dataclasses
import importlib
import math
from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from benchmarks import work
from styleprompter_jax.core.cpu_devices import use_cpu_devices
from styleprompter_jax.inversion.pipeline import StylePrompter as Pipeline
from styleprompter_jax.losses import PERCEPTUAL
from styleprompter_jax.models.encoders.psp import PspConfig
from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.models.generators.stylegan2 import (
    GeneratorConfig,
    default_channels,
)
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.models.refiners.smart import SmartConfig
from styleprompter_jax.store.model_folder import model_shapes
from styleprompter_jax.training.objectives.adversarial import Adversarial
from styleprompter_jax.training.objectives.inversion import Inversion
from styleprompter_jax.training.run import parallel
from styleprompter_jax.training.run.health import guard
from styleprompter_jax.training.start import describe_start


@dataclasses.dataclass
class Case:
    """One call to time.

    Attributes:
        run: makes the call once; returns arrays to wait for.
        flop: useful work of one call.
        images: number of images in one call.
    """

    run: Callable[[], object]
    flop: float
    images: int


def inversion(size: int, batch: int, dtype: str = "float32") -> Case:
    """Makes `StylePrompter.invert`: encodes, and decodes with SMART."""
    generator = GeneratorConfig(size)
    config = StylePrompterConfig(
        SwinConfig(num_tokens=generator.num_codes), SmartConfig(), generator
    )
    model = Pipeline(config, draw(model_shapes(config)), dtype=dtype)
    images = random_images(batch, config.encoder.image_size)
    flop = (
        work.encoder(config.encoder)
        + work.generator(generator)
        + work.smart(config.smart, generator, config.encoder)
    )
    return Case(lambda: model.invert(images), batch * flop, batch)


# By name: the encoder's type, its channels, and its passes.
ENCODERS = {
    "psp": ("GradualStyleEncoder", 3, 0),
    "e4e": ("Encoder4Editing", 3, 0),
    "restyle": ("BackboneEncoder", 6, 5),
    "restyle34": ("ResNetBackboneEncoder", 6, 5),
}


def encoder_of(name: str, generator: GeneratorConfig) -> PspConfig:
    """Returns an encoder of `ENCODERS` for a generator."""
    kind, channels, passes = ENCODERS[name]
    return PspConfig(
        kind,
        input_channels=channels,
        num_styles=generator.num_codes,
        passes=passes,
    )


def encoding(name: str, size: int, batch: int, dtype: str = "float32") -> Case:
    """Makes `StylePrompter.encode` with an encoder of pSp, e4e or ReStyle."""
    generator = GeneratorConfig(size)
    encoder = encoder_of(name, generator)
    passes = encoder.passes
    config = StylePrompterConfig(encoder, None, generator)
    model = Pipeline(config, draw(model_shapes(config)), dtype=dtype)
    images = random_images(batch, encoder.image_size)
    # Between two passes, the generator renders the codes.
    flop = max(1, passes) * work.convolutional_encoder(encoder)
    flop += max(0, passes - 1) * work.generator(generator)
    return Case(lambda: model.encode(images).w_plus, batch * flop, batch)


def training(stage: str, size: int, batch: int, dtype: str = "float32") -> Case:
    """Makes a step of stage "encoder" or "smart" with the published losses."""
    config = _config(f"ffhq_{stage}")
    config.update(batch_size=batch, dtype=dtype)
    config.model.generator = dict(image_size=size)
    return _inversion_step(config)


def generator(size: int, batch: int, dtype: str) -> Case:
    """Makes sixteen steps of stage "generator", with R1 in one of them."""
    use_cpu_devices(size, batch)  # as `train` does
    return _generator_step(generator_config(size, batch, dtype))


def generator_config(size: int, batch: int, dtype: str = "float32"):
    """Returns the config of `generator`: config F; the bundled domain's for 64 px."""
    config = _config("avatars_generator")
    config.update(batch_size=batch, dtype=dtype)
    config.loss.blur_images = 0
    if size > 64:
        channels = default_channels(size)
        config.model.generator.update(
            image_size=size, channels=channels, mapping_layers=8
        )
        config.model.discriminator.channels = channels
        config.data.image_size = size
        config.loss.noise_mode = "random"
    return config


def avatars(stage: str) -> Case:
    """Makes a step of a stage of the bundled domain, 64 px."""
    config = _config(f"avatars_{stage}")
    use_cpu_devices(config.data.image_size, config.batch_size)  # as `train` does
    if stage == "generator":
        return _generator_step(config)
    config.model.generator = _config("avatars_generator").model.generator
    if stage == "smart":
        config.model.encoder = _config("avatars_encoder").model.encoder
    return _inversion_step(config)


def _inversion_step(config) -> Case:
    start = describe_start(config)
    start = dataclasses.replace(
        start,
        variables=draw(start.variables),
        network_variables=draw(start.network_variables),
    )
    parts, size, passes = start.config, config.data.image_size, 1
    if config.stage == "encoder":
        kind, passes = parts.encoder, max(1, parts.encoder.passes)
        count = (
            work.convolutional_encoder if isinstance(kind, PspConfig) else work.encoder
        )
        flop = passes * (3 * count(kind) + 2 * work.generator(parts.generator))
    else:
        first = min(parts.smart.refined_layers)
        flop = (
            work.encoder(parts.encoder)
            + work.generator(parts.generator)
            + work.generator(parts.generator, first)
            + 3 * work.smart(parts.smart, parts.generator, parts.encoder)
        )
    for name in start.networks:
        network = next(iter(PERCEPTUAL[name].networks.values()))
        image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
        each = work.counted(network.module.apply, network.shapes(), image)
        flop += passes * 3 * each
    return _step(Inversion(config, start), config, [1], config.batch_size * flop)


def _generator_step(config) -> Case:
    """Makes a call of all steps from one R1 regularisation to the next."""
    objective, size = Adversarial(config), config.data.image_size
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    shapes = jax.eval_shape(
        objective.discriminator.init, jax.random.key(0), random_images(1, size)
    )
    d = work.counted(objective.discriminator.apply, shapes, image)
    g = work.generator(objective.generator_config)
    # The discriminator's turn: fakes, both batches three times (forward, gradients of
    # data and weights).  The generator's: fakes three times, the logits twice.
    every = config.loss.r1_every
    flop = every * (4 * g + 8 * d)
    # R1 beyond that: a data gradient, its tangent, and the tangent's two gradients.
    flop += 4 * d
    return _step(objective, config, range(every), config.batch_size * flop)


def _step(objective, config, steps, flop) -> Case:
    """Makes the compiled step of the training loop, on the whole CPU or on one GPU."""
    devices = jax.devices()
    on_cpu = devices[0].platform == "cpu"
    count = math.gcd(len(devices), config.batch_size) if on_cpu else 1
    mesh = parallel.make_mesh(devices[:count])
    compiled = {
        variant: parallel.map_step(
            guard(partial(objective.step, variant=variant), skip=False), mesh
        )
        for variant in map(objective.variant, steps)
    }
    size = config.data.image_size
    rng = jax.random.key(0)
    state = parallel.replicate(objective.init(rng), mesh)
    batch = parallel.shard_batch(
        {"image": random_images(config.batch_size, size)}, mesh
    )
    held = [state]

    def run():
        for step in steps:
            update = compiled[objective.variant(step)]
            held[0], metrics = update(held[0], batch, rng)
        return held[0], metrics

    return Case(run, flop, len(steps) * config.batch_size)


def _config(name: str):
    return importlib.import_module(f"configs.{name}").get_config()


def draw(shapes):
    """Draws random variables of these shapes, with a scale for ordinary activations."""
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        match path[-1].key:
            case "scale" | "var":
                return np.ones(shape.shape, np.float32)
            case "kernel" if path[1].key == "generator":  # equalised learning rate
                return rng.standard_normal(shape.shape, np.float32)
            case "kernel" if len(shape.shape) == 4:
                scale = np.float32(np.prod(shape.shape[:3]) ** -0.5)
                return rng.standard_normal(shape.shape, np.float32) * scale
        return rng.standard_normal(shape.shape, np.float32) * np.float32(0.02)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def random_images(batch: int, size: int):
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (batch, size, size, 3)).astype(np.float32)


CASES: dict[str, Callable[[], Case]] = {
    **{
        f"invert_{size}_batch{batch}": partial(inversion, size, batch)
        for size in (256, 1024)
        for batch in (1, 4)
    },
    **{
        f"{name}_encode_{size}": partial(encoding, name, size, 1)
        for size, names in {1024: ("psp", "e4e"), 256: ("restyle", "restyle34")}.items()
        for name in names
    },
    **{
        f"{stage}_step_{size}_batch{batch}": partial(training, stage, size, batch)
        for size, batch in ((256, 2), (1024, 1))
        for stage in ("encoder", "smart")
    },
    **{
        f"avatars_{stage}": partial(avatars, stage)
        for stage in ("generator", "encoder", "smart", "psp", "e4e", "restyle")
    },
}
