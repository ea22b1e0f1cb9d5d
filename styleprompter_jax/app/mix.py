"""`styleprompter mix`: codes of one image among those of another."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from styleprompter_jax.app import pictures
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.results import Results
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.editing.mixing import mix, mixes
from styleprompter_jax.images.files import sheet, write_image
from styleprompter_jax.inversion.pipeline import load


def run(args):
    folder = Path(args.output)
    model = load(args.model, dtype=args.dtype)
    read, read_other = (pictures.at_size(model.image_size) for _ in range(2))
    sources, results, skipped = pictures.find_pictures(
        args.source, folder, args.skip_bad, read, f".{args.format}"
    )
    references, names, more = pictures.find_pictures(
        args.reference, folder, args.skip_bad, read_other
    )
    skipped += more
    if args.pairs and skipped:
        raise StylePrompterError(
            f"--pairs: {pictures.plural(skipped, 'picture')} cannot be read, and others"
            " would take their places: leave out both of each pair."
        )
    if args.pairs and len(sources) != len(references):
        raise StylePrompterError(
            f"--pairs: {pictures.plural(len(sources), 'source')} and "
            f"{pictures.plural(len(references), 'reference')} make no pairs."
        )
    shares = mixes(args.mode, model.config.generator.num_codes, args.layers, args.alpha)
    names = ["-".join(name.relative_to(folder).with_suffix("").parts) for name in names]
    every = range(len(references))

    def path(source, reference, label):
        result = results[source]
        return result.with_name(
            f"{result.stem}_{names[reference]}_{label}{result.suffix}"
        )

    made = [
        path(source, reference, label)
        for source in range(len(sources))
        for reference in ([source] if args.pairs else every)
        for label in shares
    ]
    table = pictures.sheet_path(folder, made)
    inputs = [*sources, *references]
    place = Results(folder, [*made, table], inputs=inputs, overwrite=args.overwrite)

    batch_size = min(args.batch_size, max(len(sources), len(references)))
    shown, codes = _encode(model, references, read_other, batch_size)
    rows = []
    batches = pictures.read_batches(sources, read, batch_size)
    bar = tqdm(total=len(made), unit="image", disable=None)
    with bar, pictures.writing(place) as write:
        for index, (part, images) in enumerate(batches):
            count = part.stop - part.start
            options = pictures.decoding(args, index)
            latents = model.encode(images)
            # To each source its own reference, or one for the whole batch at a time.
            own = range(part.start, part.stop)
            for chosen in [own] if args.pairs else ([k] * count for k in every):
                seen = pictures.pad(shown[chosen], batch_size)
                other = pictures.pad(codes[chosen], batch_size)
                columns = [images, seen]
                for label, share in shares.items():
                    mixed = Latents(mix(latents.w_plus, other, share), latents.features)
                    columns.append(np.asarray(model.decode(mixed, **options)))
                    paths = [
                        path(*pair, label) for pair in zip(own, chosen, strict=True)
                    ]
                    write(columns[-1][:count], paths)
                    bar.update(count)
                if len(rows) < pictures.SHOWN:
                    rows += zip(*pictures.take(columns, count), strict=True)
    titles = ["source", "reference", *(label.replace("_", " ") for label in shares)]
    with place.writing(table):
        write_image(sheet(rows[: pictures.SHOWN], titles), table)
    left_out = f", {skipped} skipped" if skipped else ""
    print(
        f"{len(made)} mixes of "
        f"{pictures.plural(len(sources), 'source')} and "
        f"{pictures.plural(len(references), 'reference')} in {folder}{left_out}."
    )


def _encode(model, paths, read, batch_size) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (m, s, s, 3) and their codes (m, n, w_dim)."""
    parts = []
    for part, images in pictures.read_batches(paths, read, batch_size):
        both = images, model.encode(images).w_plus
        parts.append(pictures.take(both, part.stop - part.start))
    images, codes = map(np.concatenate, zip(*parts, strict=True))
    return images, codes
