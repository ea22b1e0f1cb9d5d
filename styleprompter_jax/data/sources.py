"""Where training pictures come from: sequences of {"image": uint8 (h, w, 3), ...}.

A source has a length and is indexed; the order is fixed. Shuffling, resizing and
batching are the loader's.
"""

import io
from pathlib import Path

from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.images.files import decode_image, list_images, read_image


def make_source(data_config, split: str):
    """The source that a config asks for.

    Args:
        data_config: `config.data`, with the keys
            name: "avatars" (drawn on first use, at the resolution nearest to
                `image_size`), "folder", or any TFDS name with pictures in a feature
                "image" ("avatars/128", "oxford_flowers102").
            path: for "folder" the folder; else where TFDS keeps its data sets,
                None for TFDS's own place.
            image_size: side of the pictures the loader will make.
        split: for "folder" a folder below `path` ("" is `path` itself); else TFDS's
            split syntax ("train", "train[:90%]").

    Raises:
        StylePrompterError: if there are no such data.
    """
    path = data_config.get("path") or None
    if data_config.name == "folder":
        if path is None:
            raise StylePrompterError(
                "config.data.path is empty: name the folder of pictures there."
            )
        return FolderSource(Path(path).expanduser() / split)
    name = data_config.name
    if name == "avatars":
        name = "avatars/64" if data_config.image_size <= 64 else "avatars/128"
    return TfdsSource(name, split, path)


class FolderSource:
    """The pictures below a folder, sorted by path."""

    def __init__(self, folder: Path):
        self.paths = list_images(folder)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        return {"image": read_image(self.paths[index])}


class TfdsSource:
    """One split of a TFDS data set in array_record files, read without TensorFlow.

    Its `features` tell the names of the labels (`features["hair"].names`).
    """

    def __init__(self, name: str, split: str, data_dir: str | None = None):
        # Slow to import, and not needed by who trains on a folder.
        import tensorflow_datasets as tfds

        from styleprompter_jax.data import avatars

        if name.startswith("avatars/"):
            builder = avatars.prepare(name.removeprefix("avatars/"), data_dir)
        else:
            builder = _prepare(tfds, name, data_dir)
        self.features = builder.info.features
        if "image" not in self.features:
            raise StylePrompterError(f'{name} has no feature "image" to train on.')
        try:
            # Decoded by our own reader, which knows more kinds of pictures.
            decoders = {"image": tfds.decode.SkipDecoding()}
            self._records = builder.as_data_source(split, decoders=decoders)
        except ValueError as error:
            splits = ", ".join(builder.info.splits)
            raise StylePrompterError(
                f"{name} has no split {split!r}: it has {splits}."
            ) from error
        self._name = f"{name} ({split})"

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict:
        record = self._records[index]
        name = f"Image {index} of {self._name}"
        return record | {"image": decode_image(io.BytesIO(record["image"]), name)}


def _prepare(tfds, name: str, data_dir: str | None):
    """Any other TFDS data set, downloaded if it is not there."""
    try:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
        builder.download_and_prepare(file_format="array_record")
        builder.as_data_source()
    except tfds.core.DatasetNotFoundError as error:
        raise StylePrompterError(
            f'There is no TFDS data set {name!r}: set config.data.name to "avatars", '
            '"folder" or a name from tensorflow.org/datasets.'
        ) from error
    except (ImportError, NotImplementedError, ValueError) as error:
        # Writing pixels, and records of other formats, are TensorFlow's.
        raise StylePrompterError(
            f"{name} is not there as array_record files and cannot be prepared here: "
            "call download_and_prepare(file_format='array_record') where TensorFlow "
            "is installed, and copy the result into the data folder."
        ) from error
    return builder
