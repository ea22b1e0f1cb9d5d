"""The functions of the commands, called from Python as the command line calls them."""

import dataclasses
import inspect
import re
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import styleprompter_jax as sp
from styleprompter_jax.app import pictures
from styleprompter_jax.app.align import align
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.app.edit import _given, _Stills, edit
from styleprompter_jax.app.invert import invert
from styleprompter_jax.app.mix import mix
from styleprompter_jax.app.pack import pack
from styleprompter_jax.cli import _SUMMARIES, main, parse
from styleprompter_jax.cli.arguments import options
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.editing.mixing import mixes
from styleprompter_jax.images.files import write_image
from styleprompter_jax.store import places
from styleprompter_jax.store.places import MANIFEST

WORK = ["--model", "m", "--output", "o"]
CALLS = {
    "invert": [*WORK, "--input", "x"],
    "edit": [*WORK, "--input", "x", "--direction", "d"],
    "mix": [*WORK, "--source", "x", "--reference", "y", "--mode", "replace"],
    "evaluate": ["--model", "m", "--data", "avatars"],
    "compare": ["--models", "m", "n", "--data", "avatars"],
    "directions": ["--model", "m", "--method", "pca"],
    "push": ["m", "hf://u/m"],
    "pack": ["x", "y", "--size", "8"],
    "align": ["--input", "x", "--output", "o"],
    "unalign": ["--input", "x", "--crops", "c", "--output", "o"],
}


@pytest.mark.parametrize("command", CALLS)
def test_arguments_and_defaults_are_those_of_the_function(command):
    name = {"directions": "find_directions"}.get(command, command)
    function = getattr(import_module(f"styleprompter_jax.app.{command}"), name)
    named = {"inputs", "data", "output"}  # in the calls above
    given = options(parse([command, *CALLS[command]]))
    parameters = inspect.signature(function).parameters
    assert given.keys() == parameters.keys()
    for key, parameter in parameters.items():
        if key not in named and parameter.default is not parameter.empty:
            assert (given[key] or None) == (parameter.default or None), key


# The arguments for a model, images, or the place of the results.
BUCKETED = {"--model", "--input", "--source", "--reference", "--output", "--workdir"}
BUCKETED |= {"--config", "--export", "folder", "dest", "PATH", "model"}


@pytest.mark.parametrize("command", sorted(_SUMMARIES.keys() - {"push"}))
def test_the_help_names_buckets_where_they_work(command, capsys):
    with pytest.raises(SystemExit):
        parse([command, "--help"])
    _, *texts = re.split(r"\n  (?=\S)", capsys.readouterr().out)
    told = [text for text in texts if text.split()[0] in BUCKETED]
    assert told
    for text in told:
        assert "gs://" in text and "s3://" in text, text


def test_every_command_is_called_so():
    # The others are not one call of one function.
    assert CALLS.keys() == _SUMMARIES.keys() - {"convert", "export", "train", "studio"}


def test_from_python(tmp_path, capsys, tiny_folder):
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    write_image(picture, tmp_path / "in" / "a.png")
    (tmp_path / "in" / "bad.png").write_text("no picture")
    inputs, out = [tmp_path / "in"], tmp_path / "out"
    decoding = Decoding(refine=False, batch_size=2)
    model = sp.load(tiny_folder)
    made = invert(model, inputs, out, decoding=decoding, skip_bad=True)
    assert made.files == [out / "a.png"] and made.latents == out / "latents.npz"
    (why,) = made.skipped
    assert str(tmp_path / "in" / "bad.png") in why
    assert {path.name for path in out.iterdir()} >= {"a.png", made.sheet.name}
    edited = edit(
        tiny_folder, tmp_path / "edits", ["smile"], latents=made.latents,
        strengths=np.array([-1, 1]), decoding=decoding,
    )  # fmt: skip
    assert (edited.edits, edited.pictures, len(edited.files)) == (2, 1, 2)
    assert capsys.readouterr().out == ""
    with pytest.raises(dataclasses.FrozenInstanceError):
        edited.edits = 3


@pytest.mark.parametrize("animate", [None, "gif"])
def test_directions_without_a_common_strength(tmp_path, tiny_folder, animate):
    model = sp.load(tiny_folder)
    low, high = (Direction(np.ones(16), range=pair) for pair in ((-1, 1), (2, 3)))
    model.directions = {"low": low, "high": high}
    codes, out = tmp_path / "codes.npz", tmp_path / "out"
    sp.Latents(np.zeros((1, 8, 16), np.float32)).save(codes, names=["a"])
    how = {"latents": codes, "together": True, "animate": animate}
    how["decoding"] = Decoding(refine=False)
    with pytest.raises(
        sp.StylePrompterError, match=r"low\+high have no common strength"
    ):
        edit(model, out, ["low", "high"], **how)
    assert not out.exists()
    assert edit(model, out, ["low", "high"], strengths=[2], **how).files
    how["together"] = False
    assert edit(model, tmp_path / "each", ["low", "high"], **how).files


def test_formats_are_checked_before_the_work(tmp_path, tiny_folder):
    write_image(np.zeros((32, 32, 3), np.uint8), tmp_path / "a.png")
    given, out = [tmp_path / "a.png"], tmp_path / "out"
    for call in (
        lambda: invert(tiny_folder, given, out, tune=1, format="jpeg"),
        lambda: edit(tiny_folder, out, ["smile"], inputs=given, format="jpeg"),
        lambda: mix(tiny_folder, given, given, out, mode="replace", format="jpeg"),
    ):
        with pytest.raises(sp.StylePrompterError, match="format is 'jpeg'"):
            call()
    assert not out.exists()


def test_edits_of_a_batch_are_written_one_by_one(model, monkeypatch):
    done, decode = [], sp.StylePrompter.decode

    def counted(self, latents, **options):
        done.append("decoded")
        return decode(self, latents, **options)

    monkeypatch.setattr(sp.StylePrompter, "decode", counted)
    plan = {f"smile_{k}": (model.directions["smile"], k) for k in range(3)}
    latents = sp.Latents(np.zeros((10, 8, 16), np.float32))
    results = [Path(f"{k}.png") for k in range(9)]  # and one row of padding
    edits = _Stills(plan, None, Decoding(refine=False))

    def write(images, paths):
        assert images.shape == (9, 32, 32, 3) and len(paths) == 9
        done.append("written")

    shown = edits.make(model, latents, 0, results, None, write)
    assert done == ["decoded", "written"] * 3
    assert {len(images) for images in shown.values()} == {pictures.SHOWN}


def test_wrong_calls_from_python(tmp_path):
    for call, match in (
        (lambda: invert("avatars64", "x", tmp_path), "give a list"),
        (lambda: edit("avatars64", tmp_path, ["smile"]), "either inputs or latents"),
        (lambda: edit("avatars64", tmp_path, ["smile"], inputs=["x"], animate="avi"),
         "animate is 'avi'"),
        (lambda: edit("avatars64", tmp_path, ["smile"], inputs=["x"], frames=48),
         "leave out frames"),
        (lambda: edit("avatars64", tmp_path, ["smile"], inputs=["x"], animate="gif",
                      format="jpg"), "A gif has its own format: leave out format"),
        (lambda: edit("avatars64", tmp_path, ["smile"], latents="x",
                      decoding=Decoding(iterations=2)), "Iterations .* not for lat"),
        (lambda: edit("avatars64", tmp_path, "smile", inputs=["x"]), "give a list"),
        (lambda: edit("avatars64", tmp_path, [], inputs=["x"]), "directions is empty"),
        (lambda: edit("avatars64", tmp_path, [np.zeros(4)], inputs=["x"]),
         "is not a path"),
        (lambda: _given(1.0), r"strengths \(--strength\) is 1.0: give a list"),
        (lambda: mixes("interpolate", 4, alphas="0"), "alphas .* give a list"),
        (lambda: mixes("interpolate", 4, alphas=["0"]), "alphas .* must be a number"),
        (lambda: invert("avatars64", ["x"], tmp_path, layers=[0]), "layers .* tuning"),
        (lambda: invert("avatars64", ["x"], tmp_path, half=True), "half .* tuning"),
        (lambda: pack("x", "x.array_record", size=0), "size is 0"),
        (lambda: align(["x"], tmp_path, size=0), "is 0: it must be 1"),
        (lambda: Decoding(batch_size=0), "batch_size"),
        (lambda: Decoding(seed=-1), "seed"),
        (lambda: Decoding(refine=False, refiner={"beta": (1, 1)}), "leave out one"),
    ):  # fmt: skip
        with pytest.raises(sp.StylePrompterError, match=match):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", [
    "invert --engine ray --model M --input x --output o",
    "directions --method pca --model M",
    "convert M --export o.pt",
    "push M hf://u/m",
    "train --config avatars_smart --workdir o --config.init_from=M",
])  # fmt: skip
def test_where_only_the_model_itself_works(call, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "M" / "x").mkdir(parents=True)
    (tmp_path / "M" / MANIFEST).write_text("{}")
    assert main(call.split()) == 1
    told = capsys.readouterr().err
    assert "M is an exported model" in told and "name the model that it was" in told
    assert "leave out the engine (--engine ray)" in told or "invert" not in call


def test_no_program_is_run_from_an_address(tmp_path, monkeypatch):
    (tmp_path / MANIFEST).write_text("{}")
    monkeypatch.setattr(places, "local_copy", lambda *_: tmp_path)
    with pytest.raises(sp.StylePrompterError, match="copy it to a local folder"):
        sp.load("gs://faces/export")


@pytest.mark.parametrize("name, given", [
    ("beta", "--beta 1 1 --refiner beta=0.5,0.5"),
    ("gain", "--refiner gain=1 depth=2 gain=1"),
])  # fmt: skip
def test_an_option_of_the_refiner_is_given_once(name, given):
    for command in ("invert", "directions"):
        args = parse([command, *CALLS[command], *given.split()])
        with pytest.raises(sp.StylePrompterError, match=f"option '{name}' is given tw"):
            options(args)
    fine = ["--beta", "1", "0", "--refiner", "gain=1"]
    args = parse(["invert", *CALLS["invert"], *fine])
    assert options(args)["decoding"].refiner == {"beta": [1, 0], "gain": 1}


def test_no_command_is_imported_that_is_not_asked_for():
    names = [f"styleprompter_jax.cli.commands.{name}" for name in _SUMMARIES]
    for name in names:
        sys.modules.pop(name, None)
    with pytest.raises(SystemExit):
        parse(["--version"])
    assert not sys.modules.keys() & set(names)
    parse(["invert", *CALLS["invert"]])
    assert sys.modules.keys() & set(names) == {names[list(_SUMMARIES).index("invert")]}
