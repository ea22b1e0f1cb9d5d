"""The registry of parts: which encoders, refiners and generators there are.

    @dataclasses.dataclass(frozen=True)
    class ToyConfig(EncoderBase):
        type = "toy"
        ...

    register(ToyConfig, ToyEncoder)

A part is a config and a Flax module, ``module(config, dtype)``.  What every part of its
kind has is told by the base of its config below; the rest of the package knows no more
of it.  A model's config.json names each part by its ``type``.

Axes: b batch, h w space, c channels, n codes.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

import flax.linen as nn
import jax

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fields import Fields
from styleprompter_jax.core.refusal import quoted

# The class has a `type` of its own, which hides the built-in one.
_ConfigClass = type["PartConfig"]


@dataclasses.dataclass(frozen=True)
class PartConfig(Fields):
    """Architecture of a part.

    Attributes:
        kind: "encoder", "refiner" or "generator".
        type: the name of this architecture among those of its kind.
        default: the type that is meant where none is named, as in version 1.
        variants: fields by the name of a published size, for `variant`.
        derived: fields that follow from the other parts: no training sets them.
        rates: fields that are probabilities below 1.
        ignored: fields that do not matter to the weights.
    """

    kind: ClassVar[str]
    type: ClassVar[str]
    default: ClassVar[str]
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    derived: ClassVar[tuple[str, ...]] = ()
    rates: ClassVar[tuple[str, ...]] = ()
    ignored: ClassVar[tuple[str, ...]] = ()

    @property
    def key(self) -> str:
        """What its parameters lie under: its kind, or the type of a refiner."""
        return self.kind

    def to_dict(self) -> dict:
        """As plain JSON types, the type first."""
        return {"type": self.type} | super().to_dict()

    @classmethod
    def chosen(cls, values: Mapping) -> tuple[_ConfigClass, Mapping]:
        """The class of the type that is named, and the other fields."""
        own = getattr(cls, "type", cls.default)
        fields = {k: v for k, v in values.items() if k != "type"}
        name = values.get("type", own)
        if hasattr(cls, "type"):
            if name != own:
                raise StylePrompterError(
                    f"The config of the {cls.kind} has the type {quoted(name)}, and "
                    f"must have {own!r}."
                )
            return cls, fields
        return part(cls.kind, name).config, fields

    @classmethod
    def variant(cls, name: str, **changes: Any) -> Self:
        """One of the `variants`, with any fields changed.

        Raises:
            StylePrompterError: if there is none of that name.
        """
        if name not in cls.variants:
            raise StylePrompterError(
                f"No variant {name!r} of {cls.__name__}; there are "
                f"{', '.join(cls.variants) or 'none'}."
            )
        return cls(**{**cls.variants[name], **changes})


SHOWN = 3  # channels of what codes show, which an encoder in passes sees


class EncoderBase(PartConfig):
    """Of a module that turns images into codes and feature maps.

    The module's call is ``module(images, deterministic=True)``: images (b, h, w, c) to
    codes (b, n, w_dim), the mean code not added, and a tuple of maps as
    `feature_shapes` tells; () where there are none.  Where not deterministic it may use
    the RNG streams "dropout" and "drop_path".

    An encoder in passes (ReStyle) is called with (b, h, w, c + 3): an image and what
    the codes of the pass before show of it. Its codes are added to those.

    Attributes:
        start_from_latent_avg: its codes are offsets, to which the mean code is added.
        passes: how many passes it goes by default; 0 for one that sees an image once,
            and alone.
    """

    kind = "encoder"
    default = "swin"
    start_from_latent_avg: bool = True
    passes: int = 0

    image_size: int
    w_dim: int

    @property
    def num_codes(self) -> int:
        """n, how many codes it makes."""
        raise NotImplementedError

    @property
    def feature_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(h, w, c) of each feature map, coarse to fine."""
        return ()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(h, w, c) of an image."""
        return (self.image_size, self.image_size, 3)

    @property
    def module_shape(self) -> tuple[int, int, int]:
        """(h, w, c) of what the module is called with."""
        height, width, channels = self.input_shape
        return (height, width, channels + (SHOWN if self.passes else 0))

    def with_codes(self, num_codes: int, w_dim: int) -> Self:
        """The same encoder of so many codes of that width.

        Who starts a training from a classifier's file needs it.
        """
        raise NotImplementedError

    @classmethod
    def for_generator(
        cls, generator: "GeneratorBase", image_size: int, **fields: Any
    ) -> Self:
        """The encoder of a generator: what a training's config makes.

        Args:
            generator: whose codes it is to make.
            image_size: side of the training's images.
            fields: what else is set, among them perhaps "variant".
        """
        raise NotImplementedError


class RefinerBase(PartConfig):
    """Of a module that refines the generator's maps by the encoder's.

    The module's call is ``module(layer, x, features, **options, deterministic=True)``:
    the map (b, h, h, c) of a layer to one of the same shape.

    Attributes:
        refined_layers: layers of the generator whose maps it refines, from 1.
        options: what a call may weigh, and what with: a number or a tuple of numbers
            by name.  Each number may also be an array (b,).
        edit_options: what directions that are found for edits take in their place.
        title: what to call it in a message.
    """

    kind = "refiner"
    default = "smart"

    options: ClassVar[Mapping[str, float | tuple[float, ...]]] = {}
    edit_options: ClassVar[Mapping[str, float | tuple[float, ...]]] = {}
    title: ClassVar[str] = "the refiner"

    refined_layers: tuple[int, ...]

    @property
    def key(self) -> str:
        """Its type: "smart", under which the parameters of SMART always lay."""
        return self.type


class GeneratorBase(PartConfig):
    """Of a module that turns latents into codes, and codes into images.

    The module has the methods ``mapping(z)``, (b, z_dim) to (b, w_dim); and
    ``synthesis(w_plus, noise_mode=..., refine=...)``, codes (b, n, w_dim) to images
    (b, s, s, 3), where ``refine`` are functions of the maps by layer.
    """

    kind = "generator"
    default = "stylegan2"

    image_size: int
    z_dim: int
    w_dim: int

    @property
    def num_codes(self) -> int:
        """n, how many codes it reads."""
        raise NotImplementedError

    def affine_kernels(self, params: Mapping) -> list[jax.Array]:
        """The affine layer that each code feeds, n of (w_dim, c): its styles' weights.

        Args:
            params: the generator's parameters.
        """
        raise NotImplementedError


KINDS = {base.kind: base for base in (EncoderBase, RefinerBase, GeneratorBase)}


class Part(NamedTuple):
    """A registered part."""

    config: type[PartConfig]
    module: Callable[..., nn.Module]


_PARTS: dict[tuple[str, str], Part] = {}


def register(config: type[PartConfig], module: Callable[..., nn.Module]) -> None:
    """Makes a part known to loading, training and the command line.

    Args:
        config: a dataclass on `EncoderBase`, `RefinerBase` or `GeneratorBase`,
            with a ``type`` of its own.
        module: called as ``module(config, dtype)``.

    Raises:
        ValueError: if another part of its kind has that type, or the type is the name
            of a kind.
    """
    if config.type in KINDS:
        raise ValueError(f"{config.type!r} is the name of a kind of part, and no type")
    known = _PARTS.setdefault((config.kind, config.type), Part(config, module))
    if known != Part(config, module):
        raise ValueError(f"there is a {config.kind} {config.type!r} already")


def part(kind: str, type: str) -> Part:
    """The part of a kind and type.

    Raises:
        StylePrompterError: if there is none.
    """
    try:
        return _PARTS[kind, type]
    except (KeyError, TypeError):
        raise StylePrompterError(
            f"There is no {kind} of the type {quoted(type)}; there are "
            f"{', '.join(types(kind))}."
        ) from None


def types(kind: str) -> list[str]:
    """The types that are registered of a kind."""
    return [type for of, type in _PARTS if of == kind]


def make(config: PartConfig, dtype: Any = None) -> nn.Module:
    """The Flax module that a config describes.

    Args:
        config: of a registered part.
        dtype: of its maps; None for that of its inputs.
    """
    return part(config.kind, config.type).module(config, dtype)
