"""What a file of published weights is, told by its keys and shapes.

`recognise` turns the tree of a file (dicts, lists and arrays, as `files.read_file`
gives it) into a `Found`: a sentence, the architecture, the arrays, and the table that
brings them in.  Nothing is guessed from a file's name.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from styleprompter_jax.convert.reading.files import Object
from styleprompter_jax.convert.states import find_state, options, prefix
from styleprompter_jax.convert.table import Kept, Row, Rule, prefixed
from styleprompter_jax.convert.tables import nvidia, perceptual, smart, stylegan2, swin
from styleprompter_jax.convert.tables.style_prompter import checkpoint_table
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.models.generators.stylegan2 import (
    GeneratorConfig,
    default_channels,
)
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.models.registry import (
    KINDS,
    EncoderBase,
    GeneratorBase,
    PartConfig,
    RefinerBase,
)
from styleprompter_jax.store.network_folder import NETWORKS

_NO_MEAN = Kept("latent_avg", "the file has none: it is computed")


@dataclasses.dataclass(frozen=True)
class Found:
    """What a file holds of a model.

    Attributes:
      what: a sentence's worth, for people.
      arrays: by key.
      table: rows that fill encoder/..., generator/..., a refiner's type/... and
        latent_avg.
      encoder, refiner, generator: the architecture of the parts that it has.
      is_start: the encoder lacks what a classifier lacks, and takes the number and
        width of its codes from the generator.
      notes: what else people should know, a sentence each.
    """

    what: str
    arrays: Mapping[str, np.ndarray]
    table: tuple[Row, ...]
    encoder: EncoderBase | None = None
    refiner: RefinerBase | None = None
    generator: GeneratorBase | None = None
    is_start: bool = False
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, PartConfig]:
        """The parts that it has, by kind."""
        parts = {kind: getattr(self, kind) for kind in KINDS}
        return {kind: config for kind, config in parts.items() if config is not None}


def recognise(tree: Any, name: str) -> Found:
    """What the tree of a file holds of a model.

    Args:
      tree: see `files.read_file`.
      name: what to call the file in a message.

    Raises:
      StylePrompterError: if it is of no kind that this program knows, or of one that
        it knows to have no use for.
    """
    for kind in (_nvidia, _nvidia_state, _style_prompter, _generator, _swin):
        try:
            if found := kind(tree):
                return found
        except StylePrompterError as error:
            raise StylePrompterError(f"{name}: {error}") from error
    raise StylePrompterError(
        f"{name} holds no weights that are known here, but {_summary(tree)}; "
        "docs/weights.md lists what can be converted."
    )


def recognise_network(trees: Mapping[str, Any]) -> tuple[str, dict] | None:
    """The perceptual network that files hold together: its name and state dict.

    Args:
      trees: by file name; LPIPS takes two files, its trunk and its heads.

    Returns:
      A key of `NETWORKS` and arrays by key; None if it is no such network.

    Raises:
      StylePrompterError: if the other file of LPIPS is missing.
    """
    state = {}
    for tree in trees.values():
        state |= _network_state(tree)
    network = perceptual.recognise(state)
    has_heads = "lin0.model.1.weight" in state
    files = " and ".join(trees)
    if network is None and has_heads:
        raise StylePrompterError(
            f"{files}: the heads of LPIPS without the network that they belong to: "
            "give torchvision's file of AlexNet, VGG-16 or SqueezeNet beside."
        )
    if network is not None and network.startswith("lpips") and not has_heads:
        raise StylePrompterError(
            f"{files}: {NETWORKS[network].title}, without its heads: give the file of "
            "the lpips package beside (lpips/weights/v0.1/)."
        )
    return None if network is None else (network, state)


def _style_prompter(tree):
    """A checkpoint of the published code, baseline or full."""
    found = find_state(tree, "latent_tok", "input.input")
    if found is None:
        return None
    state, opts = found.arrays, options(tree)
    encoder, generator = prefix(state, "latent_tok"), prefix(state, "input.input")
    images = stylegan2.generator_config(state, generator)
    block = prefix(state, "smart_block.query_proj.weight")
    if block is None:
        kind, decoder, refiner, last = "baseline", generator, None, ""
    else:
        layer = opts.get("refined_layer", 4)
        if not isinstance(layer, int) or layer not in range(images.num_codes):
            raise StylePrompterError(
                f"its options say refined_layer = {quoted(str(layer))}, but its "
                f"generator has the layers 0 to {images.num_codes - 1}."
            )
        kind, decoder, last = "full", block, f", refined layer {layer}"
        refiner = smart.smart_config(state, f"{block}smart_block.", layer)
    config = StylePrompterConfig(
        encoder=swin.encoder_config(state, encoder),
        refiner=refiner,
        generator=images,
    )
    what = f"official StylePrompter, {kind}, {_codes(images)}{last}"
    _agree(opts, config, kind)
    noises, note = _noises(state, generator)
    state, table = _with_mean(
        found,
        state,
        checkpoint_table(config, encoder, decoder, noises),
        config.generator,
    )
    return Found(
        what,
        state,
        table,
        encoder=config.encoder,
        refiner=config.refiner,
        generator=config.generator,
        notes=(
            *_assumed(config.encoder, state, encoder),
            *note,
            *_unused(found.left_out()),
        ),
    )


def _agree(opts, config, kind):
    """The options of a checkpoint must say what its arrays say."""
    generator = config.generator
    for option, value in (
        ("type", kind),
        ("output_size", generator.image_size),
        ("tokens_num", generator.num_codes),
        ("start_from_latent_avg", True),
    ):
        own = opts.get(option, value)
        if not isinstance(own, int | str) or own != value:
            raise StylePrompterError(
                f"its options say {option} = {quoted(str(own))}, but its weights are "
                f"those of {option} = {value}: the file is mixed up, take another."
            )


def _generator(tree):
    """A generator of rosinality's layout: its own file, or pSp's or e4e's decoder."""
    found = find_state(tree, "input.input")
    if found is None:
        return None
    state, start = found.arrays, prefix(found.arrays, "input.input")
    config = stylegan2.generator_config(state, start)
    arrays = {key: value for key, value in state.items() if key.startswith(start)}
    noises, notes = _noises(arrays, start)
    table = stylegan2.generator_table(config, noises)
    arrays, table = _with_mean(
        found, arrays, prefixed(table, "generator/", start), config
    )
    what = f"StyleGAN2 generator in rosinality's layout, {_codes(config)}"
    others = _others(state, start)
    if "encoder" in others:
        what = f"pSp or e4e, its {what}"
        notes += (
            "The encoder is left out: it is another architecture than StylePrompter's.",
        )
        others -= {"encoder"}
    notes += _unused(others | found.left_out())
    return Found(what, arrays, table, generator=config, notes=notes)


def _noises(state, start: str) -> tuple[bool, tuple[str, ...]]:
    """Whether a generator of rosinality's layout has its noise, and what to say."""
    if any(key.startswith(f"{start}noises.") for key in state):
        return True, ()
    return False, ("The file has no noise: it is drawn, from a fixed seed.",)


def _others(state, start: str) -> set[str]:
    """What a state dict holds beside the arrays whose keys start so."""
    others = {key.partition(".")[0] for key in state if not key.startswith(start)}
    return others - {"latent_avg"}


def _nvidia(tree):
    """A generator from NVIDIA's pickles, which store modules as objects."""
    module = tree.get("G_ema") if isinstance(tree, Mapping) else tree
    if not isinstance(module, Object) or module.type.rpartition(".")[2] != "Generator":
        return None
    arrays, attributes = nvidia.module_arrays(module)
    if attributes.get("c_dim"):
        raise StylePrompterError(
            f"the generator is conditional (c_dim = {attributes['c_dim']}), and "
            "inversion here knows no classes: take an unconditional one."
        )
    others = {} if module is tree else tree
    unused = {str(k) for k, v in others.items() if v is not None and k != "G_ema"}
    return _nvidia_generator(arrays, attributes, _unused(unused))


def _nvidia_state(tree):
    """A generator with NVIDIA's keys, whose layers a state dict alone does not tell."""
    found = find_state(tree, "synthesis.b4.const", "mapping.fc0.weight")
    if found is None:
        return None
    start = prefix(found.arrays, "synthesis.b4.const")
    arrays = {
        key.removeprefix(start): value
        for key, value in found.arrays.items()
        if key.startswith(start)
    }
    if "mapping.embed.weight" in arrays:
        raise StylePrompterError(
            "the generator is conditional (it has mapping.embed), and inversion here "
            "knows no classes: take an unconditional one."
        )
    others = _others(found.arrays, start) if start else set()
    notes = (
        "The file does not tell whether activations are clamped: they are not.",
        *_unused(others | found.left_out()),
    )
    return _nvidia_generator(arrays, {}, notes)


def _nvidia_generator(arrays, attributes, notes):
    if not any(key.startswith("synthesis.b4.") for key in arrays):
        raise StylePrompterError(
            "the generator is no StyleGAN2 (of StyleGAN3's architecture, perhaps): of "
            "NVIDIA's pickles take one whose name begins with stylegan2."
        )
    if attributes.get("synthesis.b4.architecture", "skip") != "skip":
        raise StylePrompterError(
            "the generator's architecture is "
            f"{quoted(str(attributes['synthesis.b4.architecture']))}, and only 'skip' "
            "is known."
        )
    clamp = _number(attributes, "synthesis.b4.conv1.conv_clamp", None)
    _check_layers(attributes, clamp)
    config = nvidia.generator_config(
        arrays,
        mapping_lr_multiplier=_number(attributes, "mapping.fc0.bias_gain", 0.01),
        conv_clamp=clamp,
    )
    rows = prefixed(nvidia.generator_table(config), "generator/")
    has_mean = "mapping.w_avg" in arrays
    mean = Rule("latent_avg", "mapping.w_avg") if has_mean else _NO_MEAN
    what = (
        f"StyleGAN2 generator of NVIDIA's, {_codes(config)}, "
        f"{config.mapping_layers} mapping layers"
    )
    if config.conv_clamp is not None:
        what += f", activations clamped at {config.conv_clamp:g}"
    return Found(what, arrays, (*rows, mean), generator=config, notes=notes)


def _check_layers(attributes, clamp):
    """What the layers of a pickle do must be what the layers here do."""
    for key, value in attributes.items():
        layer, _, attribute = key.rpartition(".")
        expected = {
            "activation": "linear" if layer.endswith("affine") else "lrelu",
            "conv_clamp": clamp,
        }.get(attribute, value)
        if value != expected:
            raise StylePrompterError(
                f"its {key} is {quoted(str(value))}, where {expected!r} is known "
                "alone: such a generator cannot be converted."
            )


def _number(attributes, key, default):
    value = attributes.get(key, default)
    if isinstance(value, str) or not np.isfinite(0 if value is None else value):
        raise StylePrompterError(
            f"its {key} is {quoted(str(value))}, and should be a number."
        )
    return None if value is None else float(value)


def _swin(tree):
    """A SwinV2 classifier, with which an encoder starts."""
    found = find_state(tree, "patch_embed.proj.weight")
    if found is None:
        return None
    state, start = found.arrays, prefix(found.arrays, "patch_embed.proj.weight")
    if f"{start}layers.0.blocks.0.attn.logit_scale" not in state:
        raise StylePrompterError(
            "this transformer is no SwinV2, from which an encoder here starts: take "
            "a file whose name begins with swinv2."
        )
    config = swin.encoder_config(state, start)
    arrays = {key: value for key, value in state.items() if key.startswith(start)}
    table = prefixed(swin.imagenet_table(config), "encoder/", start)
    what = (
        f"SwinV2 of ImageNet to start an encoder from, {config.image_size} px, window "
        f"{config.window_size}, depths {'-'.join(map(str, config.depths))}"
    )
    notes = _assumed(config, arrays, start)
    notes += _unused(_others(state, start) | found.left_out())
    return Found(what, arrays, table, encoder=config, is_start=True, notes=notes)


def _assumed(config: SwinConfig, state, prefix: str) -> tuple[str, ...]:
    """A sentence where a file lacks the tables that tell an encoder's window."""
    for key in state:
        if key.startswith(prefix) and key.endswith(".attn.relative_coords_table"):
            return ()
    return (
        f"The encoder has no tables of positions, which tell its window: "
        f"{config.window_size} at {config.image_size} px is assumed.",
    )


def _network_state(tree) -> Mapping:
    """The state dict of a file of a perceptual network."""
    if not isinstance(tree, Mapping):
        return {}
    inner = tree.get("state_dict")
    tree = inner if isinstance(inner, Mapping) else tree
    return tree if all(isinstance(key, str) for key in tree) else {}


def _unused(names) -> tuple[str, ...]:
    names = ", ".join(sorted(names))
    return (f"Left out: {names}, which no image needs.",) if names else ()


def _with_mean(found, state, table, config):
    """Arrays and table with the mean code, or those of all codes where they differ."""
    mean = found.beside("latent_avg")
    if mean is None:
        return state, (*table, _NO_MEAN)
    shape = getattr(mean, "shape", ())
    if shape[-1:] == (config.w_dim,) and 0 not in shape:
        rows = mean.reshape(-1, config.w_dim)
        alike = np.array_equal(rows, rows[:1].repeat(len(rows), 0), equal_nan=True)
        if not alike and len(rows) != config.num_codes:
            raise StylePrompterError(
                f"its latent_avg has {len(rows)} different rows, but its generator "
                f"reads {config.num_codes} codes: it is damaged, or of two models."
            )
        mean = rows[0] if alike else rows
    return {**state, "latent_avg": mean}, (*table, Rule("latent_avg", "latent_avg"))


def _codes(config: GeneratorConfig) -> str:
    size = config.image_size
    half = default_channels(size, 1)
    width = ", half width" if config.channels == half != default_channels(size) else ""
    return f"{size} px, {config.num_codes} codes{width}"


def _summary(tree) -> str:
    """A few words about a tree that is not known."""
    if isinstance(tree, Mapping):
        keys = [str(key) for key in tree]
        more = ", ..." if len(keys) > 5 else ""
        return f"a dict of {', '.join(keys[:5]) or 'nothing'}{more}"
    if isinstance(tree, np.ndarray):
        return f"an array {list(tree.shape)}"
    return f"a {getattr(tree, 'type', type(tree).__name__)}"
