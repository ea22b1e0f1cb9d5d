"""The command line from end to end, on five images and a tiny model."""

import importlib.util
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import styleprompter_jax as sp
from styleprompter_jax.app import pictures
from styleprompter_jax.cli import main
from styleprompter_jax.core.results import ACCOUNT, Results, sources_in
from styleprompter_jax.editing.latents import load_named
from styleprompter_jax.images import files as pictures_in_files
from styleprompter_jax.images.files import read_image

NAMES = ["b.png", "x/a.png", "x/z/c.png", "y/a.jpg", "y/a.png"]
RESULTS = ["b.png", "x/a.png", "x/z/c.png", "y/a.jpg.png", "y/a.png.png"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Five images of several sizes in nested folders; some have the same name."""
    folder = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    for k, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (32 + 4 * k, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def run(capsys, *args):
    """Runs a command: (exit code, stdout, stderr)."""
    code = main([str(arg) for arg in args])
    return code, *capsys.readouterr()


def files(folder):
    found = (path for path in folder.rglob("*") if path.name != ACCOUNT)
    return sorted(str(path.relative_to(folder)) for path in found if path.is_file())


def test_invert(tmp_path, capsys, tiny_folder, faces, monkeypatch):
    decoded, decode = [], pictures_in_files.decoded

    def counted(file, name, *rest):
        decoded.append(name)
        return decode(file, name, *rest)

    monkeypatch.setattr(pictures_in_files, "decoded", counted)
    call = ("invert", "--model", tiny_folder, "--input", faces, "--output")
    # The second batch of four holds one image.
    code, out, err = run(capsys, *call, tmp_path / "4", "--batch-size", 4)
    assert sorted(decoded) == [str(faces / name) for name in NAMES]  # each once
    assert code == 0 and "5 images" in out
    assert "Warning: 3 of 4 images" in err  # not square
    assert files(tmp_path / "4") == sorted([*RESULTS, "latents.npz", "sheet.png"])
    run(capsys, *call, tmp_path / "1", "--batch-size", 1, "--features")
    model = sp.load(tiny_folder)
    for k, name in enumerate(NAMES):
        y, latents = model.invert(sp.read_images([faces / name], 32))
        sp.write_images(y, [tmp_path / "expected.png"])
        expected = read_image(tmp_path / "expected.png").astype(int)
        for batch in ("4", "1"):
            result = read_image(tmp_path / batch / RESULTS[k])
            assert np.abs(result - expected).max() <= 1
            stored, names = load_named(tmp_path / batch / "latents.npz")
            assert names[k] == RESULTS[k].removesuffix(".png")
            np.testing.assert_allclose(stored.w_plus[k], latents.w_plus[0], atol=1e-4)
            assert len(stored.features) == (2 if batch == "1" else 0)
    sheet = read_image(tmp_path / "4" / "sheet.png")
    assert sheet.shape[0] > 5 * 128 and sheet.shape[1] > 3 * 128


def test_results_among_the_pictures(tmp_path, capsys, tiny_folder):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    call = ("invert", "--model", tiny_folder, "--input", tmp_path, "--output")
    for _ in range(2):  # the results of the first call are not inputs of the second
        code, out, _ = run(capsys, *call, tmp_path / "out")
        assert code == 0 and "1 image " in out
    before = files(tmp_path)
    code, _, err = run(capsys, *call, tmp_path)
    assert code == 1 and "overwritten" in err and files(tmp_path) == before


def test_invert_options_reach_the_model(tmp_path, capsys, tiny_folder, faces):
    model = sp.load(tiny_folder)
    x = sp.read_images([faces / "b.png"], 32)
    call = ("invert", "--model", tiny_folder, "--input", faces / "b.png", "--output")
    for k, (options, expected) in enumerate(
        (
            (("--no-refine",), dict(refine=False)),
            (("--beta", -0.5, 2), dict(beta=(-0.5, 2))),
        )
    ):
        assert run(capsys, *call, tmp_path / str(k), *options)[0] == 0
        sp.write_images(model.invert(x, **expected)[0], [tmp_path / "expected.png"])
        result = read_image(tmp_path / str(k) / "b.png").astype(int)
        assert np.abs(result - read_image(tmp_path / "expected.png")).max() <= 1
    results = []
    for seed in (1, 1, 2):
        options = ("--noise-mode", "random", "--seed", seed)
        run(capsys, *call, tmp_path / "random", *options)
        results.append(read_image(tmp_path / "random" / "b.png"))
    assert (results[0] == results[1]).all() and (results[0] != results[2]).any()


def test_bad_pictures(tmp_path, capsys, tiny_folder, faces):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and nothing")
    (tmp_path / "text.jpg").write_text("text")
    out = tmp_path / "out"
    call = (
        "invert",
        "--model",
        tiny_folder,
        "--batch-size",
        4,
        "--input",
        faces,
        tmp_path,
    )
    code, _, err = run(capsys, *call, "--output", out)
    assert code == 1 and not out.exists()
    assert "broken.png" in err and "text.jpg" in err and "--skip-bad" in err
    assert "Traceback" not in err
    code, said, err = run(capsys, *call, "--output", out, "--skip-bad")
    assert code == 0 and "5 images" in said and "2 skipped" in said
    assert err.count("Skipped:") == 2 and len(load_named(out / "latents.npz")[1]) == 5
    only_bad = (*call[:-2], tmp_path / "text.jpg", "--output", tmp_path / "none")
    assert run(capsys, *only_bad, "--skip-bad")[0] == 1


def test_edit(tmp_path, capsys, tiny_folder, faces):
    np.save(tmp_path / "hat.npy", np.random.default_rng(3).standard_normal((1, 8 * 16)))
    call = ("edit", "--model", tiny_folder, "--batch-size", 4, "--direction", "smile")
    code, out, _ = run(
        capsys,
        *(*call, tmp_path / "hat.npy", "--strength", -3, 0, 3, "--input", faces),
        *("--output", tmp_path / "edits"),
    )
    assert code == 0 and "30 edits of 5 images" in out
    names = files(tmp_path / "edits")
    assert len(names) == 31 and "sheet.png" in names and "x/a_smile_-3.png" in names
    assert sources_in(tmp_path / "edits")["x/a_smile_-3.png"] == "x/a"
    model = sp.load(tiny_folder)
    latents = model.encode(sp.read_images([faces / "y/a.png"], 32))
    for strength in (-3, 0, 3):
        expected = model.decode(latents.edit(model.directions["smile"], strength))
        sp.write_images(expected, [tmp_path / "expected.png"])
        result = read_image(tmp_path / "edits" / f"y/a.png_smile_{strength:+}.png")
        difference = result - read_image(tmp_path / "expected.png").astype(int)
        assert np.abs(difference).max() <= 1

    # From latents, with the default strength of the direction: the same images.
    run(capsys, "invert", "--model", tiny_folder, "--input", faces, "--features",
        "--batch-size", 4, "--output", tmp_path / "inverted")  # fmt: skip
    stored = tmp_path / "inverted" / "latents.npz"
    assert run(capsys, *call, "--latents", stored, "--output", tmp_path / "e")[0] == 0
    assert {"y/a.png_smile_-3.png", "y/a.png_smile_+2.png"} < set(files(tmp_path / "e"))
    result = read_image(tmp_path / "e" / "x/a_smile_+0.png").astype(int)
    assert np.abs(result - read_image(tmp_path / "edits/x/a_smile_+0.png")).max() <= 1


def test_edits_as_animations(tmp_path, capsys, tiny_folder, faces):
    call = ("edit", "--model", tiny_folder, "--batch-size", 4, "--input", faces,
            "--strength", -2, 2, "--frames", 6, "--animate")  # fmt: skip
    one = ("--direction", "smile", "--output", tmp_path / "gif")
    code, out, _ = run(capsys, *call, "gif", *one)
    assert code == 0 and "5 animations of 5 images" in out
    names = files(tmp_path / "gif")
    assert "x/a_smile.gif" in names and len(names) == 6
    with Image.open(tmp_path / "gif" / "x/a_smile.gif") as image:
        assert (image.n_frames, image.size) == (10, (32, 32))  # there and back
        assert image.info["loop"] == 0 and image.info["duration"] == 50
    # Both at once, each by its weight, as frames.
    two = ("--together", "--direction", "smile:0.5", "hat", "--output", tmp_path / "f")
    assert run(capsys, *call, "frames", *two)[0] == 0
    model = sp.load(tiny_folder)
    latents = model.encode(sp.read_images([faces / "x/a.png"], 32))
    smile, hat = model.directions["smile"], model.directions["hat"]
    edited = latents.edit(smile, -1.0).edit(hat, -2.0)
    expected = model.decode(edited, beta=(0.5, 1.0))  # the least that one asks for
    sp.write_images(expected, [tmp_path / "expected.png"])
    result = read_image(tmp_path / "f" / "x/a_smile+hat" / "0000.png").astype(int)
    assert np.abs(result - read_image(tmp_path / "expected.png")).max() <= 1
    assert len(list((tmp_path / "f" / "x/a_smile+hat").iterdir())) == 6
    assert "b_smile+hat" not in files(tmp_path / "f")
    # Of a longer sweep, only the frames go that the command wrote.
    (tmp_path / "f" / "x/a_smile+hat" / "0099.png").write_text("mine")
    assert run(capsys, *call, "frames", *two, "--frames", 5)[0] == 0
    left = sorted(path.stem for path in (tmp_path / "f" / "x/a_smile+hat").iterdir())
    assert left == ["0000", "0001", "0002", "0003", "0004", "0099"]
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        code, _, err = run(capsys, *call, "mp4", *one[:3], tmp_path / "mp4")
        assert code == 1 and "pip install imageio-ffmpeg" in err
        assert not (tmp_path / "mp4").exists()


def test_optimize(tmp_path, capsys, tiny_folder, faces):
    call = ("invert", "--model", tiny_folder, "--input", faces / "b.png", "--no-refine",
            "--output")  # fmt: skip
    codes = []
    for k, steps in enumerate((0, 5, 5)):
        options = ("--optimize", steps) if steps else ()
        assert run(capsys, *call, tmp_path / str(k), *options)[0] == 0
        codes.append(sp.Latents.load(tmp_path / str(k) / "latents.npz").w_plus)
    np.testing.assert_array_equal(codes[1], codes[2])
    assert np.abs(codes[1] - codes[0]).max() > 0.01
    call = ("edit", "--model", tiny_folder, "--direction", "hat", "--optimize", 1)
    call += ("--latents", tmp_path / "1/latents.npz", "--output", tmp_path / "e")
    code, _, err = run(capsys, *call)
    assert code == 1 and "--input" in err and not (tmp_path / "e").exists()


@pytest.mark.parametrize("options", ["--beta 1 1", "--refiner beta=0.5,0.5"])
def test_a_refiner_that_is_skipped_has_no_options(
    options, tmp_path, capsys, tiny_folder, faces
):
    given = ["--model", tiny_folder, "--input", faces / "b.png", "--output"]
    for command in (["invert"], ["edit", "--direction", "hat"]):
        call = [*command, *given, tmp_path / "o", "--no-refine", *options.split()]
        code, _, err = run(capsys, *call)
        assert code == 1 and "(--no-refine) skips it: leave out one of them." in err
    assert not (tmp_path / "o").exists()


def test_errors_leave_no_output(tmp_path, capsys, tiny_folder, faces):
    out = tmp_path / "out"
    np.save(tmp_path / "bad.npy", np.zeros(3))
    np.savez(tmp_path / "up.npz", w_plus=np.zeros((1, 8, 16)), names=["../up"])
    np.savez(tmp_path / "codes.npz", w_plus=np.zeros((1, 8, 16)))
    np.savez(tmp_path / "two.npz", w_plus=np.zeros((2, 8, 16)), names=["a", "a"])
    np.savez(tmp_path / "other.npz", w_plus=np.zeros((2, 6, 16)))
    model = ("--model", tiny_folder, "--batch-size", 4)
    given = ("--input", faces)
    for call, match in (
        (("invert", "--model", tmp_path / "gone", *given), "folder"),
        (("invert", *model, "--input", tmp_path / "gone"), "gone"),
        (("edit", *model, *given, "--direction", "hut"), "are: hat, smile"),
        (("edit", *model, *given, "--direction", tmp_path / "bad.npy"), "bad.npy"),
        (
            ("edit", *model, *given, "--direction", "hat", "--layers", 8),
            "(--layers) is 8: it must be at most 7",
        ),
        (
            ("edit", *model, "--latents", tmp_path / "up.npz", "--direction", "hat"),
            "'../up'",
        ),
        (
            ("edit", *model, "--latents", tmp_path / "two.npz", "--direction", "hat"),
            "two images 'a'",
        ),
        (
            ("edit", *model, "--latents", tmp_path / "other.npz", "--direction", "hat"),
            "other.npz holds codes of the shape [6, 16]",
        ),
        (
            ("edit", *model, "--latents", tmp_path / "codes.npz", "--direction", "hat"),
            "no feature maps",
        ),
    ):
        code, _, err = run(capsys, *call, "--output", out)
        assert code == 1 and match in err and err.startswith("Error: "), call
        assert not out.exists(), call
    call = ("invert", *model, *given, "--output", tmp_path / "bad.npy" / "out")
    assert "is a file" in run(capsys, *call)[2]
    call = ("invert", "--model", tmp_path, *given, "--output", out, "--traceback")
    code, _, err = run(capsys, *call)
    assert code == 1 and "Traceback" in err


@pytest.mark.parametrize(
    "call",
    [
        (),
        ("conjure",),
        ("invert", "--model", "m"),
        ("invert", "--model=m", "--input=x", "--output=y", "--batch-size=0"),
        ("invert", "--model=m", "--input=x", "--output=y", "--beta", "1", "nan"),
        ("edit", "--model=m", "--output=y", "--direction=d"),
    ],
)
def test_a_wrong_call_exits_with_2(call, capsys):
    with pytest.raises(SystemExit) as error:
        main(list(call))
    assert error.value.code == 2 and "usage" in capsys.readouterr().err


def test_help_does_not_wait_for_jax():
    code = (
        "import sys, styleprompter_jax as sp, styleprompter_jax.cli as cli\n"
        "try: cli.main(['invert', '--help'])\n"
        "except SystemExit: pass\n"
        "assert sp.__version__ and not {'jax', 'numpy', 'PIL'} & sys.modules.keys()"
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert time.perf_counter() - start < 3  # 0.1 s where nothing else runs
    for name in sp.__all__:
        assert getattr(sp, name)
    result = subprocess.run(
        [sys.executable, "-m", "styleprompter_jax", "--version"], capture_output=True
    )
    assert result.stdout.decode().strip() == sp.__version__


def test_a_picture_called_sheet(tmp_path):
    taken = [tmp_path / "sheet.png", tmp_path / "sheet_.png"]
    assert pictures.sheet_path(tmp_path, taken).name == "sheet__.png"


def test_what_cannot_be_written_is_told(tmp_path):
    path = tmp_path / "out" / "x" / "a.png"
    place = Results(tmp_path / "out", [path])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("")
    told = pytest.raises(sp.StylePrompterError, match=r"a\.png cannot be written")
    with told, pictures.writing(place) as write:
        write(np.zeros((1, 4, 4, 3), np.uint8), [path])


def test_mix(tmp_path, capsys, tiny_folder, faces):
    call = ("mix", "--model", tiny_folder, "--batch-size", 4, "--source", faces / "x",
            "--reference", faces / "y", "--output")  # fmt: skip
    code, out, _ = run(capsys, *call, tmp_path / "all", "--mode", "replace")
    assert code == 0 and "36 mixes of 2 sources and 2 references" in out
    names = files(tmp_path / "all")
    assert len(names) == 37 and "z/c_a.jpg_replace_8.png" in names
    assert sources_in(tmp_path / "all")["z/c_a.jpg_replace_8.png"] == "z/c"
    model = sp.load(tiny_folder)
    source, reference = (
        model.encode(sp.read_images([faces / name], 32))
        for name in ("x/z/c.png", "y/a.jpg")
    )
    # All codes of the reference, refined with the features of the source.
    expected = model.decode(sp.Latents(reference.w_plus, source.features))
    sp.write_images(expected, [tmp_path / "expected.png"])
    expected = read_image(tmp_path / "expected.png").astype(int)
    result = read_image(tmp_path / "all" / "z/c_a.jpg_replace_8.png")
    assert np.abs(result - expected).max() <= 1
    options = (
        "--mode",
        "interpolate",
        "--pairs",
        "--alpha",
        0.25,
        1,
        "--format",
        "jpg",
    )
    assert run(capsys, *call, tmp_path / "pairs", *options)[0] == 0
    names = files(tmp_path / "pairs")
    assert names[:2] == ["a_a.jpg_interpolate_0.25.jpg", "a_a.jpg_interpolate_1.jpg"]
    assert len(names) == 5 and "z/c_a.png_interpolate_1.jpg" in names
    with Image.open(tmp_path / "pairs" / "z/c_a.png_interpolate_1.jpg") as image:
        assert image.format == "JPEG" and image.size == (32, 32)
    # One source with two references: it is no repetition, but in two pairs.
    twice = ("--mode", "exchange", "--layers", 0, "--pairs", "--source",
             *(faces / name for name in ("b.png", "b.png", "x/a.png")), "--reference",
             *(faces / name for name in ("y/a.jpg", "y/a.png", "b.png")))  # fmt: skip
    assert run(capsys, *call, tmp_path / "twice", *twice)[0] == 0
    assert files(tmp_path / "twice") == [
        "b_y-a.jpg_exchange_0.png",
        "b_y-a.png_exchange_0.png",
        "sheet.png",
        "x/a_b_exchange_0.png",
    ]
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "text.png").write_text("text")
    bad = (tmp_path / "bad", faces / "b.png", faces / "x/a.png")
    for wrong, match in (
        (("--mode", "exchange", "--layers", "6-8"), "(--layers) is 8"),
        (
            ("--mode", "exchange", "--pairs", "--source", faces / "b.png"),
            "do not form pairs",
        ),
        (("--mode", "exchange", "--pairs", "--skip-bad", "--source", *bad), "wrong"),
    ):
        code, _, err = run(capsys, *call, tmp_path / "none", *wrong)
        assert code == 1 and match in err and not (tmp_path / "none").exists()
