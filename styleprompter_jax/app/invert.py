"""Inverts images, and writes the inversions, their latents and a sheet."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from styleprompter_jax.app import alignment, pictures
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.app.tuning import Tuner
from styleprompter_jax.core.batches import pad, take
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.outbox import to_bucket
from styleprompter_jax.core.paths import AnyPath, local_path
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.core.results import Results
from styleprompter_jax.core.sums import sha256
from styleprompter_jax.core.values import whole
from styleprompter_jax.editing.generator_change import SUFFIX
from styleprompter_jax.editing.latents import Latents, concatenate, space_of
from styleprompter_jax.images.batches import read_batches
from styleprompter_jax.images.files import write_image
from styleprompter_jax.images.inputs import InputReader, as_pictures
from styleprompter_jax.images.sheets import sheet
from styleprompter_jax.inversion import calls
from styleprompter_jax.inversion.pipeline import StylePrompter


@dataclasses.dataclass(frozen=True)
class Inverted(pictures.Shown):
    """The inversions, a sheet of some of them, and the latents of all images.

    Attributes:
        latents: an .npz file; `load_named` reads it.
        changes: files with the changes of tuned generators, one for each image, or one
            for all images; [] without tuning.
    """

    latents: Path
    changes: list[Path]


@to_bucket("output")
def invert(
    model: AnyPath | StylePrompter,
    inputs: Sequence[AnyPath],
    output: AnyPath,
    *,
    features: bool = False,
    optimize: int = 0,
    input_kind: str | None = None,
    tune: int = 0,
    layers: Sequence[int] | None = None,
    together: bool = False,
    locality: float = 0.0,
    network: AnyPath | None = None,
    half: bool = False,
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
        tune: the largest number of steps that then fit the generator to each image,
            with fixed codes; see `StylePrompter.tune`. If the same call runs again, it
            does not tune a tuned image again.
        layers: indices of the codes whose layers are tuned; None for all.
        together: tune one generator to all images.
        locality: weight of the loss term that limits the change of other images.
        network: folder of a network for LPIPS in the loss of tuning; None for 1 - SSIM.
        half: store the changes of generators in float16.
        decoding: options for rendering.
        format: format of the results: "png", "jpg" or "webp".
        skip_bad: skip images that cannot be read, with a warning for each.
        overwrite: replace files that this program did not write.

    Raises:
        StylePrompterError: if an image cannot be read, or a result cannot be written.
    """
    folder, suffix = local_path(output), pictures.suffix_of(format)
    given = dict(layers=layers, network=network, locality=locality or None)
    given |= dict(together=together or None, half=half or None)
    for name, value in given.items():
        if value is not None and not tune:
            raise StylePrompterError(
                f"{name} (--{name}) is for tuning: give tune (--tune), or leave it out."
            )
    model = decoding.loaded(model)
    read = InputReader(model.config.input_shape, input_kind)
    paths, results, skipped = pictures.find_pictures(
        inputs, folder, skip_bad, read, suffix
    )
    sums = [sha256(path) for path in paths]
    codes, table = folder / "latents.npz", pictures.sheet_path(folder, results)
    tuner, changes = None, []
    if whole(tune, "tune"):
        tuner = Tuner(
            model,
            decoding,
            tune,
            input_kind=read.kind,
            layers=layers,
            locality=locality,
            network=network,
            half=half,
        )
        alone = [path.with_suffix(SUFFIX) for path in results]
        changes = [folder / f"generator{SUFFIX}"] if together else alone
    files = [*results, codes, table, *changes]
    place = Results(
        folder,
        files,
        inputs=paths,
        sheets=[table],
        overwrite=overwrite,
        images=paths,
    )
    batch_size = decoding.batch(model, len(paths))
    refined = calls.refines(model.config, decoding.refine, decoding.refiner)
    kept: list = []
    rows: list = []
    titles: list = []

    def inversions() -> Iterator[tuple]:
        """Yields slice, images, latents of the passes, last latents of each batch."""
        for part, images in read_batches(paths, read, batch_size):
            if not part.start:
                alignment.warn(model, paths, images)
            passes = model.passes(images, decoding.iterations)
            latents = decoding.fit(model, images, passes[-1], optimize)
            yield part, images, passes, latents

    def tuned(tuner: Tuner) -> Iterator[tuple]:
        """Yields the same values, with latents of tuned generators."""
        if not together:
            for part, images, passes, latents in inversions():
                shown = tuner.targets(paths[part], images)
                each = zip(shown, latents, changes[part], strict=False)
                own = [tuner(x[None], one, file, place) for x, one, file in each]
                yield part, images, passes, concatenate(own)
            return
        found = list(inversions())
        everything = concatenate([
            take(latents, part.stop - part.start) for part, *_, latents in found
        ])  # fmt: skip
        targets = [tuner.targets(paths[part], images) for part, images, *_ in found]
        everything = tuner(np.concatenate(targets), everything, changes[0], place)
        for part, images, passes, _ in found:
            yield part, images, passes, pad(everything[part], batch_size)

    bar = Progress(total=len(paths), unit="image")
    with bar, pictures.writing(place) as write:
        batches = inversions() if tuner is None else tuned(tuner)
        for index, (part, images, found, latents) in enumerate(batches):
            count = part.stop - part.start
            options = decoding.options(index)
            outputs = take(model.shown(model.decode(latents, **options)), count)
            write(outputs, results[part])
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
            maps = latents.features if features else ()
            kept.append(take(Latents(latents.w_plus, maps), count))
            bar.update(count)
    names = pictures.names_of(results, folder)
    of_each = changes if len(changes) == len(results) else changes * len(results)
    with place.writing(codes):
        concatenate(kept).save(
            codes,
            features=features,
            names=names,
            source=model.source,
            generator=model.generator_sha256,
            changes=of_each or None,
            images=sums,
        )
    rows = rows[: pictures.SHOWN]
    with place.writing(table):
        write_image(sheet(rows, titles), table)
    return Inverted(results, skipped, table, codes, changes)


def _steps(
    model: StylePrompter, passes: list[Latents], latents: Latents
) -> dict[str, Latents]:
    """Returns the latents that the sheet shows, by title, with the final ones last."""
    if model.config.encoder is None or not model.config.encoder.passes:
        return {space_of(latents.w_plus): latents}
    steps = {f"pass {k + 1}": one for k, one in enumerate(passes)}
    return steps if latents is passes[-1] else steps | {"fitted": latents}
