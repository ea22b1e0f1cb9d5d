"""Recognition of image files by name and content, in folders of all kinds."""

import io
import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from styleprompter_jax.app.pictures import list_inputs
from styleprompter_jax.cli import main
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data.sources import FolderSource
from styleprompter_jax.images.find import find_images


def encoded(format):
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(file, format)
    return file.getvalue()


PNG, JPEG = encoded("PNG"), encoded("JPEG")
FTYP = b"\0\0\0\x18ftyp"
READ = {
    "a.jfif": JPEG,
    "b.jpe": JPEG,
    "c.apng": PNG,
    "d.jpg_large": JPEG,
    "e": JPEG,
    "f.unknown": encoded("WEBP"),
    "g.dib": encoded("BMP"),
    "h.1": encoded("GIF"),
    "i": encoded("TIFF"),
    # By their names, and for `read_image` to refuse.
    "j.PNG": b"",
    "k.heic": b"",
}
NAMED = {
    "a.ppm": encoded("PPM"),
    "b.TGA": encoded("TGA"),
    "c.cr2": b"II*\0\x10\0\0\0CR\2\0",
    "d.nef": encoded("TIFF"),
    "e": b"II*\0\x10\0\0\0CR\2\0",
    "f": FTYP + b"heic",
    "g.other": FTYP + b"avif",
    "h": b"8BPS\0\1",
}
NO_PICTURE = {
    "a.mp4": FTYP + b"mp42",
    "b.txt": b"BMW, and other cars of 1984\n",
    "c.json": b"{}",
    "d": b"",
    "e.wav": b"RIFF\0\0\0\0WAVE",
    "f.jpg~": JPEG,
    "g.png.part": PNG,
    ".hidden.png": PNG,
    "._a.jpg": PNG,
}


def made(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def names(folder, pattern=""):
    return [str(p.relative_to(folder)) for p in find_images(folder / pattern).images]


def test_pictures_are_known_by_content_and_the_others_named(tmp_path, caplog):
    files = {f"read/{name}": content for name, content in READ.items()}
    files |= {f"named/{name}": content for name, content in NAMED.items()}
    folder = made(tmp_path, files | NO_PICTURE)
    os.mkfifo(folder / "pipe")
    (folder / "gone").symlink_to("nowhere")
    found = find_images(folder)
    assert found.images == [folder / "read" / name for name in READ]
    assert found.unread == [folder / "named" / name for name in sorted(NAMED)]
    assert "\n" not in found.warning and "and 3 more" in found.warning
    assert all(str(path) in found.warning for path in found.unread[:5])
    assert FolderSource(folder).paths == found.images
    assert found.warning in caplog.text
    with pytest.raises(StylePrompterError, match=r"no images.*a\.ppm"):
        find_images(folder / "named")


def test_the_order_of_what_was_found_before(tmp_path):
    """Resumed runs see the images in the order of their paths."""
    old = ["b.JPG", "a/z.png", "a.png", "a-b/c.tif", "a/b/c.gif", "Z.bmp", "a b/y.webp"]
    folder = made(tmp_path, dict.fromkeys(old, b""))
    expected = sorted(folder / name for name in old)
    assert find_images(folder).images == expected
    made(folder, {".x/a.png": PNG, "n.json": b"", "a/notes": b"hello"})
    assert find_images(folder).images == expected


def test_hidden_and_system_folders_are_left_out(tmp_path):
    inside = [".ipynb_checkpoints", ".Trash-1000", ".thumbnails/large", "@eaDir/a.png",
              "__MACOSX/x", "x/@eaDir", "$RECYCLE.BIN", "#recycle/y", "$Recycle.Bin",
              "@EADIR", "RECYCLER", "@Recently-Snapshot", "x/@__thumb", "@tmp",
              "#snapshot", "lost+found", "FOUND.000"]  # fmt: skip
    folder = made(tmp_path, {f"{name}/t.png": PNG for name in inside} | {"a.png": PNG})
    assert names(folder) == names(folder, "**/*.png") == ["a.png"]
    # Who names one means it.
    assert names(folder / "__MACOSX") == ["x/t.png"]
    assert names(folder, "x/@eaDir/*") == ["x/@eaDir/t.png"]
    assert names(folder / ".ipynb_checkpoints") == ["t.png"]


def test_links_to_folders_are_followed_and_never_in_a_circle(tmp_path):
    folder = made(tmp_path / "in", {"b/x.png": PNG, "c.png": PNG})
    made(tmp_path / "other", {"y.png": PNG, "deep/z.png": PNG})
    (folder / "a").symlink_to("b")  # there without the link
    (folder / "link").symlink_to(tmp_path / "other")
    (folder / "again").symlink_to(tmp_path / "other")
    (folder / "b" / "circle").symlink_to("..")
    (folder / "up").symlink_to(tmp_path)
    (folder / "all").symlink_to("/")
    (folder / "self").symlink_to("self")
    (tmp_path / "other" / "back").symlink_to(folder)
    (tmp_path / "other" / "deep" / "up").symlink_to("../..")
    assert names(folder) == ["again/deep/z.png", "again/y.png", "b/x.png", "c.png"]
    (folder / "again").unlink()
    assert names(folder) == ["b/x.png", "c.png", "link/deep/z.png", "link/y.png"]


def test_a_glob_in_a_circle_keeps_the_shortest_names(tmp_path):
    folder = made(tmp_path / "in", {"a.png": PNG, "z.png": PNG, "x/y.png": PNG})
    (folder / "loop").symlink_to(".")
    assert names(folder, "**/*.png") == ["a.png", "x/y.png", "z.png"]
    (folder / "other").symlink_to("x")
    for k in range(8):  # as often round as a name may be long, in each order
        (folder / "x" / f"up{k}").symlink_to("..")
    assert names(folder, "**/*.png") == ["a.png", "x/y.png", "z.png"]
    assert names(folder, "**/x/**/*.png") == ["x/y.png"]
    assert names(folder, "**") == names(folder, "**/**/*.p*") == names(folder)
    with pytest.raises(StylePrompterError, match="matches no file"):
        find_images(folder / "**" / "\u00fc.png")


def test_a_thousand_folders_in_each_other(tmp_path):
    place = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=place)
        below = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    made(tmp_path, {"d/d/a.png": PNG})
    assert names(tmp_path) == ["d/d/a.png"]
    # Python's own recursion would not reach the bottom.
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


@pytest.mark.parametrize("name", ["", "gone", "*.gif", "empty", "a\0b", "~nobody/x"])
def test_nothing_there(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StylePrompterError) as error:
        find_images(name)
    assert "\n" not in str(error.value) and "\0" not in str(error.value)


def test_results_are_no_inputs_of_the_same_call_again(tmp_path):
    folder = made(tmp_path / "in", {"a.png": PNG, "out/a.png": PNG, "out/b.png": PNG})
    out, shell = folder / "out", sorted(folder.iterdir())
    for inputs in (shell, [folder / "*"], [folder / "**"], [f"{folder}/[ao]*"]):
        assert list_inputs(inputs, out) == [folder / "a.png"]
    # These name images beside which the results shall lie.
    for inputs in ([out], [out / "*"], [f"{out}/?.png"]):
        assert list_inputs(inputs, out) == [out / "a.png", out / "b.png"]


def test_sheets_of_results_are_no_photographs(tmp_path, tiny_folder):
    made(tmp_path / "in", {"a.png": PNG, "b.png": PNG})
    out, model = tmp_path / "out", ["--model", str(tiny_folder)]
    call = ["invert", *model, "--input", f"{tmp_path}/in", "--output", f"{out}"]
    assert main(call) == 0
    sheet, own = out / "sheet.png", [out / "a.png", out / "b.png"]
    for entries in ([out], [out / "*.png"], [out.parent / "**/o*/*"], [*own, sheet]):
        assert list_inputs(entries, None) == own
    assert list_inputs([sheet], None) == [sheet]
    call = ["edit", *model, "--input", str(out), "--direction", "smile", "--strength"]
    assert main([*call, "1", "--output", str(tmp_path / "edits")]) == 0
    assert names(tmp_path / "edits") == ["a_smile_+1.png", "b_smile_+1.png"]
    sheet.write_bytes(PNG)  # now it is the user's
    assert list_inputs([out], None) == [*own, sheet]


def test_the_commands_name_what_is_left_out(tmp_path, capsys, caplog):
    folder = made(tmp_path / "in", {"a.jfif": JPEG, "b.tga": b"", "c/d": PNG})
    out = tmp_path / "out.array_record"
    assert main(["pack", str(folder), str(out), "--size", "4"]) == 0
    printed = capsys.readouterr()
    assert "2 images packed" in printed.out
    assert printed.err.count("Skipped ") == 1 and "b.tga" in printed.err
    list_inputs([str(folder), f"{folder}/", str(folder)], Path("out"), warn=True)
    assert caplog.text.count("Skipped ") == 1
    out.unlink()
    align = ["align", "--output", str(tmp_path / "x"), "--input", ""]
    for call in (["pack", "", str(out), "--size", "4"], align):
        assert main(call) == 1
        assert "is empty" in capsys.readouterr().err


def test_one_file_under_two_paths_is_one_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = ["photos/a.png", "photos/x/b.png", "elsewhere/a.png"]
    made(tmp_path, dict.fromkeys(images, PNG))
    (tmp_path / "link").symlink_to("photos")
    (tmp_path / "photos" / "c.png").symlink_to("a.png")  # with a name of its own
    own = [Path("photos") / name for name in ("a.png", "c.png", "x/b.png")]
    for other in ("photos/../photos", tmp_path / "photos", "link", "link/*.png"):
        assert list_inputs(["photos", other], None) == own
    assert len(list_inputs(["photos", "elsewhere"], None)) == 4
    assert len(list_inputs(["photos", "link"], None, repeats=True)) == 6
