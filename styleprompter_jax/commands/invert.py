"""`styleprompter invert`: inverted images, their latents, and a sheet."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from styleprompter_jax.commands import pictures
from styleprompter_jax.images.files import sheet, write_image, write_images
from styleprompter_jax.latents import Latents
from styleprompter_jax.pipeline import load


def run(args):
    paths, results, skipped = pictures.find_pictures(
        args.input, args.output, args.skip_bad
    )
    model = load(args.model)
    batch_size = min(args.batch_size, len(paths))
    kept, rows = [], []
    with tqdm(total=len(paths), unit="image", disable=None) as bar:
        for index, part in enumerate(pictures.batches(len(paths), batch_size)):
            count = part.stop - part.start
            images = pictures.read_padded(paths[part], model.image_size, batch_size)
            options = pictures.decoding(args, index)
            latents = pictures.fit(args, model, images, model.encode(images))
            outputs = model.decode(latents, **options)
            columns = [images, outputs]
            if args.refine and len(rows) < pictures.SHOWN:
                plain = model.decode(latents, **(options | {"refine": False}))
                columns.insert(1, plain)
            columns = pictures.take(columns, count)
            write_images(columns[-1], results[part])
            if len(rows) < pictures.SHOWN:
                rows += zip(*columns, strict=True)
            if not args.features:
                latents = Latents(latents.w_plus)
            kept.append(pictures.take(latents, count))
            bar.update(count)
    folder = Path(args.output)
    features = zip(*(latents.features for latents in kept), strict=True)
    Latents(
        np.concatenate([latents.w_plus for latents in kept]),
        tuple(np.concatenate(maps) for maps in features),
    ).save(
        folder / "latents.npz",
        features=args.features,
        names=[str(path.relative_to(folder).with_suffix("")) for path in results],
    )
    rows = rows[: pictures.SHOWN]
    titles = ["input", "W+", "refined"][: len(rows[0])]
    write_image(sheet(rows, titles), pictures.sheet_path(folder, results))
    left_out = f", {skipped} skipped" if skipped else ""
    print(f"{pictures.plural(len(paths), 'picture')} inverted to {folder}{left_out}.")
