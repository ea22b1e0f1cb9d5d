"""Animations: what is written plays as given."""

import numpy as np
import pytest
from PIL import Image

from styleprompter_jax.errors import StylePrompterError
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
