"""`styleprompter invert`: inverted images, their latents, and a sheet."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from styleprompter_jax.app import alignment, pictures
from styleprompter_jax.core.results import Results
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.images.files import sheet, write_image
from styleprompter_jax.inversion.pipeline import load


def run(args):
    model = load(args.model, dtype=args.dtype)
    read = pictures.at_size(model.image_size)
    paths, results, skipped = pictures.find_pictures(
        args.input, args.output, args.skip_bad, read, f".{args.format}"
    )
    folder = Path(args.output)
    codes, table = folder / "latents.npz", pictures.sheet_path(folder, results)
    place = Results(
        folder, [*results, codes, table], inputs=paths, overwrite=args.overwrite
    )
    batch_size = min(args.batch_size, len(paths))
    kept, rows = [], []
    batches = pictures.read_batches(paths, read, batch_size)
    bar = tqdm(total=len(paths), unit="image", disable=None)
    with bar, pictures.writing(place) as write:
        for index, (part, images) in enumerate(batches):
            count = part.stop - part.start
            options = pictures.decoding(args, index)
            latents = pictures.fit(args, model, images, model.encode(images))
            outputs = pictures.take(model.decode(latents, **options), count)
            write(outputs, results[part])
            if index == 0:
                alignment.warn(model, paths, images)
            if len(rows) < pictures.SHOWN:
                columns = [images[:count], outputs]
                if args.refine:
                    plain = model.decode(latents, **(options | {"refine": False}))
                    columns.insert(1, pictures.take(plain, count))
                rows += zip(*columns, strict=True)
            if not args.features:
                latents = Latents(latents.w_plus)
            kept.append(pictures.take(latents, count))
            bar.update(count)
    features = zip(*(latents.features for latents in kept), strict=True)
    latents = Latents(
        np.concatenate([latents.w_plus for latents in kept]),
        tuple(np.concatenate(maps) for maps in features),
    )
    names = [str(path.relative_to(folder).with_suffix("")) for path in results]
    with place.writing(codes):
        latents.save(codes, features=args.features, names=names, source=model.source)
    rows = rows[: pictures.SHOWN]
    titles = ["input", "W+", "refined"][: len(rows[0])]
    with place.writing(table):
        write_image(sheet(rows, titles), table)
    left_out = f", {skipped} skipped" if skipped else ""
    print(f"{pictures.plural(len(paths), 'picture')} inverted to {folder}{left_out}.")
