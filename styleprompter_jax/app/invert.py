"""Inverts images, and writes the inversions, their latents and a sheet."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from styleprompter_jax.app import alignment, pictures
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.core.batches import take
from styleprompter_jax.core.paths import AnyPath, local_path
from styleprompter_jax.core.results import Results
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.images.batches import read_batches
from styleprompter_jax.images.files import sheet, write_image
from styleprompter_jax.images.inputs import InputReader, as_pictures
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.pipeline import StylePrompter


@dataclasses.dataclass(frozen=True)
class Inverted(pictures.Shown):
    """The inversions, a sheet of some, and the latents of all.

    Attributes:
        latents: an .npz file; `load_named` reads it.
    """

    latents: Path


def invert(
    model: AnyPath | StylePrompter,
    inputs: Sequence[AnyPath],
    output: AnyPath,
    *,
    features: bool = False,
    optimize: int = 0,
    input_kind: str | None = None,
    decoding: Decoding = Decoding(),
    format: str = "png",
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Inverted:
    """Inverts images, and writes the inversions, their latents and a sheet.

    Args:
        model: a loaded model, or a name as `load` takes it.
        inputs: files, folders and globs of images.
        output: folder of the results.
        features: also store SMART's feature maps in the latents.
        optimize: steps of gradient descent that fit the codes of each image.
        input_kind: the kind of the files, see `images.inputs`; None for the kind that
            the model reads: pictures, sketches or label maps.
        decoding: options for rendering.
        format: format of the results: "png", "jpg" or "webp".
        skip_bad: skip images that cannot be read, with a warning for each.
        overwrite: replace files that this program did not write.

    Raises:
        StylePrompterError: if an image cannot be read, or a result cannot be written.
    """
    folder = local_path(output)
    model = decoding.loaded(model)
    read = InputReader(model.config.input_shape, input_kind)
    paths, results, skipped = pictures.find_pictures(
        inputs, folder, skip_bad, read, f".{format}"
    )
    codes, table = folder / "latents.npz", pictures.sheet_path(folder, results)
    place = Results(folder, [*results, codes, table], inputs=paths, overwrite=overwrite)
    batch_size = min(decoding.batch_size, len(paths))
    refined = calls.refines(model.config, decoding.refine, decoding.refiner)
    kept: list = []
    rows: list = []
    titles: list = []
    batches = read_batches(paths, read, batch_size)
    bar = tqdm(total=len(paths), unit="image", disable=None)
    with bar, pictures.writing(place) as write:
        for index, (part, images) in enumerate(batches):
            count = part.stop - part.start
            options = decoding.options(index)
            found = model.passes(images, decoding.iterations)
            latents = decoding.fit(model, images, found[-1], optimize)
            outputs = take(model.shown(model.decode(latents, **options)), count)
            write(outputs, results[part])
            if index == 0:
                alignment.warn(model, paths, images)
            if len(rows) < pictures.SHOWN:
                columns = {"input": as_pictures(images)[:count]}
                steps = _steps(model, found, latents)
                for title, step in steps.items():
                    made = outputs
                    if step is not latents or refined:
                        made = model.decode(step, **options | {"refine": False})
                        made = take(model.shown(made), count)
                    columns[title] = made
                columns |= {"refined": outputs} if refined else {}
                titles = [*columns]
                rows += zip(*columns.values(), strict=True)
            if not features:
                latents = Latents(latents.w_plus)
            kept.append(take(latents, count))
            bar.update(count)
    maps = zip(*(latents.features for latents in kept), strict=True)
    latents = Latents(
        np.concatenate([latents.w_plus for latents in kept]),
        tuple(map(np.concatenate, maps)),
    )
    names = [str(path.relative_to(folder).with_suffix("")) for path in results]
    with place.writing(codes):
        latents.save(codes, features=features, names=names, source=model.source)
    rows = rows[: pictures.SHOWN]
    with place.writing(table):
        write_image(sheet(rows, titles), table)
    return Inverted(results, skipped, table, codes)


def _steps(
    model: StylePrompter, passes: list[Latents], latents: Latents
) -> dict[str, Latents]:
    """Returns the latents that the sheet shows, by title, with the final ones last."""
    if model.config.encoder is None or not model.config.encoder.passes:
        return {"W+": latents}
    steps = {f"pass {k + 1}": one for k, one in enumerate(passes)}
    return steps if latents is passes[-1] else steps | {"fitted": latents}
