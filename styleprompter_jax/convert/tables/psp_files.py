"""Checkpoints of pSp, e4e and ReStyle: encoder, generator and mean code."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from styleprompter_jax.convert.found import Found, unused, with_mean
from styleprompter_jax.convert.origin import COUNT, Origin, origin_of
from styleprompter_jax.convert.states import State, agree, find_state, options
from styleprompter_jax.convert.table import prefixed, write_table
from styleprompter_jax.convert.tables import psp, stylegan2
from styleprompter_jax.convert.tables.stylegan2 import (
    described,
    generator_config,
    generator_table,
    noises,
)
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.models.encoders.psp import FORMS, PspConfig
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.registry import SHOWN

# Keys are starts of the dataset's name in the options. The first match counts.
_SUBJECTS = {
    "ffhq_sketch": "sketches to faces",
    "celebs_sketch": "sketches to faces",
    "celebs_seg": "label maps to faces",
    "celebs_super": "small pictures to faces",
    "ffhq_frontalize": "frontal views of faces",
    "toonify": "drawn faces",
    "ffhq": "faces",
    "celeb": "faces",
    "cars": "cars",
    "horse": "horses",
    "church": "churches",
    "cat": "cats",
    "afhq_wild": "wild animals",
}
_HEADS = {"w": " into W", "w_plus": " into W+ by one layer", "coarse": " of one map"}
_ALIASES = {"SingleStyleCodeEncoder": "BackboneEncoderUsingLastLayerIntoW"}
_GENERATOR = "input.input"
_ENCODER, _DECODER = "encoder.", "decoder."  # starts of the published keys
_MEAN = ".running_mean"  # a key of BatchNorm layers, which also count their steps
_COLOURS = 3  # channels of an image
_DATASETS = {_COLOURS: "ffhq_encode", 1: "celebs_sketch_to_face"}  # by channels
_NO_PASSES = ("w", "w_plus")  # heads that ReStyle lacks
_PASSES = 5  # the published number
_MOST_PASSES = 1000
# Keys that only e4e's training has, among the options or beside the weights.
_E4E = {
    "stylegan_size",
    "w_discriminator_lambda",
    "progressive_steps",
    "delta_norm_lambda",
    "discriminator_state_dict",
}


_AMBIGUOUS = (
    "The encoder is left out, because encoders of pSp and e4e have the same keys, and "
    "the options name no encoder_type: add it to the options to convert the encoder."
)


def recognise(tree: Any) -> Found | None:
    """Recognises a whole checkpoint of pSp, e4e or ReStyle."""
    states = {
        trunk: state
        for trunk, anchor in psp.ANCHORS.items()
        if (state := find_state(tree, anchor, _GENERATOR))
    }
    opts = options(tree) if isinstance(tree, Mapping) else {}
    named = opts.get("encoder_type")
    named = _ALIASES.get(str(named), str(named)) if named is not None else None
    if not states:
        if named in FORMS and find_state(tree, _GENERATOR):
            raise StylePrompterError(
                f"its options say encoder_type = {named!r}, but it holds a generator "
                "and no such encoder: use the whole checkpoint, or the generator "
                "without its options."
            )
        return None
    ((trunk, found),) = list(states.items())[:1]
    start = found.start(psp.ANCHORS[trunk])
    encoder_type = named if named is not None else _by_keys(found, start, opts)
    if encoder_type in FORMS:
        return _found(found, start, encoder_type, opts)
    alone = stylegan2.recognise(tree)
    if named is not None or alone is None:
        return alone
    known = {stylegan2.UNKNOWN_ENCODER: _AMBIGUOUS}
    notes = tuple(known.get(note, note) for note in alone.notes)
    return dataclasses.replace(alone, notes=notes)


def _by_keys(found: State, start: str, opts: Mapping) -> str | None:
    """Finds the encoder's type from the file's keys; None if they fit two types."""
    keys = [key.removeprefix(start) for key in found.arrays if key.startswith(start)]
    kind = psp.form_of(keys)
    fitting = [n for n, form in FORMS.items() if (form.trunk, form.head) == kind]
    if len(fitting) > 1 and kind is not None:
        # pSp's and e4e's layers have the same keys.
        _, head = kind
        is_e4e = bool(_E4E & (opts.keys() | found.left_out()))
        channels = psp.channels(found.arrays, start, kind[0])
        is_psp = head == "pyramid" and (channels != _COLOURS or "output_size" in opts)
        if is_e4e == is_psp:
            return None
        fitting = [name for name in fitting if FORMS[name].adds == is_e4e]
    return fitting[0] if fitting else None


def _found(found: State, start: str, encoder_type: str, opts: Mapping) -> Found:
    state, decoder = found.arrays, found.start(_GENERATOR)
    images = generator_config(state, decoder)
    reader = psp.encoder_config(state, start, encoder_type, images.num_codes)
    data = str(opts.get("dataset_type", ""))
    fields: dict[str, Any] = {"passes": _passes(reader, opts)}
    if data.startswith("cars"):
        fields["image_height"] = _oblong(reader)
    told: dict[str, Any] = dict(
        output_size=images.image_size,
        stylegan_size=images.image_size,
        input_nc=reader.input_channels,
        n_styles=reader.num_styles,
    )
    if opts.get("learn_in_w") is True:
        told["learn_in_w"] = reader.form.head == "w"
    if not fields["passes"]:  # encoders with passes always begin with the mean code
        from_mean = opts.get("start_from_latent_avg", True)
        told["start_from_latent_avg"] = bool(from_mean is not False)
        fields["start_from_latent_avg"] = from_mean is not False
    agree(opts, **told)
    reader = dataclasses.replace(reader, **fields)
    has_noise, notes = noises(state, decoder)
    rows = (
        *prefixed(psp.encoder_table(reader), "encoder/", start),
        *prefixed(generator_table(images, has_noise), "generator/", decoder),
    )
    arrays, table = with_mean(found, state, rows, images)
    subjects = [text for name, text in _SUBJECTS.items() if data.startswith(name)]
    parts = [_title(reader), *subjects[:1], described(images)]
    if reader.passes:
        parts.append("1 pass" if reader.passes == 1 else f"{reader.passes} passes")
    starts = {start: _ENCODER, decoder: _DECODER}
    origin = origin_of(opts, found.beside("latent_avg"), found.arrays, starts)
    return Found(
        ", ".join(parts),
        arrays,
        table,
        encoder=reader,
        generator=images,
        origin=origin,
        notes=(*notes, *unused(found.left_out()), *origin.lost(opts)),
    )


def checkpoint(
    reader: PspConfig, images: GeneratorConfig, tree: Mapping[str, Any], origin: Origin
) -> dict:
    """Returns the content of a published checkpoint; inverts `recognise`.

    Args:
        reader: the architecture of the encoder.
        images: the architecture of the generator.
        tree: the arrays of both, and latent_avg.
        origin: facts of the checkpoint that the arrays come from; empty for a model
            that this package trained.

    Raises:
        StylePrompterError: if the published code cannot build such an encoder.
    """
    _refuse_other(reader, images)
    mean = np.asarray(tree["latent_avg"])
    rows = (
        *prefixed(psp.encoder_table(reader), "encoder/", _ENCODER),
        *prefixed(generator_table(images), "generator/", _DECODER),
    )
    parts = {kind: tree[kind] for kind in ("encoder", "generator")}
    state = write_table(rows, parts)
    for key in [key for key in state if key.endswith(_MEAN)]:
        key = key.removesuffix(_MEAN) + f".{COUNT}"
        state[key] = np.array(origin.counts.get(key, 0), np.int64)
    content: dict[str, Any] = {
        "state_dict": state,
        "opts": origin.options or _options(reader, images),
    }
    if origin.latent_avg is not None:
        shape = origin.latent_avg or (images.num_codes, images.w_dim)
        if reader.form.head == "w" and not origin.latent_avg:
            shape = (1, images.w_dim)
            if mean.ndim > 1:
                raise StylePrompterError(
                    "This model has a mean for each code, but the published code of "
                    "its encoder adds one mean in W: it cannot be exported."
                )
        content["latent_avg"] = np.broadcast_to(mean, shape).copy()
    return content


def _refuse_other(reader: PspConfig, images: GeneratorConfig) -> None:
    """Refuses an encoder that the published code cannot build."""
    channels = _COLOURS + SHOWN if reader.passes else reader.input_channels
    published = PspConfig(
        encoder_type=reader.encoder_type,
        input_channels=_COLOURS if _is_e4e(reader) else channels,
        num_styles=images.num_codes,
    )
    fields = ["image_size", "num_styles", "w_dim", "widths", "blocks", "input_channels"]
    if reader.form.head in _NO_PASSES:
        fields.append("passes")
    for field in fields:
        own, known = getattr(reader, field), getattr(published, field)
        if own != known:
            raise StylePrompterError(
                f"This model's encoder has {field} = {own}, but the published code "
                f"only builds {known}: it cannot be exported."
            )
    heights = reader.image_size, _oblong(reader)
    if reader.height not in heights:
        raise StylePrompterError(
            f"This model's encoder has image_height = {reader.height}, but the "
            f"published code only reads images of {heights[0]} rows or, of cars, "
            f"{heights[1]}: it cannot be exported."
        )


def _is_e4e(reader: PspConfig) -> bool:
    return reader.encoder_type == "Encoder4Editing"


def _oblong(reader: PspConfig) -> int:
    """Returns the height of the published images of cars."""
    return reader.image_size * 3 // 4


def _dataset(reader: PspConfig) -> str:
    """Returns the published dataset whose images have this shape."""
    if reader.height != reader.image_size:
        return "cars_encode"
    channels = reader.input_shape[-1]
    return _DATASETS.get(channels, "celebs_seg_to_face")


def _options(reader: PspConfig, images: GeneratorConfig) -> dict[str, Any]:
    """Returns the options for a model that this package trained."""
    channels = reader.input_channels
    is_plain = reader.passes or channels == _COLOURS
    options: dict[str, Any] = {
        "encoder_type": reader.encoder_type,
        "dataset_type": _dataset(reader),
        "start_from_latent_avg": reader.start_from_latent_avg or reader.passes > 0,
        "learn_in_w": reader.form.head == "w",
        "input_nc": channels,
        "label_nc": 0 if is_plain else channels,
        "stylegan_size" if _is_e4e(reader) else "output_size": images.image_size,
        "device": "cuda",
    }
    if reader.passes:
        options["n_iters_per_batch"] = reader.passes
    return options


def _passes(reader: PspConfig, opts: Mapping) -> int:
    """Returns the number of passes; 0 for an encoder that reads only the image."""
    in_passes = reader.input_channels == _COLOURS + SHOWN
    in_passes &= opts.get("label_nc") != _COLOURS + SHOWN  # label maps of six classes
    told = opts.get("n_iters_per_batch")
    if told is None:
        if not in_passes:
            return 0
        if reader.form.head == "coarse" or reader.form.trunk == "resnet34":
            return _PASSES  # only ReStyle has these encoders
        raise StylePrompterError(
            f"its encoder reads {reader.input_channels} channels, an image and its "
            "inversion, but its options do not hold the number of passes "
            "(n_iters_per_batch): it is not a checkpoint of ReStyle, use another."
        )
    if not isinstance(told, int) or not 1 <= told <= _MOST_PASSES:
        raise StylePrompterError(
            f"its options say n_iters_per_batch = {quoted(str(told))}, but passes are "
            f"1 to {_MOST_PASSES}: the file is inconsistent, use another."
        )
    if not in_passes and told > 1:
        raise StylePrompterError(
            f"its options say n_iters_per_batch = {told}, but its weights are those of "
            f"an encoder of {reader.input_channels} channels, which sees no inversion: "
            "the file is inconsistent, use another."
        )
    return told if in_passes else 0


def _title(reader: PspConfig) -> str:
    """Describes an encoder in a few words."""
    form = reader.form
    title = "e4e" if form.adds else "pSp"
    if reader.passes:
        title = f"ReStyle over {title}"
    if not (reader.passes and form.head == "coarse"):
        title += _HEADS.get(form.head, "")
    return title + (" with ResNet-34" if form.trunk == "resnet34" else "")
