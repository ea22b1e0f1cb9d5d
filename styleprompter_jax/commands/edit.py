"""`styleprompter edit`: images moved along directions, one picture a strength."""

from pathlib import Path

from tqdm import tqdm

from styleprompter_jax.commands import pictures
from styleprompter_jax.convert.directions import find_direction
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.images.files import sheet, write_image, write_images
from styleprompter_jax.latents import load_named
from styleprompter_jax.pipeline import load


def run(args):
    folder = Path(args.output)
    if args.input:
        paths, results, skipped = pictures.find_pictures(
            args.input, folder, args.skip_bad
        )
    else:
        paths, skipped = None, 0
        stored, names = load_named(args.latents)
        results = [folder / f"{_checked(name, args.latents)}.png" for name in names]
        pictures.check_output(folder)
    model = load(args.model)
    edits = _edits(args, model)
    batch_size = min(args.batch_size, len(results))
    rows, written = [], []
    with tqdm(total=len(results), unit="image", disable=None) as bar:
        for index, part in enumerate(pictures.batches(len(results), batch_size)):
            count = part.stop - part.start
            options = pictures.decoding(args, index)
            columns = []
            if paths:
                images = pictures.read_padded(paths[part], model.image_size, batch_size)
                latents = model.encode(images)
                columns = [images]
            else:
                latents = pictures.pad(stored[part], batch_size)
            if len(rows) < pictures.SHOWN:
                columns.append(model.decode(latents, **options))
            # All edits before any is written: a bad shape leaves nothing behind.
            edited = {
                label: model.decode(
                    latents.edit(direction, strength, args.layers), **options
                )
                for label, direction, strength in edits
            }
            columns = pictures.take([*columns, *edited.values()], count)
            for (label, _, _), images in zip(
                edits, columns[-len(edits) :], strict=True
            ):
                names = [
                    path.with_name(f"{path.stem}_{label}.png") for path in results[part]
                ]
                write_images(images, names)
                written += names
            if len(rows) < pictures.SHOWN:
                rows += zip(*columns, strict=True)
            bar.update(count)
    titles = ["input", "inversion"] if paths else ["inversion"]
    titles += [label.replace("_", " ") for label, _, _ in edits]
    table = sheet(rows[: pictures.SHOWN], titles)
    write_image(table, pictures.sheet_path(folder, written))
    left_out = f", {skipped} skipped" if skipped else ""
    print(
        f"{pictures.plural(len(written), 'edit')} of "
        f"{pictures.plural(len(results), 'picture')} in {folder}{left_out}."
    )


def _edits(args, model) -> list:
    """(label, direction, strength) for each picture to make of an image."""
    codes = model.config.generator
    edits, labels = [], set()
    for name_or_path in args.direction:
        name, direction = find_direction(
            name_or_path, model.directions, codes.num_codes, codes.w_dim
        )
        low, high = direction.range
        strengths = args.strength or sorted({low, 0.0, high})
        new = {f"{name}_{strength:+g}": strength for strength in strengths}
        if labels & new.keys():
            raise StylePrompterError(
                f"Two directions are called {name!r}: rename one of the files."
            )
        labels |= new.keys()
        edits += [(label, direction, strength) for label, strength in new.items()]
    return edits


def _checked(name: str, file: str) -> str:
    """A name from a file of latents, which must not lead out of the output folder."""
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise StylePrompterError(
            f"{file} names an image {name!r}, which is no name below a folder."
        )
    return name
