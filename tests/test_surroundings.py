"""Streams, homes, devices and disks as a program may meet them."""

import io
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import styleprompter_jax as sp
from styleprompter_jax.app import alignment
from styleprompter_jax.cli import main, surroundings
from styleprompter_jax.core.compilation_cache import use_compilation_cache
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import local_path
from styleprompter_jax.data.sources import TfdsSource
from styleprompter_jax.editing.latents import load_named
from styleprompter_jax.images.files import read_image
from styleprompter_jax.images.find import find_images
from styleprompter_jax.training.loop import _make_data

ROOT = Path(surroundings.__file__).parents[1]
POINTS = [[10, 12], [20, 12], [15, 18], [11, 22], [19, 22]]


def program(*args, **options):
    """Runs a command in a process of its own; (exit code, stdout, stderr)."""
    redirect = options.pop("redirect", "")
    options.setdefault("cwd", ROOT)
    command = [sys.executable, "-m", "styleprompter_jax", *map(str, args)]
    shell = ["sh", "-c", f'exec "$@" {redirect}', "sh", *command]
    env = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
    done = subprocess.run(shell, capture_output=True, env=env, **options)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((32, 32, 3), 99, np.uint8)).save(folder / name)
    (folder / "points.json").write_text(json.dumps({"a.png": POINTS, "b.png": POINTS}))
    return folder


@pytest.mark.parametrize(
    ("redirect", "code", "said"),
    [
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        (">/dev/full", 1, "Error: standard output cannot be written: No space left"),
        ("2>/dev/full", 0, ""),
        (">/dev/full 2>/dev/full", 1, ""),
    ],
)
def test_streams_that_cannot_be_written(redirect, code, said):
    found, out, err = program("--version", redirect=redirect)
    assert (found, err) == (code, "") or (err.startswith(said) and err.count("\n") == 1)
    assert bool(out) == (redirect.startswith("2"))


def test_an_output_that_fails_ends_no_work(photos, tmp_path):
    call = ("align", "--input", photos, "--landmarks", photos / "points.json",
            "--size", 16, "--output", tmp_path / "out")  # fmt: skip
    # The output of libraries on standard error does not reach any file.
    assert program(*call, redirect=">&- 2>&- <&-") == (0, "", "")
    assert {"a.png", "a.json", "b.png"} < set(os.listdir(tmp_path / "out"))


def test_a_reader_that_has_gone():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "styleprompter_jax", "align", "--help"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=ROOT)
    os.close(write)
    assert done.returncode == 1 and done.stderr == (
        b"Error: standard output cannot be written: Broken pipe.\n"
    )


def test_names_that_the_output_cannot_say(photos, tmp_path):
    folder = tmp_path / "ü"
    folder.mkdir()
    photo = os.fsencode(folder) + b"/\xff\xc3\xbc.png"
    os.link(photos / "a.png", photo)
    (folder / "points.json").write_text(json.dumps(POINTS))
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    call = ("align", "--input", os.fsdecode(photo), "--landmarks",
            folder / "points.json", "--size", 16,
            "--output", tmp_path / "ö")  # fmt: skip
    code, _, err = program(*call, env=env, redirect=">/dev/full")
    assert code == 1 and err == (
        "Error: standard output cannot be written: No space left on device.\n"
    )
    assert b"\xff\xc3\xbc.png" in os.listdir(os.fsencode(tmp_path / "ö"))
    call = ("unalign", "--input", tmp_path / "ö", "--crops", tmp_path / "ö",
            "--output", tmp_path / "done")  # fmt: skip
    code, out, err = program(*call, env=env)
    assert code == 0 and "1 photograph in" in out and "Traceback" not in err


def test_a_stream_of_few_letters():
    content = io.BytesIO()
    stream = surroundings.Stream(io.TextIOWrapper(content, "ascii"))
    assert stream.write("ü\udcff名") == 3
    stream.flush()
    assert content.getvalue() == rb"\xfc\udcff\u540d" and stream.error is None


def test_streams_in_a_process_that_goes_on(capsys):
    for text in ("a", "\ud800", "ü"):
        assert surroundings.orderly(lambda text=text: print(text)) == 0
    assert capsys.readouterr().out == "a\n\\ud800\nü\n"

    def refused():
        raise PermissionError(13, "Permission denied", "x")

    assert surroundings.orderly(refused) == 1
    assert capsys.readouterr().err == (
        "Error: the system refuses ([Errno 13] Permission denied: 'x').\n"
    )


@pytest.mark.parametrize("command", ["invert", "directions"])
def test_devices_that_are_not_there(command, photos, tmp_path, tiny_folder):
    rest = {"invert": ("--input", photos / "a.png"), "directions": ("--method", "sefa")}
    call = (command, "--model", tiny_folder, "--output", tmp_path / "out")
    code, _, err = program(*call, *rest[command], env={"JAX_PLATFORMS": "tpux"})
    assert (
        code == 1 and err.startswith("Error: JAX finds no device") and "'tpux'" in err
    )
    assert err.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.fixture
def no_home(monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_home")
def test_no_home(monkeypatch):
    import jax

    from styleprompter_jax.data.tfds import tfds

    folder = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        use_compilation_cache()
        assert jax.config.jax_compilation_cache_dir is None
        for home in ("/dev/null", "/proc"):
            monkeypatch.setenv("HOME", home)
            use_compilation_cache()
            assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", folder)
    monkeypatch.delenv("HOME")
    # As TFDS has it, where it finds no home.
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", "~/tensorflow_datasets")
    for name in ("avatars/tiny", "mnist"):
        with pytest.raises(StylePrompterError, match=r"no home folder.*--data-dir"):
            TfdsSource(name, "train")
    with pytest.raises(StylePrompterError, match="begins with an unknown home folder"):
        local_path("~/a.png")


def test_names_of_datasets_that_do_not_exist(tmp_path):
    """The advice is for `--data`, or for the config of a training."""
    with pytest.raises(StylePrompterError) as error:
        TfdsSource("nodata", "test", str(tmp_path))
    assert '"cells"' in str(error.value) and "config" not in str(error.value)
    config = sp.get_config("avatars_encoder")
    config.data.name, config.data.path = "nodata", str(tmp_path)
    with pytest.raises(StylePrompterError, match=r"config\.data\.name is 'nodata'"):
        _make_data(config)


@pytest.mark.parametrize("name", ["avatars/tiny", "mnist"])
def test_data_folders_that_cannot_be_written(name):
    with pytest.raises(StylePrompterError, match=r"cannot be written.*--data-dir"):
        TfdsSource(name, "train", "/proc/data")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("~nobody_of_this_name/x", "begins with an unknown home folder"),
        ("az://bucket/x", "is an address"),
        ("s3://b/x", " an address"),
        ("", "is empty"),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        ("invert", "--model", "m", "--output", "o", "--input"),
        ("invert", "--model", "m", "--input", "i", "--output"),
        ("edit", "--model", "m", "--direction", "d", "--output", "o", "--latents"),
        ("mix", "--model", "m", "--reference", "r", "--mode", "replace", "--output",
         "o", "--source"),
        ("evaluate", "--model", "m", "--input", "i", "--output"),
        ("evaluate", "--model", "m", "--input", "i", "--networks"),
        ("evaluate", "--model", "m", "--data", "d", "--data-dir"),
        ("directions", "--model", "m", "--method", "sefa", "--output"),
        ("convert", "m", "--export"),
        ("pack", "f", "--size", "8"),
        ("align", "--input", "i", "--output", "o", "--landmarks"),
        ("unalign", "--input", "i", "--output", "o", "--crops"),
    ],
    ids=lambda call: f"{call[0]} {call[-1]}",
)  # fmt: skip
def test_paths_at_the_door(call, value, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*call, value]) == 1 and os.listdir(tmp_path) == []
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_home_at_the_door(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(photos))
    monkeypatch.chdir(tmp_path)
    assert main(["align", "--input", "~/a.png", "--landmarks", "~/points.json",
                 "--size", "16", "--output", "~/out"]) == 0  # fmt: skip
    assert os.listdir(tmp_path) == [] and (photos / "out" / "a.png").exists()
    (tmp_path / "~b.png").write_bytes((photos / "b.png").read_bytes())
    assert local_path("~b.png") == Path("~b.png")  # a file that is called so
    # A folder with the name "~": only a path that begins with "~" means the home
    # folder.
    os.rename(photos / "out", tmp_path / "~")
    for _ in range(2):
        assert main(["align", "--input", "./~/a.png", "--landmarks",
                     str(photos / "points.json"), "--size", "16", "--output",
                     "./~/out"]) == 0  # fmt: skip
    for pattern in (".", "*/a.png", "./~/a.png"):
        (path,) = (p for p in find_images(pattern).images if p.parent.name == "~")
        assert read_image(path).shape == (16, 16, 3)
    assert (tmp_path / "~" / "out" / "a.png").exists()
    assert not (photos / "out").exists()


def test_names_and_folders_of_any_length(tmp_path, capsys, tiny_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deep = tmp_path.joinpath("in", *["d"] * 1050, "a.png")
    long = tmp_path / "long" / f"{'ü' * 125}.png"
    for path in (deep, long):
        names = path.relative_to(tmp_path).parts
        for name in names[:-1]:  # in steps, since the whole may be too long
            os.makedirs(name, exist_ok=True)
            os.chdir(name)
        Image.fromarray(np.full((32, 32, 3), 99, np.uint8)).save(names[-1])
        os.chdir(tmp_path)
    call = ["invert", "--model", str(tiny_folder), "--batch-size", "1", "--output"]
    for source in ("in", "long"):
        assert main([*call, f"{source}/out", "--input", source]) == 0
        assert len(load_named(f"{source}/out/latents.npz")[0]) == 1
    assert (tmp_path / "long" / "out" / long.name).exists()
    capsys.readouterr()
    call = ["edit", *call[1:3], "--direction", "smile", "--strength", "1", "--output"]
    assert main([*call, "edits", "--input", str(long)]) == 1
    err = capsys.readouterr().err
    assert "longer than" in err and err.count("\n") == 1
    assert not (tmp_path / "edits").exists()
    subprocess.run(["rm", "-r", "in"], check=True)  # pytest's own clearing is recursive


def test_a_picture_that_has_gone_since_it_was_read(
    tiny_folder, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(alignment.detect, "is_there", lambda: False)
    model = sp.load(tiny_folder)
    alignment.warn(model, [tmp_path / "gone.png"], np.zeros((1, 32, 32, 3)))
    assert not caplog.text
