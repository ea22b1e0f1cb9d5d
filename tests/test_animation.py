"""Animations play as the given frames."""

import numpy as np
import pytest
from conftest import disk_full_after
from PIL import Image

import styleprompter_jax as sp
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.app.edit import edit
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images import animation

FRAMES = np.stack([np.full((32, 48, 3), v, np.uint8) for v in (0, 100, 200)])


def test_gif(tmp_path):
    animation.write_gif(FRAMES, tmp_path / "new" / "a.gif", frames_per_second=10)
    with Image.open(tmp_path / "new" / "a.gif") as image:
        assert image.size == (48, 32) and image.info["duration"] == 100
        for k, value in enumerate((0, 100, 200)):
            image.seek(k)
            assert (
                np.abs(np.asarray(image.convert("RGB")).astype(int) - value).max() < 2
            )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.gif"]
    (tmp_path / "file").write_text("")
    with pytest.raises(StylePrompterError, match="cannot be written"):
        animation.write_gif(FRAMES, tmp_path / "file" / "a.gif")


# The library leaves its pipes to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_mp4(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="an extra")
    animation.write_mp4(FRAMES, tmp_path / "a.mp4")
    reader = ffmpeg.read_frames(str(tmp_path / "a.mp4"))
    assert next(reader)["size"] == (48, 32)
    frames = [np.frombuffer(frame, np.uint8) for frame in reader]
    assert len(frames) == 3 and abs(int(frames[2].mean()) - 200) < 6
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    with pytest.raises(StylePrompterError, match=r"even sides, and .* 47 x 32 pixels"):
        animation.write_mp4(FRAMES[:, :, :47], tmp_path / "b.mp4")


@pytest.mark.slow
def test_a_long_mp4(tmp_path):
    """A pipe takes 4,096 elements at a time: bytes, and not frames."""
    pytest.importorskip("imageio_ffmpeg", reason="an extra")
    animation.write_mp4(np.zeros((4100, 16, 16, 3), np.uint8), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").is_file()


@pytest.mark.parametrize("kind", ["gif", "mp4"])
def test_a_full_disk_leaves_no_broken_file(tmp_path, kind):
    if kind == "mp4":
        pytest.importorskip("imageio_ffmpeg", reason="an extra")
    write = {"gif": animation.write_gif, "mp4": animation.write_mp4}[kind]
    frames = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    write(FRAMES, tmp_path / f"a.{kind}")
    before = (tmp_path / f"a.{kind}").read_bytes()
    told = pytest.raises(StylePrompterError, match=rf"a\.{kind} cannot be written")
    with told as error, disk_full_after(2000):
        write(frames, tmp_path / f"a.{kind}")
    assert "\n" not in str(error.value)
    assert (tmp_path / f"a.{kind}").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{kind}"]


def test_an_mp4_that_lacks_pictures_is_none(tmp_path, monkeypatch):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="an extra")
    monkeypatch.setattr(ffmpeg, "count_frames_and_secs", lambda path: (2, 0.1))
    with pytest.raises(StylePrompterError, match="2 of 3 frames"):
        animation.write_mp4(FRAMES, tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_frames_of_an_image_share_their_noise(tmp_path, model):
    """With equal strengths, all frames are equal; two images have other noise."""
    codes = np.zeros((2, 8, 16), np.float32)
    sp.Latents(codes).save(tmp_path / "codes.npz", names=["a", "b"])
    made = edit(
        model, tmp_path / "edits", ["smile"], latents=tmp_path / "codes.npz",
        strengths=[1e-6, 2e-6], animate="frames", frames=3,
        decoding=Decoding(refine=False, noise_mode="random"),
    )  # fmt: skip
    frames = sp.read_images(made.files, 32).reshape(2, 3, 32, 32, 3)
    np.testing.assert_allclose(
        frames, frames[:, :1] + np.zeros((3, 1, 1, 1)), atol=0.01
    )
    assert np.abs(frames[0] - frames[1]).max() > 0.1
