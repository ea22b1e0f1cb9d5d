"""Cartoon faces: their attributes, and how they are drawn.

A face is a pure function of its seed. Each attribute is independent of the others.
DiceBear draws the faces from the artwork "Personas by Draftbit" (CC BY 4.0, see
NOTICE).
"""

import dataclasses
import functools
import io
import json
import random
from collections.abc import Iterator
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image

from styleprompter_jax.core.errors import StylePrompterError

HAIR = {
    "bald": "bald",
    "short": "shortCombover",
    "high_top": "curlyHighTop",
    "afro": "curly",
    "bob": "bobCut",
    "long": "extraLong",
}
HAIR_COLOR = {
    "black": "#2b2238",
    "violet": "#7c5cc4",
    "blond": "#f0b45c",
    "red": "#e0575c",
    "silver": "#dee1f5",
}
SKIN_COLOR = {
    "light": "#f2b99b",
    "tan": "#dd9468",
    "brown": "#ab633f",
    "dark": "#7c482d",
}
BACKGROUND = {
    "sky": "#a8d5e8",
    "sand": "#f7e3a8",
    "mint": "#bfe3bd",
    "lilac": "#d5c6ee",
    "teal": "#64b5b0",
}
CLOTHING = {"blue": "#456dff", "green": "#3f9b5f", "rose": "#e24569"}

LABELS = {
    "hair": HAIR,
    "hair_color": HAIR_COLOR,
    "skin_color": SKIN_COLOR,
    "background": BACKGROUND,
    "clothing": CLOTHING,
}

# The seeds of the splits start a million apart, so that splits never share a face.
FIRST_SEED = {"train": 0, "validation": 1_000_000, "test": 2_000_000}
FIRST_PAIR = 3_000_000


@dataclasses.dataclass(frozen=True)
class Face:
    """The attributes of one image.

    `dataclasses.replace(face, glasses=True)` is the same person with glasses: the
    ground truth of an edit. `hair_color` is also the colour of the beard; it is not
    visible on a bald face without a beard. `x` and `y` are in percent of the image, and
    `tilt` is in degrees.
    """

    smile: bool
    glasses: bool
    beard: bool
    hair: str
    hair_color: str
    skin_color: str
    background: str
    clothing: str
    x: float
    y: float
    scale: float
    tilt: float

    @classmethod
    def from_seed(cls, seed: int) -> "Face":
        """Returns the face of a seed, the same on every machine and Python version.

        It uses only `random()`, because Python guarantees the sequence only of this
        method of `random.Random`.
        """
        draw = random.Random(int(seed)).random
        return cls(
            smile=draw() < 1 / 2,
            glasses=draw() < 1 / 3,
            beard=draw() < 1 / 3,
            **{
                name: list(values)[int(draw() * len(values))]
                for name, values in LABELS.items()
            },
            x=4 * draw() - 2,
            y=4 * draw() - 2,
            scale=0.96 + 0.08 * draw(),
            tilt=10 * draw() - 5,
        )


def render(face: Face, size: int = 64) -> np.ndarray:
    """Draws a face.

    Args:
        face: the face to draw.
        size: side of the image in pixels.

    Returns:
        uint8 (size, size, 3).

    Raises:
        StylePrompterError: if the packages for drawing are not installed.
    """
    style, avatar, svg_to_bytes = artist()
    options = {
        "seed": "0",  # the options below set everything, so it has no influence
        "mouthVariant": "bigSmile" if face.smile else "smirk",
        "eyesVariant": "glasses" if face.glasses else "open",
        "facialHairVariant": "beardMustache",
        "facialHairProbability": 100 if face.beard else 0,
        "hairVariant": HAIR[face.hair],
        "noseVariant": "mediumRound",
        "clothesVariant": "rounded",
        "hairColor": HAIR_COLOR[face.hair_color],
        "facialHairColor": HAIR_COLOR[face.hair_color],
        "skinColor": SKIN_COLOR[face.skin_color],
        "backgroundColor": BACKGROUND[face.background],
        "clothingColor": CLOTHING[face.clothing],
        # The artwork shows head and shoulders; this shows only the head.
        "scale": 1.42 * face.scale,
        "translateX": face.x,
        "translateY": 3 + face.y,
        "rotate": face.tilt,
    }
    png = svg_to_bytes(
        svg_string=str(avatar(style, options)),
        width=size,
        height=size,
        skip_system_fonts=True,
    )
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def as_seen(labels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns labels by direction names, with "" for invisible hair colours.

    Args:
        labels: (b,) for each label: booleans, or names.
    """
    seen = {name.replace("skin_color", "skin"): v for name, v in labels.items()}
    hidden = (seen["hair"] == "bald") & ~seen["beard"]
    return seen | {"hair_color": np.where(hidden, "", seen["hair_color"])}


def pairs(
    attribute: str, count: int
) -> Iterator[tuple[str, list[tuple[Face, Face]], bool]]:
    """Yields faces before and after a change of one attribute: ground truth of edits.

    Args:
        attribute: "smile", "hair_color", ...; "skin" instead of "skin_color".
        count: pairs for each direction.

    Yields:
        For an attribute such as "smile", one (name, pairs of faces, True): the pairs
        go from faces without it to faces with it, and the reverse is an edit too. For
        an attribute with several values, one ("hair_color_red", pairs, False) for each
        value: the pairs go from any other value to this one.

    Raises:
        StylePrompterError: for an unknown attribute.
    """
    field = "skin_color" if attribute == "skin" else attribute
    if field in ("smile", "glasses", "beard"):
        wanted: dict[str, Any] = {attribute: True}
    elif field in LABELS:
        wanted = {f"{attribute}_{value}": value for value in LABELS[field]}
    else:
        raise StylePrompterError(
            f"The avatars have no attribute {attribute!r}: choose one of smile, "
            f"glasses, beard, {', '.join(LABELS)}."
        )
    without: dict[str, Any] = {field: False}
    for name, value in wanted.items():
        found: list[tuple[Face, Face]] = []
        seed = FIRST_PAIR
        while len(found) < count:
            face, seed = Face.from_seed(seed), seed + 1
            after = dataclasses.replace(face, **{field: value})
            if value is True:
                face = dataclasses.replace(face, **without)
            hidden = field == "hair_color" and face.hair == "bald" and not face.beard
            if after != face and not hidden:
                found.append((face, after))
        yield name, found, value is True


@functools.cache
def artist() -> tuple[Any, Any, Any]:
    """Returns DiceBear's style, its Avatar class and the rasteriser.

    Raises:
        StylePrompterError: if the packages for drawing are not installed.
    """
    try:
        from dicebear import Avatar, Style
        from resvg_py import svg_to_bytes

        artwork = resources.files("dicebear_styles") / "personas.json"
    except ImportError as error:
        raise StylePrompterError(
            f"Drawing the avatars needs the package {error.name}: run "
            "pip install 'styleprompter_jax[avatars]'."
        ) from error
    artwork = json.loads(artwork.read_text(encoding="utf-8"))
    return Style(_adapt(artwork)), Avatar, svg_to_bytes


def _adapt(artwork: dict) -> dict:
    """Changes the artwork in place, so that attributes are clear at 64 px.

    It makes highlights weaker, so that skin and hair keep their colours. It draws the
    mouth above the beard, and makes its two forms differ in more pixels.
    """
    for element in _elements(artwork):
        attributes = element.get("attributes", {})
        if attributes.get("fill") == "white" and "overlay" in attributes.get(
            "style", ""
        ):
            attributes["opacity"] = ".12"
    layers = artwork["canvas"]["elements"]
    layers.append(layers.pop([layer["name"] for layer in layers].index("mouth")))
    # This beard includes a second mouth, as the last child of its last group.
    beard = artwork["components"]["facialHair"]["variants"]["beardMustache"]
    beard["elements"][-1]["children"].pop()
    mouths = artwork["components"]["mouth"]["variants"]
    line = {"stroke": "#1B0640", "stroke-linejoin": "round", "stroke-linecap": "round"}
    shapes = {
        "bigSmile": {"d": "M.5 1.2h9a4.5 4.2 0 0 1-9 0z", "fill": "white"} | line,
        "smirk": {"d": "M1.5 3.4h7", "fill": "none", "stroke-width": "1.8"} | line,
    }
    for name, attributes in shapes.items():
        path = {"type": "element", "name": "path", "attributes": attributes}
        mouths[name]["elements"] = [path]
    return artwork


def _elements(node: Any) -> Iterator[dict]:
    """Yields every SVG element below a node of the artwork's JSON."""
    if isinstance(node, dict):
        if node.get("type") == "element":
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _elements(child)
