"""Makes the pictures that the notebooks show where no others are given.

python colabs/pictures.py

Six faces of the test split as they are in it, and a "photograph" of another one,
larger, turned, and with room around it, with its landmarks.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from styleprompter_jax.data.avatars import BACKGROUND, FIRST_SEED, Face, render
from styleprompter_jax.images.files import write_image

FOLDER = Path(__file__).parent / "pictures"
FACES = 6

SIDE, CORNER = 300, (80, 90)  # of the face in the photograph
TILT = 12  # degrees
# Where FFHQ's crop has eyes, nose and corners of the mouth, as shares of its side: with
# these points, `styleprompter align` finds the square that the face was drawn in.
POINTS = np.array(
    [[0.375, 0.475], [0.625, 0.475], [0.5, 0.6], [0.4, 0.725], [0.6, 0.725]]
)


def photograph() -> tuple[np.ndarray, list]:
    """A picture (420, 480, 3), and the landmarks of the face in it."""
    face = Face.from_seed(FIRST_SEED["test"] + 1000)
    face = replace(
        face, smile=False, glasses=False, beard=False, hair="short", hair_color="red"
    )
    # Its lowest row goes on, so that the shoulders end below the photograph.
    pixels = np.pad(render(face, SIDE), ((0, 100), (0, 0), (0, 0)), "edge")
    colour = BACKGROUND[face.background]
    canvas = Image.new("RGB", (480, 480), colour)
    canvas.paste(Image.fromarray(pixels), CORNER)
    turned = canvas.rotate(TILT, Image.Resampling.BICUBIC, fillcolor=colour)
    angle = np.deg2rad(TILT)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = np.array(canvas.size) / 2
    points = (CORNER + SIDE * POINTS - middle) @ turn.T + middle - 0.5
    return np.asarray(turned)[:420], points.round(1).tolist()


def main():
    for k in range(FACES):
        face = render(Face.from_seed(FIRST_SEED["test"] + k), 64)
        write_image(face, FOLDER / "faces" / f"{k}.png")
    picture, points = photograph()
    write_image(picture, FOLDER / "photo.png")
    landmarks = json.dumps({"photo.png": points}) + "\n"
    (FOLDER / "landmarks.json").write_text(landmarks)


if __name__ == "__main__":
    main()
