"""The JSON answers, as types. `openapi.py` describes them to clients."""

from typing import Literal, NotRequired, TypedDict

Options = dict[str, list[float]]
State = Literal["waiting", "running", "done", "failed", "cancelled"]


class Nothing(TypedDict):
    """An answer without content."""


class Opened(TypedDict):
    """A new client.

    Attributes:
        client: its key.
        idle_seconds: time without a request after which the server forgets it.
    """

    client: str
    idle_seconds: float


class RefinerFacts(TypedDict):
    """The refiner of the model.

    Attributes:
        title: its name.
        options: the default of each option.
    """

    title: str
    options: Options


class DirectionFacts(TypedDict):
    """A direction of the model.

    Attributes:
        name: its name in recipes.
        range: the smallest and the largest strength that were found to work.
        strength: its default strength.
        options: the options of the refiner that it asks for.
        origin: how it was found.
    """

    name: str
    range: list[float]
    strength: float
    options: Options
    origin: str


class UploadFacts(TypedDict):
    """The largest image.

    Attributes:
        bytes: size of the file.
        pixels: width times height.
    """

    bytes: int
    pixels: int


class ModelFacts(TypedDict):
    """The size, the directions and the abilities of the model.

    Attributes:
        model: its name for `load`; "" without one.
        height: pixels of a result.
        width: pixels of a result.
        codes: number of codes of an image.
        encodes: whether it encodes photographs.
        fits: whether it fits codes and tunes the generator.
        aligns: whether it crops faces.
        passes: passes of a ReStyle encoder; 0 for other encoders.
        examples: number of example images.
        animations: the formats of animations.
        refiner: the refiner; null without one.
        directions: all directions.
        upload: the largest image.
    """

    model: str
    height: int
    width: int
    codes: int
    encodes: bool
    fits: bool
    aligns: bool
    passes: int
    examples: int
    animations: list[str]
    refiner: RefinerFacts | None
    directions: list[DirectionFacts]
    upload: UploadFacts


class PhotoFacts(TypedDict):
    """Facts about an image.

    Attributes:
        width: pixels of the upright image.
        height: pixels of the upright image.
        points: five points of the largest face, as in POST /api/align; null without a
            face.
        aligned: whether the face lies well already, or there is none.
    """

    width: int
    height: int
    points: list[list[float]] | None
    aligned: bool


class KeptPicture(TypedDict):
    """An image that the server keeps.

    Attributes:
        picture: its id.
    """

    picture: str


class Uploaded(KeptPicture, PhotoFacts):
    """An uploaded image.

    Attributes:
        picture: its id.
        width: pixels of the upright image.
        height: pixels of the upright image.
        points: five points of the largest face, as in POST /api/align; null without a
            face.
        aligned: whether the face lies well already, or there is none.
    """


class KeptLatents(TypedDict):
    """Latents that the server keeps.

    Attributes:
        latents: their id.
    """

    latents: str


class Encoded(TypedDict):
    """Latents of an image.

    Attributes:
        latents: their id.
        picture: the id of the encoded part of the image.
    """

    latents: str
    picture: str


class Code(TypedDict):
    """Code that makes a result.

    Attributes:
        python: a program.
        command: commands for a shell; "" if no commands can make the result.
    """

    python: str
    command: str


class Started(TypedDict):
    """A job that waits or runs.

    Attributes:
        job: its id.
    """

    job: str


class Report(TypedDict):
    """The state of a job.

    Attributes:
        state: where it is.
        done: number of finished steps.
        total: number of steps.
        error: the reason, if it failed.
        latents: the id of its latents, if it is done and makes some.
    """

    state: State
    done: int
    total: int
    error: NotRequired[str]
    latents: NotRequired[str]


class Health(TypedDict):
    """The state of the server.

    Attributes:
        status: "ok".
        version: of the program.
    """

    status: Literal["ok"]
    version: str
