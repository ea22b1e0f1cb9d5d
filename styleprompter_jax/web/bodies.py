"""The JSON bodies of requests, as dataclasses with checked fields."""

import dataclasses
from typing import Annotated, Literal, TypeVar

from styleprompter_jax.core.fields import Between, Fields, Length
from styleprompter_jax.core.json_files import parse_json
from styleprompter_jax.core.values import LARGEST_NUMBER
from styleprompter_jax.web.limits import Refused

Id = Annotated[str, Length(1, 64)]
Number = Annotated[float, Between(-LARGEST_NUMBER, LARGEST_NUMBER)]
Share = Annotated[float, Between(0, 1)]
Point = Annotated[tuple[Number, ...], Length(2, 2)]
Format = Literal["png", "jpg", "webp"]
B = TypeVar("B", bound="Body")


@dataclasses.dataclass(frozen=True)
class Body(Fields):
    """The JSON object of a request."""

    noun = "request"


@dataclasses.dataclass(frozen=True)
class Align(Body):
    """Crops a face from an image.

    Attributes:
        picture: the id of the image.
        points: five points in pixels of the upright picture: left eye, right eye, nose,
            left and right corner of the mouth; without them, the server finds a face.
    """

    picture: Id
    points: Annotated[tuple[Point, ...], Length(5, 5)] | None = None


@dataclasses.dataclass(frozen=True)
class Encode(Body):
    """Encodes an image.

    Attributes:
        picture: the id of the image, of which the middle is encoded.
        iterations: passes of a ReStyle encoder; by default the model's own number.
    """

    picture: Id
    iterations: Annotated[int, Between(1, 100)] | None = None


@dataclasses.dataclass(frozen=True)
class Sample(Body):
    """Samples latents.

    Attributes:
        seed: the same seed gives the same latents.
        truncation: 1 keeps the sampled codes, 0 gives the mean code.
    """

    seed: Annotated[int, Between(0, 2**31 - 1)] = 0
    truncation: Annotated[float, Between(-2, 2)] = 0.7


@dataclasses.dataclass(frozen=True)
class Mix(Body):
    """Mixes in the codes of other latents.

    Attributes:
        latents: the id of the other latents.
        layers: indices of the codes to mix; by default all.
        share: the share of the other latents in these codes.
    """

    latents: Id
    layers: Annotated[tuple[int, ...], Length(0, 64)] | None = None
    share: Share = 1.0


@dataclasses.dataclass(frozen=True)
class Recipe(Body):
    """The latents of a result, and all changes to them.

    Attributes:
        latents: the id of the latents.
        mix: other latents to mix in first.
        edits: the strength along each direction, by name.
        refine: false leaves the refiner out; by default, it refines if it can.
        options: options of the refiner, by name; by default those of the directions.
            They do not go with `refine` false.
    """

    latents: Id
    mix: Mix | None = None
    edits: dict[str, Number] = dataclasses.field(default_factory=dict)
    refine: bool | None = None
    options: dict[str, Annotated[tuple[Number, ...], Length(1, 16)]] = (
        dataclasses.field(default_factory=dict)
    )


@dataclasses.dataclass(frozen=True)
class Rendering(Body):
    """Decodes a recipe.

    Attributes:
        recipe: the recipe of the result.
        format: the format of the result.
    """

    recipe: Recipe
    format: Format = "png"


@dataclasses.dataclass(frozen=True)
class Unalign(Body):
    """Decodes a recipe and pastes the result back into its photograph.

    Attributes:
        recipe: the recipe of the result.
        detail: add the change of the edit, which keeps fine detail; false pastes the
            result itself.
        format: the format of the result.
    """

    recipe: Recipe
    detail: bool = True
    format: Format = "png"


@dataclasses.dataclass(frozen=True)
class Fit(Body):
    """Fits codes, or the generator, to their image.

    Attributes:
        recipe: the latents to begin with, and options of the refiner; a fit ignores
            edits and mix.
        steps: steps of gradient descent.
    """

    recipe: Recipe
    steps: Annotated[int, Between(1, 1000)] = 50


@dataclasses.dataclass(frozen=True)
class Sweep(Body):
    """Makes an animation along a direction, from one end to the other and back.

    Attributes:
        recipe: the recipe of each frame; the animation replaces its edit along the
            direction.
        direction: the name of the direction.
        low: the strength at one end; by default the low end of the direction's range.
        high: the strength at the other end; by default the high end of the range.
        frames: the number of frames from one end to the other.
        format: the format of the file.
    """

    recipe: Recipe
    direction: Annotated[str, Length(1, 256)]
    low: Number | None = None
    high: Number | None = None
    frames: Annotated[int, Between(2, 120)] = 24
    format: Literal["gif", "mp4"] = "gif"


def parse(kind: type[B], text: bytes | bytearray) -> B:
    """Returns the body of a request as a dataclass.

    Raises:
        StylePrompterError: if the text is not JSON, or a field is wrong.
    """
    try:
        values = parse_json(bytes(text) or b"{}")
    except ValueError as error:
        raise Refused(400, f"The request cannot be read: {error}.") from error
    return kind.from_dict(values)
