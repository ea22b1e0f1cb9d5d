"""Measures a model; writes metrics.json (with the protocol), images.csv and a sheet.

The protocol records the settings and hashes that a repetition needs.
"""

import csv
import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from styleprompter_jax.app.compared import Compared
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.app.judges import (
    NEEDED,
    check_judged,
    classifier_of,
    conditions,
    directions_of,
    hashes_of,
    load_networks,
    without_edits,
    without_networks,
)
from styleprompter_jax.app.pictures import SHOWN
from styleprompter_jax.app.stored import (
    check_not_given,
    described,
    stored_latents,
    with_latents,
)
from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.batches import pad, take
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import write_json
from styleprompter_jax.core.outbox import to_bucket
from styleprompter_jax.core.paths import AnyPath, local_path
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.core.results import Results
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.editing.latents import Latents, concatenate, space_of
from styleprompter_jax.evaluation import classifier as classifiers
from styleprompter_jax.evaluation import codes, protocol
from styleprompter_jax.evaluation.editability import agreement, editability, judged
from styleprompter_jax.evaluation.evaluate import (
    Measured,
    comparison_shape,
    comparison_size,
    latents_of,
    measure,
)
from styleprompter_jax.images.batches import batches
from styleprompter_jax.images.files import to_float, write_image
from styleprompter_jax.images.inputs import InputReader
from styleprompter_jax.images.sheets import sheet
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.passes import check_iterations
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.inversion.samples import sample_w

FILES = "metrics.json", "images.csv", "sheet.png"
EDITED = 200  # number of images to judge edits
PAIRS = 128  # number of pairs of images to measure the path length
TIMED = 20  # number of images to measure the time


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """The results of an evaluation, and its files.

    Attributes:
        results: the content of metrics.json, without the protocol.
        metrics, images, sheet: the files metrics.json, images.csv and sheet.png.
        titles: the titles of the parts of the results, "w_plus" and "refined", in
            tables; that of codes is "W+", or "W" with one code for all layers.
    """

    results: dict
    metrics: Path
    images: Path
    sheet: Path
    titles: dict[str, str]


@to_bucket("output")
def evaluate(
    model: AnyPath,
    output: AnyPath = "evaluation",
    *,
    inputs: Sequence[AnyPath] | None = None,
    data: str | None = None,
    split: str = "test",
    data_dir: AnyPath | None = None,
    count: int | None = None,
    latents: AnyPath | None = None,
    size: int | None = None,
    networks: Sequence[AnyPath] = (),
    directions: Sequence[str] | None = None,
    classifier: AnyPath | None = None,
    decoding: Decoding = Decoding(),
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Evaluated:
    """Measures inversions, codes and edits of a model.

    Args:
        model: name or path of the model, as `load` takes it.
        output: folder of the results.
        inputs: files, folders and globs of images.
        data: "avatars", "cells", or a TFDS dataset, instead of images.
        split: split of `data`.
        data_dir: folder of the TFDS datasets.
        count: use only the first `count` images; None for all.
        latents: a file that `invert` wrote for `inputs`. The function then measures
            these codes and tuned generators instead of the encoder's codes.
        size: width of the compared images; None for the model's width, at most 256.
        networks: folders of perceptual networks, one for each kind.
        directions: directions to measure; None for all directions of the model.
        classifier: file of the classifier that judges edits; None for the bundled
            classifier of `data`, which the avatars and the cells have.
        decoding: options for rendering.
        skip_bad: skip images that cannot be read, with a warning for each.
        overwrite: replace files that this program did not write.

    Raises:
        StylePrompterError: if a given file or folder cannot be read or does not fit,
            or a result cannot be written.
    """
    if bool(inputs) == bool(data):
        raise StylePrompterError("Give evaluate either inputs or data.")
    folder = local_path(output)
    places, found = load_networks(networks)
    name, loaded = str(model), decoding.loaded(model)
    size = comparison_size(loaded, size)
    known, direction_files = directions_of(directions, loaded)
    classifier_file = classifier_of(classifier, data)
    judge = classifiers.load_classifier(classifier_file) if classifier_file else None
    judgeable = judged(judge, known) if judge else {}
    if directions:
        check_judged(directions, {name: known}, judge, {name: judgeable})
    shape = comparison_shape(loaded, size)
    images = Compared(
        inputs,
        folder,
        InputReader(loaded.config.input_shape),
        shape,
        data=data or "",
        split=split,
        data_dir=data_dir,
        count=count,
        skip_bad=skip_bad,
    )
    stored = None
    if latents is not None:
        stored = stored_latents(latents, loaded, images, decoding)
    numbers, values, table = files = [folder / file for file in FILES]
    given = latents, classifier_file
    read: list = [*images.paths, *(directions or ()), *filter(None, given)]
    place = Results(folder, files, inputs=read, sheets=[table], overwrite=overwrite)
    batch_size = decoding.batch(loaded, len(images))
    seed, options = decoding.seed, decoding.options()
    options["refine"] = calls.refines(loaded.config, decoding.refine, decoding.refiner)
    passes = calls.require(loaded.config, "encoder").passes
    if stored is not None and not options["refine"]:  # then nothing is encoded
        check_not_given(decoding.iterations)
    elif passes or decoding.iterations:
        options["iterations"] = check_iterations(loaded.config, decoding.iterations)

    bar: dict[str, Any] = dict(desc="inversion", unit="batch")
    bar["total"] = -(-len(images) // batch_size)
    shown = Progress(images.batches(batch_size), **bar)
    batches_of = with_latents(shown, stored)
    how: dict[str, Any] = dict(size=size, networks=found, batch_size=batch_size)
    with shown:
        measured = measure(loaded, batches_of, **how, **options)
    results = measured.means()
    if stored is None:
        results["time"] = _time(loaded, images, options)
    if len(images) > 1:
        lpips, noise = found.get("lpips"), decoding.fitting()["noise_mode"]
        results["codes"] = _codes(loaded, measured, shape, lpips, noise, seed)
    if judge and (judgeable or images.labels):
        results["edits"] = _edits(decoding, loaded, judge, images, stored, judgeable)
    results["skipped"] = _skipped(results, found)
    if not judgeable:
        results["skipped"] |= without_edits(bool(known), judge)
    batch_size = decoding.batch(loaded, min(SHOWN, len(images)))
    rows = _sheet(loaded, images, stored, measured, batch_size, options)
    own = dict(loaded.config.refiner.options) if loaded.config.refiner else {}
    settings = {
        "model": {
            "name": name,
            "source": loaded.source,
            "sha256": hashes_of(loaded),
        },
        "images": images.description,
        "latents": described(latents),
        "directions": direction_files,
        "decoding": own | options | {"rng": seed},
        **conditions(size, shape, places, classifier_file, decoding),
    }

    with place.writing(numbers):
        write_json(numbers, {"protocol": settings} | results)
    with place.writing(values):
        _write_values(values, images.names, measured)
    with place.writing(table):
        write_image(rows, table)
    return Evaluated(results, numbers, values, table, _titles(measured))


def _titles(measured: Measured) -> dict[str, str]:
    parts = measured.values["unquantised"]
    return {p: space_of(measured.w_plus) if p == "w_plus" else p for p in parts}


def _skipped(results: dict, found: dict) -> dict[str, str]:
    """Returns the skipped metrics of inversions, and how to get them."""
    skipped = without_networks(found, NEEDED | {"inception": "fid, kid"})
    if "time" not in results:
        skipped["time"] = "the latents come from a file, so nothing inverts an image"
    if "codes" not in results:
        skipped["codes, distances of sets"] = "needs more than one image"
    elif "frechet_layout" not in results["unquantised"]["w_plus"]:
        skipped["frechet_layout"] = "needs a --size and a height that 8 divides"
    return skipped


def _time(model: StylePrompter, images: Compared, decoding: dict) -> dict:
    """Measures the seconds for one image: only the model, and from file to file."""
    chosen = range(min(TIMED, len(images)))
    inputs = [jax.device_put(to_float(images.read(k)["image"][None])) for k in chosen]
    found: dict[str, Any] = {"batch_size": 1, "model": {}, "end_to_end": {}}
    parts = {"w_plus": False} | ({"refined": True} if decoding["refine"] else {})
    with tempfile.TemporaryDirectory() as folder:
        for part, refine in parts.items():
            options = decoding | {"refine": refine}

            def invert(image: np.ndarray, options: dict = options) -> jax.Array:
                return model.shown(model.invert(image, **options)[0])

            def from_file_to_file(k: int, invert: Callable = invert) -> None:
                image = to_float(images.read(k)["image"][None])
                write_image(np.asarray(invert(image))[0], Path(folder) / f"{k}.png")

            found["model"][part] = protocol.seconds(invert, inputs)
            found["end_to_end"][part] = protocol.seconds(from_file_to_file, chosen)
    return found


def _codes(
    model: StylePrompter,
    measured: Measured,
    shape: tuple[int, int],
    network: Any,
    noise_mode: str,
    seed: int,
) -> dict:
    """Measures the distribution of the codes, and the path length between them."""
    m = len(measured.w_plus)
    w = sample_w(model, m + codes.SAMPLES, seed)
    found = codes.code_statistics(measured.w_plus, w)
    pairs = min(m // 2, PAIRS)
    lengths = {}
    for name, distance in {"mse": None, "lpips": network}.items():
        if name == "lpips" and network is None:
            continue
        lengths[name] = {
            space: codes.path_length(
                model,
                values[: 2 * pairs : 2],
                values[1 : 2 * pairs : 2],
                size=shape,
                network=distance,
                noise_mode=noise_mode,
                seed=seed,
            )
            for space, values in (("w_plus", measured.w_plus), ("w", w))
        }
    return found | {"path_length": {"pairs": pairs, "seed": seed} | lengths}


def _edits(
    decoding: Decoding,
    model: StylePrompter,
    classifier: classifiers.Classifier,
    images: Compared,
    stored: Latents | None,
    directions: dict[str, Direction],
) -> dict:
    """Measures which labels inversions keep, and the effects of edits.

    The classifier knows all the directions. The function uses the first `EDITED`
    images.
    """
    size, how = decoding.batch(model, len(images)), decoding.options()
    batches = images.batches(size, EDITED)
    shown = list(with_latents(batches, stored))
    latents = [
        take(latents_of(model, batch, size, decoding.iterations), len(batch["image"]))
        for batch in shown
    ]
    found: dict[str, Any] = {"count": sum(map(len, latents)), "labels": {}}
    modes = {"w_plus": False}
    if calls.refines(model.config, decoding.refine):
        modes["refined"] = True
    attributes = images.attributes(shown)
    ways: dict[str, bool | None] = {"input": None, **modes}
    for name, way in ways.items() if attributes else ():
        judged = (batch["image"] for batch in shown)
        if way is not None:
            judged = (
                take(model.decode(pad(part, size), **how | {"refine": way}), len(part))
                for part in latents
            )
        found["labels"][name] = agreement(classifier, judged, attributes)
    everything = concatenate(latents)
    for name, refine in modes.items() if directions else ():
        found[name] = editability(
            model,
            classifier,
            everything,
            directions,
            batch_size=decoding.batch_size,
            **how | {"refine": refine},
        )
    return found


def _write_values(path: Path, names: Sequence, measured: Measured) -> None:
    """Writes a row of metrics for each image, from unquantised results."""
    columns = {
        f"{part}_{name}": values
        for part, metrics in measured.values["unquantised"].items()
        for name, values in metrics.items()
    }
    # A file name may not be valid text. Its bytes become escapes.
    how: dict[str, Any] = dict(newline="", encoding="utf-8", errors="backslashreplace")
    with atomic_path(path) as partial, partial.open("w", **how) as file:
        writer = csv.writer(file)
        writer.writerow(["image", *columns])
        for name, *row in zip(names, *columns.values(), strict=True):
            writer.writerow([name, *(f"{value:.6g}" for value in row)])


def _sheet(
    model: StylePrompter,
    images: Compared,
    stored: Latents | None,
    measured: Measured,
    batch_size: int,
    decoding: dict,
) -> np.ndarray:
    """Draws a sheet of images, evenly chosen from the best inversion to the worst."""
    parts = measured.values["unquantised"]
    psnr = list(parts.values())[-1]["psnr"]
    order = np.argsort(-psnr)
    count = min(SHOWN, len(order))
    chosen = order[np.linspace(0, len(order) - 1, count).round().astype(int)]
    rows: list = []
    rendering = decoding.copy()
    iterations = rendering.pop("iterations", None)
    for part in batches(count, batch_size):
        batch = np.stack([images.read(k)["image"] for k in chosen[part]])
        own = None if stored is None else stored[chosen[part]]
        (given,) = with_latents([{"image": to_float(batch)}], own)
        latents = latents_of(model, given, batch_size, iterations)
        made = [
            model.shown(
                model.decode(latents, **rendering | {"refine": name == "refined"})
            )
            for name in parts
        ]
        rows += zip(batch, *take(made, len(batch)), strict=True)
    return sheet(
        rows,
        ["input", *_titles(measured).values()],
        [f"{psnr[k]:.1f} dB" for k in chosen],
    )
