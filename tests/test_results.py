"""Commands never overwrite inputs, and overwrite others' files only on request."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import disk_full_after, random_variables
from PIL import Image

from styleprompter_jax.cli import main
from styleprompter_jax.core import results
from styleprompter_jax.core.atomic import atomic_path, write_text
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import read_json
from styleprompter_jax.core.results import ACCOUNT, Results, check_files
from styleprompter_jax.images.files import read_image
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.store import model_folder
from styleprompter_jax.training.run.workdir import check_config

ROOT = Path(results.__file__).parents[2]


def write(folder, names, text="made", **options):
    files = [folder / name for name in names]
    place = Results(folder, files, **options)
    for file in files:
        with place.writing(file), atomic_path(file) as partial:
            partial.write_text(text)


def test_the_same_call_again_replaces_what_it_wrote(tmp_path):
    for text in ("first", "second"):
        write(tmp_path / "out", ["a.png", "x/b.png"], text)
    write(tmp_path / "out", ["a.png", "c.png"], "third")
    assert (tmp_path / "out" / "x" / "b.png").read_text() == "second"
    (tmp_path / "out").rename(tmp_path / "moved")  # and a copy knows as much
    write(tmp_path / "moved", ["a.png"], "fourth")


@pytest.mark.parametrize("how", ["of others", "changed", "a link", "of version 0.1"])
def test_what_others_wrote_stays(tmp_path, how):
    write(tmp_path, ["a.png"])
    if how == "a link":
        (tmp_path / "a.png").rename(tmp_path / "mine")
        (tmp_path / "a.png").symlink_to("mine")
    elif how == "of version 0.1":
        (tmp_path / ACCOUNT).unlink()
    elif how == "changed":
        (tmp_path / "a.png").write_text("mine")
    else:
        (tmp_path / "b.png").write_text("mine")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    names = ["b.png" if how == "of others" else "a.png", "c.png"]
    with pytest.raises(StylePrompterError, match=r"\.png exists.*--overwrite"):
        write(tmp_path, names)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    write(tmp_path, names, "told to", overwrite=True)
    assert (tmp_path / names[0]).read_text() == "told to"
    if how == "a link":
        (tmp_path / "a.png").unlink()
        assert (tmp_path / "mine").read_text() == "made"


def test_after_a_kill_the_same_call_goes_on(tmp_path):
    """Killed when "b" has no name yet, "c" has it already; "d" was not begun."""
    write(tmp_path, ["b"], "before")
    code = f"""
import os, signal
from pathlib import Path
from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.results import Results
folder = Path({str(tmp_path)!r})
place = Results(folder, [folder / name for name in "abcd"])
replace = Path.replace
def killed(self, other):
    if other.name == "b":
        raise KeyboardInterrupt
    replace(self, other)
    if other.name == "c":
        os.kill(os.getpid(), signal.SIGKILL)
Path.replace = killed
for name in "abc":
    try:
        with place.writing(folder / name), atomic_path(folder / name) as partial:
            partial.write_text("made")
    except KeyboardInterrupt:
        pass
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    found = {p.name: p.read_text() for p in tmp_path.glob("[abc]")}
    assert found == {"a": "made", "b": "before", "c": "made"}
    (tmp_path / "d").write_text("mine")  # put there before it was begun
    with pytest.raises(StylePrompterError, match="/d exists"):
        write(tmp_path, ["a", "b", "c", "d"])
    Results(tmp_path, [tmp_path / name for name in "abc"])
    for name in "abc":  # and after
        (tmp_path / name).write_text("mine")
        with pytest.raises(StylePrompterError, match=f"/{name} exists"):
            write(tmp_path, [name])


def test_a_beginning_owns_nothing(tmp_path):
    """Version 0.1 recorded the start of a file; a kill left no end in the record."""
    (tmp_path / ACCOUNT).write_text('\n{"begin": "a"}')
    (tmp_path / "a").write_text("mine")
    with pytest.raises(StylePrompterError, match="/a exists"):
        write(tmp_path, ["a"])


def test_what_fails_leaves_the_account_as_it_was(tmp_path):
    (tmp_path / "a").write_text("mine")
    place = Results(tmp_path, [tmp_path / "a"], overwrite=True)
    with pytest.raises(ZeroDivisionError), place.writing(tmp_path / "a"):
        raise ZeroDivisionError
    with pytest.raises(StylePrompterError, match="exists, and"):
        write(tmp_path, ["a"])


def test_damaged_accounts_tell_nothing(tmp_path):
    write(tmp_path, ["a", "b"])
    whole = (tmp_path / ACCOUNT).read_bytes()
    with (tmp_path / ACCOUNT).open("ab") as file:
        file.write(b'\n{"file": "a", "sha256": 3}\n[]\n{"begin": "c"')  # a full disk
    write(tmp_path, ["a", "b"])
    for content in (b"\xff\0\n", b"{" * 100_000, whole.replace(b'"file"', b'"fill"')):
        (tmp_path / ACCOUNT).write_bytes(content)
        with pytest.raises(StylePrompterError, match="exists, and"):
            write(tmp_path, ["a", "b"])


def test_an_account_does_not_grow_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_LINES", 10)
    for _ in range(20):
        write(tmp_path, ["a", "b"])
    assert (tmp_path / ACCOUNT).read_bytes().count(b"\n") < 25
    rows = [json.loads(row) for row in (tmp_path / ACCOUNT).read_text().split("\n")[1:]]
    assert {row["file"] for row in rows} == {"a", "b"}


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink", "folder"])
def test_inputs_are_never_overwritten(tmp_path, link):
    file = tmp_path / "out" / "a.png"
    file.parent.mkdir()
    source = {"same": file, "folder": tmp_path / "in" / "a.png"}.get(
        link, tmp_path / "s"
    )
    if link == "folder":
        (tmp_path / "in").symlink_to("out")
    source.write_text("mine")
    if link == "symlink":
        file.symlink_to(source)
    if link == "hardlink":
        file.hardlink_to(source)
    told = pytest.raises(StylePrompterError, match="one of the inputs")
    for overwrite in (False, True):
        with told:
            write(tmp_path / "out", ["a.png"], inputs=[source], overwrite=overwrite)
    assert source.read_text() == "mine"


def test_two_results_are_never_one(tmp_path, monkeypatch):
    for images, words in (
        ([], "Two results would both become"),
        (["x/a", "b", "y/a"], "x/a and y/a would both become"),
        (["x/a", "b", "x/a"], "x/a would become .*/a twice"),
    ):
        with pytest.raises(StylePrompterError, match=words):
            write(tmp_path, ["a", "b", "a"], images=images)
    with pytest.raises(StylePrompterError, match="and the folder of"):
        write(tmp_path, ["a.png", "a.png/b.png"])
    # This disk tells them apart; others, asked in the same way, do not.
    alike = ["x/A.png", "x/a.png"], ["é.png", "e\u0301.png"]
    for names in alike:
        write(tmp_path / "apart", names)
    monkeypatch.setattr(results, "_are_one", lambda *_: True)
    for names in alike:
        with pytest.raises(StylePrompterError, match="become one file") as error:
            write(tmp_path / "new", names)
        assert names[0].isascii() or r"e\u0301" in str(error.value)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("a" * 252 + ".png", "longer than"),
        ("/".join(["d" * 200] * 21), "longer than"),
        ("a\0.png", "NUL"),
        ("\ud800.png", "cannot encode"),
        ("d/\ud800/a.png", "cannot encode"),
        ("file/a.png", "is a file"),
        ("folder", "not a file"),
        ("pipe", "not a file"),
    ],
)
def test_names_that_cannot_be_written(tmp_path, name, match):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StylePrompterError, match=match) as error:
        write(tmp_path, ["first", name], overwrite=True)
    assert "\n" not in str(error.value) and not (tmp_path / "first").exists()


def test_a_folder_that_cannot_be(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(StylePrompterError, match="is a file"):
            write(folder, ["a"])
    (tmp_path / "link").symlink_to("/nowhere")
    for folder, name in (("link", "a"), ("link/x", "a"), ("", "link/a")):
        with pytest.raises(StylePrompterError, match="link is a link to /nowhere, whi"):
            write(tmp_path / folder, [name])
    with pytest.raises(StylePrompterError, match="link is a link to /nowhere, which"):
        check_files([tmp_path / "link"], [], overwrite=False)
    with pytest.raises(StylePrompterError, match=r"a cannot be.* link to /nowhere"):
        write_text(tmp_path / "link" / "a", "")
    for read, words in ((read_image, "cannot be read as"), (read_json, "no file")):
        with pytest.raises(StylePrompterError, match=f"{words} .* link to /nowhere"):
            read(tmp_path / "link")
    with pytest.raises(StylePrompterError, match=r"/nowhere, .*another --workdir"):
        check_config(tmp_path / "link", {})
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(StylePrompterError, match="is not writable"):
        write(tmp_path / "x", ["a"])


def test_one_file(tmp_path):
    path = tmp_path / "model.pt"
    check_files([path], [], overwrite=False)
    path.write_text("mine")
    with pytest.raises(StylePrompterError, match=r"exists.*--overwrite"):
        check_files([path], [], overwrite=False)
    check_files([path], [], overwrite=True)


def test_commands_keep_what_is_not_theirs(tmp_path, capsys, tiny_folder):
    """Each command, in a folder that holds a file of each name it would write."""
    s = tmp_path / "s"
    s.mkdir()
    for name in ("a.png", "sheet.png"):
        Image.fromarray(np.full((32, 32, 3), 99, np.uint8)).save(s / name)
    points = [[10, 12], [20, 12], [15, 18], [11, 22], [19, 22]]
    (s / "a.json").write_text(json.dumps({"a.png": points}))
    model = ["--model", tiny_folder, "--batch-size", 2]
    calls = [
        (["invert", *model, "--input", s / "a.png", s / "sheet.png", "--format", "jpg"],
         ["sheet.png", "a.jpg", "latents.npz"]),
        (["edit", *model, "--input", s / "a.png", "--direction", "smile",
          "--strength", 1], ["sheet.png", "a_smile_+1.png"]),
        (["edit", *model, "--input", s / "a.png", "--direction", "smile",
          "--animate", "frames", "--frames", 2], ["sheet.png", "a_smile/0001.png"]),
        (["edit", *model, "--input", s / "a.png", "--direction", "smile",
          "--animate", "gif", "--frames", 2], ["a_smile.gif"]),
        (["mix", *model, "--source", s / "a.png", "--reference", s / "a.png",
          "--mode", "replace"], ["sheet.png", "a_a_replace_3.png"]),
        (["evaluate", *model, "--input", s / "a.png"],
         ["sheet.png", "metrics.json", "images.csv"]),
        (["align", "--input", s / "a.png", "--landmarks", s / "a.json", "--size", 16],
         ["a.png", "a.json"]),
    ]  # fmt: skip
    for call, names in calls:
        for name in names:
            out = tmp_path / "out"
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text("mine")
            code = main([*map(str, call), "--output", str(out)])
            err = capsys.readouterr().err
            assert code == 1 and f"{out / name} exists" in err, (call, name)
            assert (out / name).read_text() == "mine"
            found = [path for path in out.rglob("*") if path.is_file()]
            assert found == [out / name]
            (out / name).unlink()
    before = {path: path.read_bytes() for path in s.iterdir()}
    for call in (calls[0][0], calls[-1][0], [*calls[-1][0], "--overwrite"]):
        code = main([*map(str, call), "--output", str(s)])
        assert code == 1 and "one of the inputs" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in s.iterdir()} == before


def test_commands_name_the_images_whose_results_would_be_one(
    tmp_path, capsys, tiny_folder
):
    s = tmp_path / "s"
    s.mkdir()
    for name in ("a.png", "a.jpg", "a.png.png", "a_b.png", "c.png", "b_c.png"):
        Image.fromarray(np.full((32, 32, 3), 99, np.uint8)).save(s / name)
    sources = [s / "a.png", s / "a_b.png"]
    mix = ["mix", "--mode", "exchange", "--source", *sources, "--reference"]
    pairs = [
        "--pairs",
        "--source",
        s / "a.png",
        s / "a.png",
        "--reference",
        s / "c.png",
    ]
    for call, words in (
        (["invert", "--input", s], f"{s}/a.png and {s}/a.png.png would both"),
        ([*mix, s / "b_c.png", s / "c.png"],
         f"{s}/a.png with {s}/b_c.png and {s}/a_b.png with {s}/c.png would both"),
        ([*mix, s / "c.png", *pairs, s / "c.png"], "/c.png would become"),
    ):  # fmt: skip
        call = [*call, "--model", tiny_folder, "--output", tmp_path / "out"]
        assert main(list(map(str, call))) == 1
        assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_directions_change_a_model_or_nothing(tmp_path, capsys, tiny_folder):
    model = tmp_path / "model"
    secret = tmp_path / "secret"
    secret.write_text("secret")
    shutil.copytree(tiny_folder, model)
    (model / "notes").mkdir()
    (model / "notes" / "a.txt").write_text("mine")
    for name in ("discriminator.safetensors", "link.txt", "notes/link.txt"):
        (model / name).symlink_to(secret)
    (model / "folder").symlink_to(tmp_path)
    os.mkfifo(model / "pipe")
    call = ["directions", "--method", "sefa", "--components", "1", "--count", "10"]

    def run(*args):
        code = main([*call, *map(str, args)])
        return code, *capsys.readouterr()

    code, _, err = run("--model", model, "--output", tmp_path / "copy")
    assert code == 0 and "The copy omits" in err and "notes/link.txt" in err
    copy = {path.relative_to(tmp_path / "copy") for path in tmp_path.rglob("copy/**/*")}
    assert {str(path) for path in copy} == {
        "config.json", "model.safetensors", "directions.safetensors", "directions.png",
        "notes", "notes/a.txt", ACCOUNT,
    }  # fmt: skip
    # Changes the copy again, in place; then once more with another image in the way.
    code, out, _ = run("--model", tmp_path / "copy")
    assert code == 0 and out.endswith(": sefa_0. Replaced: sefa_0.\n")
    (tmp_path / "copy" / "directions.png").write_text("mine")
    code, _, err = run("--model", tmp_path / "copy")
    assert code == 1 and "directions.png exists" in err
    assert run("--model", tmp_path / "copy", "--overwrite")[0] == 0

    before = {p: p.read_bytes() for p in tmp_path.rglob("copy/*") if p.is_file()}
    with disk_full_after(3000):  # enough for the account, and too little for a model
        code, _, err = run("--model", tmp_path / "copy", "--components", 2)
        assert code == 1 and "cannot be written" in err
        assert err.endswith(f"Nothing changed in {tmp_path / 'copy'}.\n")
        code, _, err = run("--model", model, "--output", tmp_path / "other")
        assert code == 1 and err.endswith(f"Nothing changed in {tmp_path / 'other'}.\n")
    after = {p: p.read_bytes() for p in tmp_path.rglob("copy/*") if p.is_file()}
    before.pop(account := tmp_path / "copy" / ACCOUNT), after.pop(account)
    assert after == before and not (tmp_path / "new").exists()

    for wrong in (model, model / "in", tmp_path):
        code, _, err = run("--model", model, "--output", wrong, "--overwrite")
        assert code == 1 and "the model itself" in err
    code, _, err = run("--model", model, "--output", tmp_path / "copy")
    assert code == 1 and "exists" in err and "--overwrite" in err
    (tmp_path / "copy" / "mine.txt").write_text("mine")
    assert run("--model", model, "--output", tmp_path / "copy", "--overwrite")[0] == 0
    assert (tmp_path / "copy" / "mine.txt").exists()
    assert secret.read_text() == "secret"


def test_convert_replaces_what_it_is_told_to(tmp_path, capsys, tiny_folder):
    def run(*args):
        code = main(["convert", *map(str, args)])
        return code, capsys.readouterr().err

    generator = GeneratorConfig(32, z_dim=16, w_dim=16, mapping_layers=2)
    generator = StylePrompterConfig(encoder=None, refiner=None, generator=generator)
    model, file = tmp_path / "model", tmp_path / "g.pt"
    model_folder.save_model(model, generator, random_variables(generator))
    assert run(model, "--export", file) == (0, "")
    before = file.read_bytes()
    code, err = run(model, "--export", file)
    assert code == 1 and "exists" in err and "--overwrite" in err
    assert run(model, "--export", file, "--overwrite")[0] == 0
    assert file.read_bytes() == before
    code, err = run(model, "--export", model / "model.safetensors", "--overwrite")
    assert code == 1 and "one of the inputs" in err
    code, err = run(file, model)
    assert code == 1 and "exists" in err and "--overwrite" in err
    (model / "notes.txt").write_text("mine")
    assert run(file, model, "--overwrite")[0] == 0
    assert (model / "notes.txt").read_text() == "mine"
    file.rename(model / "config.json")
    code, err = run(model / "config.json", model, "--overwrite")
    assert code == 1 and "one of the inputs" in err
