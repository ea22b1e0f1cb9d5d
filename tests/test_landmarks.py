"""Landmarks from files: layouts, units, names, and crops that fit the photograph."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from styleprompter_jax.app.unalign import _read_crops, find_crop
from styleprompter_jax.cli import main
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images.align import align, crop_quad, unalign
from styleprompter_jax.images.files import read_image, write_image
from styleprompter_jax.images.landmarks import Landmarks, read_landmarks

SIDE = 256
# A portrait: eyes, nose, corners of the mouth.
FACE = np.array([[96, 111], [160, 111], [128, 145], [102, 184], [154, 184]], float)
PAIRS = FACE.tolist()
QUAD = crop_quad(FACE)


def with_68(face):
    points = np.tile(face[2], (68, 1))
    points[36:42], points[42:48], points[48], points[54] = face[[0, 1, 3, 4]]
    return points.tolist()


def quad(entry, width=SIDE, height=SIDE):
    return Landmarks.parsed(entry).quad(width, height)


@pytest.mark.parametrize(
    "entry",
    [
        PAIRS,
        with_68(FACE),
        [PAIRS],
        [[*point, 0.5] for point in PAIRS],
        [{"x": x, "y": y, "score": 1} for x, y in PAIRS],
        [[str(x), str(y)] for x, y in PAIRS],
        {"pixels": PAIRS},
        {"shares": ((FACE + 0.5) / SIDE).tolist()},
        {"percent": ((FACE + 0.5) / SIDE * 100).tolist()},
        {"thousandths": ((FACE + 0.5) / SIDE * 1000).tolist()},
    ],
)
def test_layouts_that_say_what_they_are(entry):
    np.testing.assert_allclose(quad(entry), QUAD, atol=1e-9)


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ((FACE / SIDE).tolist(), "look like shares"),
        ((FACE / SIDE * [0.5, 0.4] + 0.4).tolist(), "look like shares"),
        ((FACE / SIDE * 1.5).tolist(), "look like shares"),
        ((FACE / SIDE * 1000).tolist(), "look like thousandths"),
        ((FACE / 25).tolist(), "another unit"),
        ((FACE * 20).tolist(), "another size"),
        (((FACE - 128) * 20 + 128).tolist(), "5,256 pixels wide .* 256 x 256"),
        (((FACE - 128) * 1000 + 128).tolist(), "another size"),
        ((FACE + 1e5).tolist(), "outside the photograph"),
        ({"shares": PAIRS}, "unit in the file is shares"),
        ((FACE * 1e300).tolist(), "5 or 68 pairs"),
        (FACE.ravel().tolist(), r"not \[10\]"),
        ([PAIRS, PAIRS], "2 faces"),
        (FACE[[1, 0, 2, 4, 3]].tolist(), "the left of the image"),
        ([PAIRS[0]] * 5, "impossible for a face"),
        ({"box": [1, 2], "keypoints": {}}, "keys .'box', 'keypoints'.: write a list"),
        ({"mm": PAIRS}, "'mm'.*or one of the units"),
        ([[True, 1], *PAIRS[1:]], "5 or 68 pairs"),
        ([["x", "y"]] * 5, "5 or 68 pairs"),
        ([[None, 1]] * 5, "5 or 68 pairs"),
        ([], "5 or 68 pairs"),
        (None, "5 or 68 pairs"),
    ],
)
def test_what_is_out_of_scale_or_unclear_is_refused(entry, match):
    with pytest.raises(StylePrompterError, match=match):
        quad(entry)


def test_faces_that_are_small_or_cut_off_are_right():
    for face, size in (
        (FACE - [110, 0], (SIDE, SIDE)),  # half of it is outside
        (FACE / 5 + 40, (SIDE, SIDE)),
        (FACE / 10 + [3000, 2000], (6000, 4000)),
        (FACE / 8, (32, 32)),  # a whole picture is small
        (FACE * 3 - 256, (SIDE, SIDE)),  # little more than eyes and mouth
    ):
        np.testing.assert_allclose(quad(face.tolist(), *size), crop_quad(face))


def test_percent_is_refused_where_it_is_plain_and_else_warned_of():
    percent = (FACE / SIDE * 100).tolist()
    for size in ((2000, 1500), (SIDE, SIDE)):
        with pytest.raises(StylePrompterError, match="look like percent"):
            quad(percent, *size)
    for points, side in (({"pixels": percent}, SIDE), (percent, 150), (PAIRS, 2000)):
        assert len(quad(points, side, side)) == 4
        assert not Landmarks.parsed(points).looks_like_percent(side, side)
    small = ((FACE / SIDE - 0.5) * 50 + 50).tolist()
    assert Landmarks.parsed(small).looks_like_percent(SIDE, SIDE)
    assert len(quad(small)) == 4
    with pytest.raises(StylePrompterError, match="look like percent"):
        quad(small, 2000, 1500)


def written(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_whose_they_are(tmp_path):
    paths = [Path(name) for name in ("in/x/a.png", "in/y/a.png", "in/b.png")]

    def read(content, paths=paths):
        return read_landmarks(written(tmp_path / "points.json", content), paths)[0]

    assert read({"x/a.png": 1, "b.png": 2, "else.png": 3}) == {paths[0]: 1, paths[2]: 2}
    assert read(PAIRS, paths[:1]) == {paths[0]: PAIRS}
    assert read({"shares": PAIRS}, paths[:1]) == {paths[0]: {"shares": PAIRS}}
    # As the metadata of FFHQ have it.
    wild = {"in_the_wild": {"file_path": "y/a.png", "face_landmarks": PAIRS}}
    assert read({"0": wild}) == {paths[1]: PAIRS}
    # By whole paths, and by more folders than the path has.
    there = Path.cwd()
    assert read({str(there / "in/x/a.png"): 1}) == {paths[0]: 1}
    assert read({f"{there.name}/in/b.png": 1}) == {paths[2]: 1}
    assert read(PAIRS, []) == {}  # all inputs are results of an earlier call
    for content, match in (
        ({"a.png": 1}, "matches in/x/a.png and in/y/a.png"),
        (PAIRS, "one list of points for 3 images"),
        ('{"b.png": [[NaN, 1]]}', "NaN"),
        ('{"b.png": [[1e400, 1]]}', "too large"),
        ('{"b.png": [[1' + "0" * 400 + ", 1]]}", "too large"),
        ("[" * 100_000, "nested"),
        ("3", "5 or 68 points"),
        ("[", "5 or 68 points"),
    ):
        with pytest.raises(StylePrompterError, match=match):
            read(content)


def test_a_whole_path_wins_and_longer_names_come_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    top, sub = Path("in/anna.png"), Path("in/sub/anna.png")

    def read(content, *folders, paths=(top, sub)):
        file = written(tmp_path / "points.json", content)
        return read_landmarks(file, paths, [Path(f) for f in folders])[0]

    both = {"anna.png": 1, "sub/anna.png": 2}
    for folders in ((), ("in",), ("in", "in/sub")):
        assert read(both, *folders) == {top: 1, sub: 2}
    assert read({"anna.png": 1}, "in") == {top: 1}
    outside = Path("../elsewhere/anna.png")
    assert read({str(outside): 1}, paths=[top, outside]) == {outside: 1}
    assert read({"in/anna.png": 1, "sub/anna.png": 2}) == {top: 1, sub: 2}
    local = Path("anna.png"), Path("sub/anna.png")
    assert read({"anna.png": 1}, paths=local) == {local[0]: 1}
    # Both names are of one image; the other image has none.
    assert read(both, paths=[sub]) == {sub: 2}
    for folders in ((), ("in", "in/sub")):
        with pytest.raises(StylePrompterError, match="write the folder too"):
            read({"anna.png": 1}, *folders)


def test_the_command_takes_the_names_that_it_prints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in/anna.png", "in/sub/anna.png"):
        write_image(np.zeros((SIDE, SIDE, 3), np.uint8), tmp_path / name)
    both = written(tmp_path / "lm.json", {"anna.png": PAIRS, "sub/anna.png": PAIRS})
    call = ["align", "--size", "32", "--landmarks", str(both), "--input", "in"]
    assert main([*call, "--output", "out"]) == 0
    assert (tmp_path / "out" / "sub" / "anna.json").exists()


def test_the_command_says_it_and_writes_nothing(tmp_path, capsys):
    write_image(np.zeros((SIDE, SIDE, 3), np.uint8), tmp_path / "a.png")
    shares = written(tmp_path / "shares.json", {"a.png": (FACE / SIDE).tolist()})
    percent = written(tmp_path / "percent.json", {"a.png": (FACE / 2.56).tolist()})
    call = ["align", "--input", str(tmp_path / "a.png"), "--size", "32",
            "--output", str(tmp_path / "out"), "--landmarks"]  # fmt: skip
    assert main([*call, str(shares)]) == 1 and not (tmp_path / "out").exists()
    assert '{"shares": [[x, y], ...]}' in capsys.readouterr().err
    assert main([*call, str(shares), "--skip-bad"]) == 1
    capsys.readouterr()
    assert main([*call, str(percent)]) == 1 and not (tmp_path / "out").exists()
    assert capsys.readouterr().err.count("look like percent") == 1
    written(percent, {"\u00e9.png": PAIRS})
    (tmp_path / "a.png").rename(tmp_path / "e\u0301.png")
    assert main([*call[:2], str(tmp_path), *call[3:], str(percent)]) == 1
    assert "looks the same as" in capsys.readouterr().err
    (tmp_path / "e\u0301.png").rename(tmp_path / "a.png")
    written(percent, {"a.png": ((FACE / SIDE - 0.5) * 50 + 50).tolist()})
    assert main([*call, str(percent)]) == 0
    assert capsys.readouterr().err.count("look like percent") == 1
    for size in ("4097", "99999"):
        assert main([*call[:4], size, *call[5:], str(percent)]) == 1
        error = f"Error: size (--size) is {size}: it must be at most 4096.\n"
        assert capsys.readouterr().err.endswith(error)


@pytest.mark.parametrize(
    "change",
    [
        {"quad": [[0, 0], [0, 1e5], [1e5, 1e5], [1e5, 0]]},
        {"quad": [[-1e5, -1e5], [-1e5, 1e5], [1e5, 1e5], [1e5, -1e5]]},
        {"quad": [[1e8, 0], [1e8, 9], [1e8 + 9, 9], [1e8 + 9, 0]]},
        {"quad": [[0, 0], [0, 1e200], [1e200, 1e200], [1e200, 0]]},
        {"quad": [[0, 0], [0, 0], [0, 0], [0, 0]]},
        {"quad": [[0, 0], [0, 1], [1, 1]]},
        {"quad": None},
        {"size": [SIDE, 10**30]},
        {"size": [-SIDE, -SIDE]},
        {"size": ["256", "256"]},
        {"size": 3},
        {"size": None},
        {"quad": [[True, 0], [0, 9], [9, 9], [9, 0]]},
        {"photograph": None},
        {"photograph": {}},
        {"photograph_hex": "00"},
        {"photograph_hex": 5},
    ],
)
def test_records_are_checked_before_anything_is_made(tmp_path, change):
    record = {"photograph": "a.png", "size": [SIDE, SIDE], "quad": QUAD.tolist()}
    written(tmp_path / "a.json", record)
    assert _read_crops(tmp_path)["a"][()].size == (SIDE, SIDE)
    written(tmp_path / "a.json", record | change)
    with pytest.raises(StylePrompterError, match=r"a\.json is not a valid record"):
        _read_crops(tmp_path)


def test_other_files_beside_the_records(tmp_path):
    record = {"photograph": "a.png", "size": [SIDE, SIDE], "quad": QUAD.tolist()}
    written(tmp_path / "a.json", record)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / ".ipynb_checkpoints").mkdir()
    written(tmp_path / ".ipynb_checkpoints" / "a.json", record)
    written(tmp_path / "list.json", [1])
    written(tmp_path / "large.json", "x" * 2**17)
    assert list(_read_crops(tmp_path)) == ["a"]
    written(tmp_path / "nan.json", '{"quad": [[NaN]]}')
    with pytest.raises(StylePrompterError, match=r"nan\.json cannot be read"):
        _read_crops(tmp_path)


def test_names_are_matched_in_linear_time(tmp_path):
    """10,000 names took a minute where each was compared with each."""
    names = [f"{k % 100}/{k}" for k in range(10_000)]
    paths = [Path("in", f"{name}.png") for name in names]
    file = written(
        tmp_path / "points.json", {f"{n}.png": k for k, n in enumerate(names)}
    )
    start = time.process_time()
    assert list(read_landmarks(file, paths)[0].values()) == list(range(10_000))
    crops = {}
    for name in names:
        folder, own = name.split("/")
        crops.setdefault(own, {})[(folder,)] = name
    assert [find_crop(Path("out", f"{n}_a_+1.png"), crops) for n in names] == names
    # All called alike, in folders of their own.
    crops = {"a": {(str(k),): k for k in range(10_000)}}
    found = [find_crop(Path(f"out/{k}/a_smile.png"), crops) for k in range(10_000)]
    assert found == list(range(10_000))
    assert time.process_time() - start < 10


def test_far_and_large_quads_make_no_large_arrays():
    photo = np.zeros((64, 48, 3), np.uint8)
    far = QUAD * 1e4 - 1e6
    for call in (
        lambda: align(photo, far, 64),
        lambda: unalign(photo, photo, far, detail=False),
        lambda: align(photo, QUAD / 4, 10**6),
    ):
        with pytest.raises(StylePrompterError):
            call()


def test_a_crop_is_the_same_in_bands(tmp_path, monkeypatch):
    photo = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    whole = align(photo, QUAD, 100)
    edited = 255 - whole
    pasted = [unalign(photo, edited, QUAD, detail=d) for d in (True, False)]
    monkeypatch.setattr("styleprompter_jax.images.align.BAND", 700)
    np.testing.assert_array_equal(align(photo, QUAD, 100), whole)
    for detail, expected in zip((True, False), pasted, strict=True):
        again = unalign(photo, edited, QUAD, detail=detail)
        np.testing.assert_array_equal(again, expected)


def test_oblong_pictures_are_not_made_large(tmp_path, capsys):
    write_image(np.zeros((60_000, 1, 3), np.uint8), tmp_path / "in" / "line.png")
    write_image(np.zeros((40, 20, 3), np.uint8), tmp_path / "in" / "good.png")
    call = ["pack", str(tmp_path / "in"), str(tmp_path / "out.array_record"),
            "--crop", "none", "--size", "256"]  # fmt: skip
    assert main(call) == 0
    out, err = capsys.readouterr()
    assert "line.png has 1 x 60000 pixels: it keeps them" in err
    assert "2 images packed" in out
    with pytest.raises(StylePrompterError, match="the limit is"):
        read_image(tmp_path / "in" / "good.png", 10**5)
