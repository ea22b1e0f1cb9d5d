"""`styleprompter directions`: finds directions, and keeps them with a model."""

import os
import shutil
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from styleprompter_jax import bundle
from styleprompter_jax.commands import pictures
from styleprompter_jax.data.loader import eval_batches
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.editing.directions import Direction, directions_from_labels
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.images.files import sheet, write_image
from styleprompter_jax.latents import Latents
from styleprompter_jax.pipeline import StylePrompter, load

STRENGTHS = (-1.0, 0.0, 1.0)
# What the avatars' labels are called as directions.
BOOLEANS = {"smile": "smile", "glasses": "glasses", "beard": "beard"}
CLASSES = {
    "hair": "hair",
    "hair_color": "hair_color",
    "skin_color": "skin",
    "background": "background",
    "clothing": "clothing",
}


def run(args):
    model_folder = bundle.find_model(args.model)
    folder = Path(args.output) if args.output else model_folder
    if not args.output and model_folder.parent == bundle.BUNDLED:
        raise StylePrompterError(
            f"{args.model} is a bundled model: name a folder for a copy with --output."
        )
    if args.data.partition("/")[0] != "avatars":
        raise StylePrompterError(
            f'--data is {args.data!r}: labels are known for "avatars" and its sizes, '
            'such as "avatars/128".'
        )
    if args.output and folder.exists():
        raise StylePrompterError(f"{folder} exists: choose another --output.")
    model = load(model_folder)
    codes, attributes, example = _encode_avatars(model, args)
    origin = f"labels of {len(codes)} images of {args.data}"
    found = directions_from_labels(codes, attributes, origin)
    table = _sheet(model, found, example)
    directions = model.directions | found
    if args.output:
        _copy_with(model_folder, folder, directions)
    else:
        bundle.save_directions(folder, directions)
    write_image(table, folder / "directions.png")
    print(f"{len(found)} directions in {folder}: {', '.join(found)}.")


def _encode_avatars(model: StylePrompter, args) -> tuple[np.ndarray, dict, Latents]:
    """Codes (m, n, w_dim) and labels of the train split; the latents of the first."""
    size, batch_size = model.image_size, args.batch_size
    source = make_source(
        ConfigDict(dict(name=args.data, path=args.data_dir, image_size=size)), "train"
    )
    total = min(args.count, len(source))
    names = {label: source.features[label].names for label in CLASSES}
    codes, labels, example = [], {label: [] for label in [*BOOLEANS, *CLASSES]}, None
    done = 0
    with tqdm(total=total, unit="image", disable=None) as bar:
        for batch in eval_batches(source, batch_size=batch_size, image_size=size):
            m = min(len(batch["image"]), total - done)
            latents = model.encode(pictures.pad(batch["image"], batch_size))
            latents = pictures.take(latents, m)
            codes.append(latents.w_plus)
            for label, values in labels.items():
                values.append(batch[label][:m])
            example = example or latents[0]
            bar.update(m)
            done += m
            if done == total:
                break
    labels = {label: np.concatenate(values) for label, values in labels.items()}
    attributes = {name: labels[label] for label, name in BOOLEANS.items()}
    for label, name in CLASSES.items():
        attributes[name] = np.asarray(names[label])[labels[label]]
    # A bald face without a beard has no hair to see the colour of.
    unseen = (attributes["hair"] == "bald") & ~attributes["beard"].astype(bool)
    attributes["hair_color"] = np.where(unseen, "", attributes["hair_color"])
    return np.concatenate(codes), attributes, example


def _sheet(model, directions: dict[str, Direction], example: Latents) -> np.ndarray:
    """One row a direction: the example at a few strengths."""
    refine = model.config.smart is not None
    rows = [
        [
            np.asarray(model.decode(example.edit(d, strength), refine=refine))[0]
            for strength in STRENGTHS
        ]
        for d in directions.values()
    ]
    return sheet(rows, [f"{s:+g}" for s in STRENGTHS], list(directions))


def _copy_with(model_folder: Path, folder: Path, directions) -> None:
    """A copy of a model folder with these directions, whole or not at all."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        shutil.copytree(model_folder, partial)
        bundle.save_directions(partial, directions)
        partial.rename(folder)
    except OSError as error:
        raise StylePrompterError(f"{folder} cannot be written: {error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
