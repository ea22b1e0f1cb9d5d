"""Writes animations: GIF, or MP4 if imageio-ffmpeg is installed."""

import importlib.util
import os
import subprocess

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images.files import to_uint8

_QUALITY = 25  # H.264's CRF, from 0 (lossless) to 51


def check_mp4() -> None:
    """Raises a StylePrompterError if MP4 cannot be written."""
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        raise StylePrompterError(
            "MP4 needs the extra video: `pip install imageio-ffmpeg`, or write a GIF."
        )


def write_gif(
    images: ArrayLike, path: str | os.PathLike, frames_per_second: float = 20
) -> None:
    """Writes (t, h, w, 3), in [-1, 1] or uint8, as a GIF that repeats forever.

    The file gets its name only when it is complete.

    Raises:
        StylePrompterError: if the file cannot be written.
    """
    first, *others = map(Image.fromarray, to_uint8(images))
    with atomic_path(path) as partial:
        first.save(
            partial,
            "GIF",
            save_all=True,
            append_images=others,
            # GIF measures time in hundredths of a second.
            duration=max(2, round(100 / frames_per_second)) * 10,
            loop=0,
        )


def write_mp4(
    images: ArrayLike, path: str | os.PathLike, frames_per_second: float = 20
) -> None:
    """Writes (t, h, w, 3), in [-1, 1] or uint8, as H.264; h and w must be even.

    The file gets its name only when it is complete, with every frame in it.

    Raises:
        StylePrompterError: if imageio-ffmpeg is missing, a side is odd, or the file
            cannot be written.
    """
    check_mp4()
    import imageio_ffmpeg

    frames = np.ascontiguousarray(to_uint8(images))
    count, height, width, _ = frames.shape
    if height % 2 or width % 2:
        raise StylePrompterError(
            f"{path} cannot be written, because an MP4 has even sides, and the images "
            f"have {width} x {height} pixels: crop them, or write a GIF."
        )
    pixels = frames.reshape(-1)  # `run` counts entries, and takes them for bytes
    # imageio_ffmpeg's writer does not report whether ffmpeg failed.
    layout = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    codec = ["-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", str(_QUALITY)]
    with atomic_path(path) as partial:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *layout]
        command += ["-r", str(frames_per_second), "-i", "-", *codec, str(partial)]
        done = subprocess.run(command, input=pixels.data, capture_output=True)
        try:
            found, _ = imageio_ffmpeg.count_frames_and_secs(str(partial))
        except RuntimeError:  # the file cannot be read
            found = 0
        if done.returncode or found != count:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise StylePrompterError(
                f"{path} cannot be written, because ffmpeg wrote only {found} of "
                f"{count} frames ({said[-1] if said else 'it gave no reason'}): check "
                "whether the disk is full."
            )
