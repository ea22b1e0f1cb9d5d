"""The registry of parts: encoders, refiners and generators.

    @dataclasses.dataclass(frozen=True)
    class ToyConfig(EncoderBase):
        type = "toy"
        ...

    register(ToyConfig, ToyEncoder)

A part is a config and a Flax module, ``module(config, dtype)``. The base classes below
define the interface of each kind, and the rest of the package uses only this interface.
A model's config.json names each part by its ``type``.

Axes: b batch, h w space, c channels, n codes.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import flax.linen as nn
import jax
import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fields import Between, Fields, Length
from styleprompter_jax.core.refusal import quoted

# The class attribute `type` hides the built-in one.
_ConfigClass = type["PartConfig"]


@dataclasses.dataclass(frozen=True)
class PartConfig(Fields):
    """Architecture of a part.

    Attributes:
        kind: "encoder", "refiner" or "generator".
        type: name of this architecture, unique in its kind.
        default: the type of a config without a type, as in version 1.
        variants: fields by the name of a published size, for `variant`.
        derived: fields that follow from the other parts; no training sets them.
        rates: fields that are probabilities below 1.
        ignored: fields that do not affect the weights.
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
        """The key of its parameters: its kind, or the type of a refiner."""
        return self.kind

    def to_dict(self) -> dict:
        """Returns plain JSON types, with the type first."""
        return {"type": self.type} | super().to_dict()

    @classmethod
    def chosen(cls, values: Mapping) -> tuple[_ConfigClass, Mapping]:
        """Returns the class of the given type, and the other fields."""
        own = getattr(cls, "type", cls.default)
        fields = {k: v for k, v in values.items() if k != "type"}
        name = values.get("type", own)
        if hasattr(cls, "type"):
            if name != own:
                raise StylePrompterError(
                    f"The config of the {cls.kind} has the type {quoted(name)}, but "
                    f"must have {own!r}."
                )
            return cls, fields
        return part(cls.kind, name).config, fields

    @classmethod
    def variant(cls, name: str, **changes: Any) -> Self:
        """Returns one of the `variants`, with some fields changed.

        Raises:
            StylePrompterError: if no variant has that name.
        """
        if name not in cls.variants:
            raise StylePrompterError(
                f"{cls.__name__} has no variant {name!r}; its variants are: "
                f"{', '.join(cls.variants) or 'none'}."
            )
        return cls(**{**cls.variants[name], **changes})


SHOWN = 3  # channels of the rendered image that an encoder in passes sees


class EncoderBase(PartConfig):
    """Config of a module from images to codes and feature maps.

    The call ``module(images, deterministic=True)`` maps images (b, h, w, c) to codes
    (b, n, w_dim), without the mean code, and a tuple of maps with the shapes of
    `feature_shapes`; () without maps. With deterministic=False, it may use the RNG
    streams "dropout" and "drop_path".

    The call of an encoder in passes (ReStyle) takes (b, h, w, c + 3): an image, and the
    image that the generator renders from the codes of the pass before. The new codes
    are offsets from the codes of the pass before.

    Attributes:
        start_from_latent_avg: the codes are offsets from the mean code.
        passes: default number of passes; 0 for an encoder that sees an image once,
            without an earlier result.
    """

    kind = "encoder"
    default = "swin"
    start_from_latent_avg: bool = True
    passes: int = 0

    image_size: int
    w_dim: int

    @property
    def num_codes(self) -> int:
        """n, the number of codes that the encoder makes."""
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
    def trunk(self) -> tuple[str, ...]:
        """Returns name prefixes of the layers that another network may share."""
        return ()

    @property
    def codes_of_layers(self) -> Mapping[str, np.ndarray]:
        """Returns, for each outermost layer, the first code that needs it.

        The value is (k,) for a layer whose arrays stack the arrays of k codes, and ()
        for another layer. All codes need the layers that are not named.
        """
        return {}

    @property
    def has_deltas(self) -> bool:
        """Whether code 0 is w, and each other one w and a delta."""
        return False

    def with_deltas(self, params: Mapping, deltas: Any) -> Mapping:
        """Returns the parameters; all deltas but the first ones are zero.

        Args:
            params: of an encoder that has deltas.
            deltas: number of first deltas to keep.
        """
        raise NotImplementedError

    @property
    def module_shape(self) -> tuple[int, int, int]:
        """(h, w, c) of the input of the module."""
        height, width, channels = self.input_shape
        return (height, width, channels + (SHOWN if self.passes else 0))

    def with_codes(self, num_codes: int, w_dim: int) -> Self:
        """Returns the same encoder for another number and width of codes.

        A training that starts from a classifier's file needs it.
        """
        raise NotImplementedError

    @classmethod
    def for_generator(
        cls, generator: "GeneratorBase", image_size: int, **fields: Any
    ) -> Self:
        """Makes the config of an encoder for a generator, from a training config.

        Args:
            generator: the generator that reads the encoder's codes.
            image_size: side of the training images.
            fields: other fields of the config; may have "variant".
        """
        raise NotImplementedError


# Numbers of layers of the generator, from 1.
Layers = Annotated[tuple[Annotated[int, Between(1, 63)], ...], Length(1, 32)]


class RefinerBase(PartConfig):
    """Config of a module that refines the generator's maps with the encoder's maps.

    The call ``module(layer, x, features, **options, deterministic=True)`` maps the map
    (b, h, h, c) of a layer to a map of the same shape.

    Attributes:
        refined_layers: layers of the generator whose maps it refines, from 1.
        options: default weights of a call by name, each a number or a tuple of numbers.
            A call may give an array (b,) for each number.
        edit_options: the weights that fitted directions use instead.
        title: name of the refiner in messages.
    """

    kind = "refiner"
    default = "smart"

    options: ClassVar[Mapping[str, float | tuple[float, ...]]] = {}
    edit_options: ClassVar[Mapping[str, float | tuple[float, ...]]] = {}
    title: ClassVar[str] = "the refiner"

    refined_layers: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.refined_layers)) < len(self.refined_layers):
            raise StylePrompterError(
                f"{type(self).__name__}: refined_layers {list(self.refined_layers)} "
                "names a layer twice: name each layer once."
            )

    @property
    def key(self) -> str:
        """Its type, such as "smart": the parameters of SMART always had this key."""
        return self.type


class GeneratorBase(PartConfig):
    """Config of a module from latents to codes, and from codes to images.

    The module has the methods ``mapping(z)``, from (b, z_dim) to (b, w_dim), and
    ``synthesis(w_plus, noise_mode=..., refine=...)``, from codes (b, n, w_dim) to
    images (b, s, s, 3); ``refine`` has functions of the maps by layer.
    """

    kind = "generator"
    default = "stylegan2"

    image_size: int
    z_dim: int
    w_dim: int

    @property
    def num_codes(self) -> int:
        """n, the number of codes that the generator reads."""
        raise NotImplementedError

    def affine_kernels(self, params: Mapping) -> list[jax.Array]:
        """Returns the weights of the affine layer of each code, n arrays (w_dim, c).

        Args:
            params: the generator's parameters.
        """
        raise NotImplementedError

    def layer_keys(self, params: Mapping) -> list[list[str]]:
        """Returns the parameters of each of n layers; a layer reads one code.

        Args:
            params: the generator's parameters.

        Returns:
            For each code, the keys of the parameters that it feeds, their parts joined
            by "/". No key occurs twice. Parameters that only `mapping` reads are not
            among them.
        """
        raise NotImplementedError


KINDS = {base.kind: base for base in (EncoderBase, RefinerBase, GeneratorBase)}


class Part(NamedTuple):
    """A registered part."""

    config: type[PartConfig]
    module: Callable[..., nn.Module]


_PARTS: dict[tuple[str, str], Part] = {}


def register(config: type[PartConfig], module: Callable[..., nn.Module]) -> None:
    """Registers a part for loading, training and the command line.

    A cell of a notebook or a config file may run twice: its later definition counts.

    Args:
        config: a dataclass that extends `EncoderBase`, `RefinerBase` or
            `GeneratorBase`, and has its own ``type``.
        module: a function that makes the module; called as ``module(config, dtype)``.

    Raises:
        ValueError: if another part of its kind has that type, or the type is the name
            of a kind.
    """
    if config.type in KINDS:
        raise ValueError(
            f"{config.type!r} is the name of a kind of part: choose another type"
        )
    key, new = (config.kind, config.type), Part(config, module)
    known = _PARTS.get(key, new)
    if [_definition(one) for one in known] != [_definition(one) for one in new]:
        raise ValueError(
            f"a {config.kind} {config.type!r} already exists: choose another type"
        )
    _PARTS[key] = new


def _definition(given: Any) -> Any:
    """Returns where a class or function is defined, or another object itself."""
    place = tuple(getattr(given, k, None) for k in ("__module__", "__qualname__"))
    return given if None in place else place


def part(kind: str, type: str) -> Part:
    """Returns the part of a kind and type.

    Raises:
        StylePrompterError: if no part has this kind and type.
    """
    try:
        return _PARTS[kind, type]
    except (KeyError, TypeError):
        raise StylePrompterError(
            f"The {kind} type {quoted(type)} is unknown: choose one of "
            f"{', '.join(types(kind))}, or first import the module that registers it."
        ) from None


def types(kind: str) -> list[str]:
    """Returns the registered types of a kind."""
    return [type for of, type in _PARTS if of == kind]


def make(config: PartConfig, dtype: Any = None) -> nn.Module:
    """Makes the Flax module of a config.

    Args:
        config: config of a registered part.
        dtype: dtype of its maps; None for the dtype of its inputs.
    """
    return part(config.kind, config.type).module(config, dtype)
