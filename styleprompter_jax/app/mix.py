"""Mixes the codes of images (style mixing)."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from styleprompter_jax.app import pictures
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.core.batches import pad, take
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.outbox import to_bucket
from styleprompter_jax.core.paths import AnyPath, local_path
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.core.results import Results
from styleprompter_jax.core.values import plural
from styleprompter_jax.editing import mixing
from styleprompter_jax.images.batches import batches, read_batches
from styleprompter_jax.images.files import write_image
from styleprompter_jax.images.inputs import InputReader, as_pictures
from styleprompter_jax.images.sheets import sheet
from styleprompter_jax.inversion.pipeline import StylePrompter


@dataclasses.dataclass(frozen=True)
class Mixed(pictures.Shown):
    """The mixed images, a sheet of some of them, and the number of input images.

    Attributes:
        sources, references: number of source images and of reference images.
    """

    sources: int
    references: int


@to_bucket("output")
def mix(
    model: AnyPath | StylePrompter,
    sources: Sequence[AnyPath],
    references: Sequence[AnyPath],
    output: AnyPath,
    *,
    mode: str,
    latents: AnyPath | None = None,
    pairs: bool = False,
    alphas: Sequence[float] | None = None,
    layers: Sequence[int] | None = None,
    decoding: Decoding = Decoding(),
    format: str = "png",
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Mixed:
    """Mixes the codes of each source with the codes of each reference.

    Args:
        model: a loaded model, or a name as `load` takes it.
        sources: files, folders and globs of the images whose codes change.
        references: files, folders and globs of the images that give the new codes.
        output: folder of the results.
        latents: a file from `invert` instead of sources.
        mode: "replace", "exchange" or "interpolate"; see `editing.mixing.mixes`.
        alphas: shares of the reference, for "interpolate".
        layers: indices of the codes that may come from the reference; None for all.
        pairs: mix only the first source with the first reference, and so on.
        decoding: options for rendering.
        format: format of the results: "png", "jpg" or "webp".
        skip_bad: skip images that cannot be read, with a warning for each.
        overwrite: replace files that this program did not write.

    Raises:
        StylePrompterError: if an image or the latents cannot be read, the numbers of
            sources and references differ with `pairs`, the mode or its options are
            wrong, or a result cannot be written.
    """
    folder, suffix = local_path(output), pictures.suffix_of(format)
    if bool(sources) == bool(latents):
        raise StylePrompterError("Give sources or latents to mix: one of them.")
    model = decoding.loaded(model)
    read, read_other = (InputReader(model.config.input_shape) for _ in range(2))
    skipped: list[str] = []
    if latents:
        pictured: list[Path] = []
        stored, results = pictures.load_latents(
            latents, model, decoding, folder, suffix
        )
    else:
        pictured, results, skipped = pictures.find_pictures(
            sources, folder, skip_bad, read, suffix, repeats=pairs
        )
    references, names, more = pictures.find_pictures(
        references, folder, skip_bad, read_other, repeats=pairs
    )
    skipped += more
    if pairs and skipped:
        raise StylePrompterError(
            f"--pairs: {plural(len(skipped), 'image')} cannot be read, so the others "
            "would form wrong pairs: leave out both images of each such pair."
        )
    if pairs and len(results) != len(references):
        raise StylePrompterError(
            f"--pairs: {plural(len(results), 'source')} and "
            f"{plural(len(references), 'reference')} do not form pairs: give the same "
            "number of each."
        )
    shares = mixing.mixes(mode, model.config.generator.num_codes, layers, alphas)
    called = ["-".join(n.relative_to(folder).with_suffix("").parts) for n in names]
    every = range(len(references))

    def path(source: int, reference: int, label: str) -> Path:
        result = results[source]
        return result.with_name(
            f"{result.stem}_{called[reference]}_{label}{result.suffix}"
        )

    planned = [
        (source, reference, label)
        for source in range(len(results))
        for reference in ([source] if pairs else every)
        for label in shares
    ]
    made = [path(*one) for one in planned]
    called_source: Sequence[object] = pictured or pictures.names_of(results, folder)
    table = pictures.sheet_path(folder, made)
    inputs = [*pictured, *references, *([latents] if latents else [])]
    place = Results(
        folder,
        [*made, table],
        inputs=inputs,
        sources={
            file: results[one[0]] for file, one in zip(made, planned, strict=True)
        },
        sheets=[table],
        overwrite=overwrite,
        images=[f"{called_source[s]} with {references[r]}" for s, r, _ in planned],
    )

    batch_size = decoding.batch(model, max(len(results), len(references)))
    shown, codes = _encode(model, references, read_other, decoding, batch_size)
    rows: list = []
    if pictured:
        parts: Iterable[tuple] = read_batches(pictured, read, batch_size)
    else:
        parts = ((part, None) for part in batches(len(results), batch_size))
    bar = Progress(total=len(made), unit="image")
    with bar, pictures.writing(place) as write:
        for index, (part, images) in enumerate(parts):
            count = part.stop - part.start
            options = decoding.options(index)
            if pictured:
                own_latents = model.encode(images, decoding.iterations)
                images = as_pictures(images)
            else:
                own_latents = pad(stored[part], batch_size)
                images = model.shown(model.decode(own_latents, **options))
            # Each source has its own reference, or the whole batch shares one.
            own = range(part.start, part.stop)
            for chosen in [own] if pairs else ([k] * count for k in every):
                seen = pad(shown[chosen], batch_size)
                other = pad(codes[chosen], batch_size)
                columns = [images, seen]
                for label, share in shares.items():
                    codes_of_both = mixing.mix(own_latents.w_plus, other, share)
                    mixed = dataclasses.replace(own_latents, w_plus=codes_of_both)
                    image = model.shown(model.decode(mixed, **options))
                    columns.append(np.asarray(image))
                    paths = [
                        path(*pair, label) for pair in zip(own, chosen, strict=True)
                    ]
                    write(columns[-1][:count], paths)
                    bar.update(count)
                if len(rows) < pictures.SHOWN:
                    rows += zip(*take(columns, count), strict=True)
    titles = ["source", "reference", *(label.replace("_", " ") for label in shares)]
    with place.writing(table):
        write_image(sheet(rows[: pictures.SHOWN], titles), table)
    return Mixed(made, skipped, table, len(results), len(references))


def _encode(
    model: StylePrompter,
    paths: Sequence[Path],
    read: InputReader,
    decoding: Decoding,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Reads images (m, h, w, 3) and encodes them to codes (m, n, w_dim)."""
    parts = []
    for part, images in read_batches(paths, read, batch_size):
        codes = model.encode(images, decoding.iterations).w_plus
        both = as_pictures(images), codes
        parts.append(take(both, part.stop - part.start))
    images, codes = map(np.concatenate, zip(*parts, strict=True))
    return images, codes
