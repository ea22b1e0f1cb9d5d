"""Reads photographs, finds and crops faces, and makes previews.

The reader of files (`images/decode.py`) reads uploads, after a check of their size.
A model of cars reads and shows oblong images; only square ones have faces to align.
"""

import functools
import io
from typing import Any

import numpy as np
from PIL import Image

from styleprompter_jax.app.alignment import expected_quad
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data import faces
from styleprompter_jax.images import align, decode, detect
from styleprompter_jax.images.files import resize
from styleprompter_jax.images.landmarks import Landmarks
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.web import answers
from styleprompter_jax.web.limits import Limits, Refused
from styleprompter_jax.web.things import Crop, Photo, as_file

PHOTO = "The image"  # the name of an upload in messages
PREVIEW = 1600  # pixels of the longer side of a preview
EXAMPLES = 8


class Photographs:
    """Prepares photographs for a model.

    Args:
        model: the model.
        limits: the limits of the server.
    """

    def __init__(self, model: StylePrompter, limits: Limits):
        self._model, self._limits = model, limits
        height, width, channels = model.config.input_shape
        self._reads = model.config.encoder is not None and channels == 3
        self.shown, self._seen = model.config.shown_shape, (height, width)

    @property
    def encodes(self) -> bool:
        """Whether the model encodes images instead of sketches or label maps."""
        return self._reads

    @property
    def square(self) -> bool:
        """Whether images are square, so that they can be cut out and pasted back."""
        return self.shown[0] == self.shown[1]

    @functools.cached_property
    def face(self) -> np.ndarray | None:
        """The crop of the model's mean face; None for a model of other things."""
        return expected_quad(self._model) if self.encodes and self.square else None

    @functools.cached_property
    def examples(self) -> int:
        """The number of example images for this model."""
        if self._model.source != "avatars64" or not self.encodes:
            return 0
        try:
            faces.artist()
        except StylePrompterError:
            return 0
        return EXAMPLES

    def example(self, number: int) -> bytes:
        """Draws an example face, and returns it as a PNG."""
        if not 0 <= number < self.examples:
            raise Refused(404, "This example does not exist.")
        return _draw(number, max(256, *self.shown))

    def read(self, data: bytes, name: str) -> tuple[Photo, answers.PhotoFacts]:
        """Reads an upload; returns the photograph and the facts for its client.

        Args:
            data: the bytes of the upload.
            name: the name of the photograph in scripts.

        Raises:
            StylePrompterError: if the image is damaged or too large.
        """
        most = self._limits.pixels
        try:
            width, height = decode.image_size(io.BytesIO(data), PHOTO)
            if width * height > most:
                raise decode.TooLarge(PHOTO, most)
        except decode.TooLarge as error:
            # The reader's own limit may be higher: its advice would not be enough.
            raise Refused(413, str(decode.TooLarge(PHOTO, most))) from error
        with decode.decoded(io.BytesIO(data), PHOTO) as pixels:
            height, width, _ = pixels.shape
            points, lies_well = self._look_for_a_face(pixels)
        facts: answers.PhotoFacts = {
            "width": width,
            "height": height,
            "points": None if points is None else points.round(2).tolist(),
            "aligned": lies_well,
        }
        return Photo(data, name, width, height), facts

    def _look_for_a_face(self, pixels: np.ndarray) -> tuple[np.ndarray | None, bool]:
        """Returns the points of the largest face, and whether it is aligned already.

        If the image has no face, it counts as aligned.
        """
        if self.face is None:
            return None, True
        found = detect.find_faces(pixels)[:1]
        if not len(found):
            return None, True
        try:
            quad = align.crop_quad(found[0])
        except StylePrompterError:  # the points are not those of a face
            return None, True
        height, width, _ = pixels.shape
        side = min(height, width)
        middle = np.array([(width - side) / 2, (height - side) / 2])
        own = (quad + 0.5 - middle) / side
        return found[0], not detect.is_elsewhere(own, self.face)

    def cut(self, photo: Photo, given: Any) -> Crop:
        """Crops a face.

        Args:
            photo: the photograph.
            given: the five points of the face; None finds the largest face.

        Raises:
            StylePrompterError: if the points are wrong, or no face is found.
        """
        if not self.square:
            raise Refused(400, "This model has no square images: nothing to align.")
        with decode.decoded(io.BytesIO(photo.data), PHOTO) as pixels:
            if given is None:
                found = detect.find_faces(pixels)[:1]
                if not len(found):
                    raise Refused(400, f"{PHOTO} shows no face: give five points.")
                given = found[0]
            points = np.asarray(given, np.float64)
            quad = Landmarks(points, "pixels").quad(photo.width, photo.height)
            cut = align.align(pixels, quad, max(*self.shown, *self._seen))
        return self._crop(photo, quad, cut, points)

    def middle(self, photo: Photo) -> Crop:
        """Returns the middle of a photograph, in the proportions of the model."""
        height, width = self._seen
        scale = min(photo.height / height, photo.width / width)
        sides = np.array([width, height]) * scale
        middle = np.array([photo.width, photo.height]) / 2 - 0.5
        ways = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) / 2
        corners = middle + ways * sides
        with decode.decoded(io.BytesIO(photo.data), PHOTO) as pixels:
            return self._crop(photo, corners, pixels, None)

    def _crop(
        self, photo: Photo, quad: np.ndarray, pixels: np.ndarray, points: Any
    ) -> Crop:
        shown, seen = resize(pixels, self.shown), resize(pixels, self._seen)
        return Crop(photo, quad, shown, seen, points)


def preview(photo: Photo) -> bytes:
    """Returns a smaller, upright JPEG of a photograph."""
    with decode.decoded(io.BytesIO(photo.data), PHOTO) as pixels:
        image = Image.fromarray(pixels)
        image.thumbnail((PREVIEW, PREVIEW), Image.Resampling.LANCZOS)
        return as_file(np.asarray(image), "jpg")


@functools.cache
def _draw(number: int, size: int) -> bytes:
    face = faces.Face.from_seed(faces.FIRST_SEED["test"] + number)
    return as_file(faces.render(face, size), "png")
