"""Numbers on the command line: out of range, equal, nearly equal, and huge."""

import numpy as np
import pytest
from PIL import Image

import styleprompter_jax as sp
from styleprompter_jax.app import edit
from styleprompter_jax.cli import main, make_parser
from styleprompter_jax.cli.arguments import LARGEST_BATCH
from styleprompter_jax.data.selected import Part
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.editing.mixing import mixes
from styleprompter_jax.ops.frechet import gaussian
from styleprompter_jax.search.unsupervised import in_deviations, pca

IO = ["--model", "m", "--input", "x", "--output", "y"]
CALLS = {
    "invert": IO,
    "edit": [*IO, "--direction", "smile"],
    "mix": ["--model", "m", "--source", "x", "--reference", "x", "--output", "y",
            "--mode", "replace"],
    "evaluate": IO,
    "directions": ["--model", "m", "--method", "pca"],
    "align": IO[2:],
}  # fmt: skip


def parsed(command, *args):
    return make_parser().parse_args([command, *CALLS[command], *args])


@pytest.mark.parametrize("command", ["invert", "edit", "mix", "evaluate", "directions"])
def test_seeds_and_batches(command, capsys):
    assert parsed(command, "--seed", str(2**63 - 1)).seed == 2**63 - 1
    for seed in ("-1", str(2**63), "9" * 5000, "1.5", "x", ""):
        with pytest.raises(SystemExit) as caught:
            parsed(command, f"--seed={seed}")
        assert caught.value.code == 2 and "--seed" in capsys.readouterr().err
    # Results do not depend on the batch: more than fit are taken one after the other.
    assert parsed(command, "--batch-size", "1000000000").batch_size == LARGEST_BATCH
    for size in ("0", "-1", str(2**63), "1e9"):
        with pytest.raises(SystemExit):
            parsed(command, f"--batch-size={size}")


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *(("evaluate", "--size"), ("align", "--size"), ("evaluate", "--count")),
        *(("directions", "--count"), ("directions", "--rank"), ("edit", "--frames")),
        *(("directions", "--components"), ("directions", "--steps")),
        *(("invert", "--optimize"), ("edit", "--layers")),
    ],
)
def test_huge_numbers(command, option):
    for value in (str(2**40), "-1", "9" * 5000):
        with pytest.raises(SystemExit):
            parsed(command, f"{option}={value}")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("1.5", "'1.5' is not a whole number, 1 or more"),
        ("0", "'0' is not a whole number, 1 or more"),
        ("9" * 5000, "is not a whole number, at most 2147483647"),
    ],
)
def test_what_is_wrong_with_a_number(value, said, capsys):
    with pytest.raises(SystemExit):
        parsed("invert", f"--tune={value}")
    message = capsys.readouterr().err.splitlines()[-1]
    assert said in message and len(message) < 200


def test_parts_of_a_split_with_thousands_of_digits():
    with pytest.raises(sp.StylePrompterError, match="is not a part of a split"):
        Part(range(9), f":{'9' * 5000}]")


def test_numbers_that_float32_cannot_square(capsys):
    for command, option in (("edit", "--strength"), ("mix", "--alpha")):
        for value in ("1e39", "-1e10", "nan", "inf", "9" * 400):
            with pytest.raises(SystemExit):
                parsed(command, f"{option}={value}")
            assert f"argument {option}" in capsys.readouterr().err
        assert parsed(command, f"{option}=-1e9")
    model = sp.load("avatars64")
    for weight in ("1e39", "-1e10", "1e-39", "nan", "9" * 400):
        with pytest.raises(sp.StylePrompterError, match=r"--direction smile:.* weight"):
            edit._weighted(f"smile:{weight}", model, (10, 64))


@pytest.fixture
def face(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_strengths_that_are_one(face, tmp_path, tiny_folder, capsys):
    call = ["edit", "--model", str(tiny_folder), "--input", str(face), "--no-refine",
            "--direction", "smile", "--output", str(tmp_path / "out")]  # fmt: skip
    assert main([*call, "--strength", "1", "1.0000001"]) == 1
    assert "first six digits" in capsys.readouterr().err
    assert main([*call, "--strength", "0", "--animate", "gif"]) == 1
    assert "two ends of a sweep" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*call, "--strength", "2", "2", "-0", "0"]) == 0
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert names == {"a_smile_+2.png", "a_smile_+0.png", "sheet.png"}
    call[-1] = str(tmp_path / "swept")
    sweep = [*call, "--strength", "2", "2", "--animate", "gif", "--frames", "2"]
    assert main(sweep) == 0
    with Image.open(tmp_path / "swept" / "a_smile.gif") as gif:
        assert gif.n_frames == 2


@pytest.mark.parametrize(
    ("range", "strengths"),
    [((-3, 3), [-1, 0, 1]), ((-0.5, 3), [-0.5, 0, 1]), ((0.5, 2), [0, 1]),
     ((-2, -0.5), [-1, 0])],
)  # fmt: skip
def test_strengths_without_an_option(range, strengths):
    """The opposite strength, 0 and the own strength, as the range allows."""
    plan = edit._stills({"smile": Direction(np.ones(4), range=range)}, None)
    assert [strength for _, strength in plan.values()] == strengths


def test_ends_of_a_sweep_that_read_alike():
    args = parsed("edit", "--strength", "1", "1.00001", "--animate", "gif")
    plan = edit._sweeps({"smile": None}, args.strengths, 2)
    np.testing.assert_array_equal(plan["smile"][1], np.float32([1.0, 1.00001]))


def test_a_sweep_with_one_strength_has_the_unedited_image_at_its_other_end(capsys):
    for strength, frames in ((2, [0, 1, 2]), (-2, [-2, -1, 0])):
        plan = edit._sweeps({"smile": None}, [strength], 3)
        assert plan["smile"][1].tolist() == frames
    with pytest.raises(SystemExit):
        parsed("edit", "--help")
    assert "one strength begins or ends at 0" in " ".join(
        capsys.readouterr().out.split()
    )


def test_shares_that_are_one():
    assert mixes("interpolate", 4, alphas=[0.5, 0.5, -0.0, 0]).keys() == {
        "interpolate_0.5",
        "interpolate_0",
    }
    with pytest.raises(sp.StylePrompterError, match="first six digits"):
        mixes("interpolate", 4, alphas=[0.5, 0.50000001])


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("pca", ["--count", "1"], "give 6 samples"),
        ("pca", ["--count", "3", "--components", "3"], "too few for 3 components"),
        ("sefa", ["--count", "1"], "no standard deviation"),
        ("sefa", ["--count", "2000000"], "give at most"),
    ],
)
def test_too_few_samples_and_too_many(
    method, options, message, tiny_folder, tmp_path, capsys
):
    call = ["directions", "--model", str(tiny_folder), "--method", method]
    assert main([*call, *options, "--output", str(tmp_path / "copy")]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_sets_of_one():
    one = np.ones((1, 4))
    for call in (lambda: pca(one, 1), lambda: in_deviations(one, one),
                 lambda: gaussian(one)):  # fmt: skip
        with pytest.raises(sp.StylePrompterError, match="give"):
            call()
