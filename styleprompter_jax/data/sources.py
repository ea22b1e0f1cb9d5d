"""Sources of training images: sequences of {"image": uint8 (h, w, 3), ...}.

A source has a length, an index and a fixed order. The loader shuffles, resizes and
makes batches.

`fingerprint(part)` identifies the elements of a part, a range, without reading all of
them. Two fingerprints show whether the data changed between two times or places. It is
{"count": number of elements, "names": a hash of their names in order, "contents": a
hash of their sizes and of the first bytes of a few}. It does not include the location
of the source.
"""

import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from absl import logging

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.core.files import open_file
from styleprompter_jax.core.paths import local_path
from styleprompter_jax.data.inputs import Inputs, beside
from styleprompter_jax.data.quiet_grain import grain
from styleprompter_jax.data.selected import LargeEnough, Part, Skipping
from styleprompter_jax.images.decode import decode_image
from styleprompter_jax.images.files import read_image
from styleprompter_jax.images.find import find_images, shown

ARRAY_RECORD = ".array_record"
OWN = ("folder", "array_record")  # the user's own images
# Number of files that a fingerprint reads, spread over all files; and bytes of each.
LOOKED_INTO, BEGINNING = 16, 4096


class NoDatasetError(StylePrompterError):
    """TFDS knows no dataset of the name."""


class Source(Protocol):
    """A sequence of {"image": uint8 (h, w, 3), ...}."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> dict: ...


def make_source(
    data_config: Any, split: str, least: int = 1, inputs: Inputs | None = None
) -> Any:
    """Makes the source that a config describes.

    Args:
        data_config: `config.data`, with the keys
            name: "avatars" (drawn on first use, at 64, 128 or 256 px: the first of
                these that is at least `image_size`), "folder",
                "array_record" (files of `styleprompter pack`), "cells" (at 64 or 128
                px), or any TFDS name with images in a feature "image" ("avatars/128",
                "oxford_flowers102").
            path: the folder for "folder" and "array_record", which may be in a
                bucket; for "cells", the download; otherwise the folder in which TFDS
                keeps its datasets, or None for TFDS's own folder.
            image_size: side of the images that the loader will make.
            on_bad: optional; "skip" replaces an unreadable image by another image,
                "error" stops there.
        split: for "folder", a folder below `path` ("" is `path` itself); for
            "array_record", a file there, without its extension; otherwise a split of
            the dataset. A part has TFDS's notation: "train[:90%]", "[256:]".
        least: for the user's own images ("folder" and "array_record"), the smallest
            allowed side in pixels; smaller images count as unreadable.
        inputs: makes the encoder's inputs. If they are files in another folder, the
            elements have an "input", uint8 (h, w, c).

    Raises:
        StylePrompterError: if the data do not exist.
    """
    source: Any = _make_source(data_config, split, inputs)
    if data_config.name in OWN and least > 1:
        source = LargeEnough(source, least)
    return Skipping(source) if data_config.get("on_bad") == "skip" else source


def _make_source(data_config: Any, split: str, inputs: Inputs | None) -> Any:
    path, name = data_config.get("path") or None, data_config.name
    if not name:
        raise StylePrompterError(
            'config.data.name is empty: set it to "folder", "array_record", "avatars", '
            '"cells" or the name of a TFDS dataset.'
        )
    if inputs and inputs.folder and name != "folder":
        raise StylePrompterError(
            f"config.data.input is {data_config.input!r}, files beside the pictures of "
            f'a folder, and config.data.name is {name!r}: set it to "folder".'
        )
    if name in OWN:
        if path is None:
            raise StylePrompterError(
                "config.data.path is empty: set it to the folder of images."
            )
        split, _, part = split.partition("[")
        if name == "array_record" and not split:
            raise StylePrompterError(
                "config.data.train_split or config.data.eval_split names no file in "
                f"{path}: write it without its extension, as in train or train[10%:]."
            )
        place = local_copy(path, split + ARRAY_RECORD * (name == "array_record"))
        if name == "folder" and not place.is_dir():
            raise StylePrompterError(
                f"config.data.path is {path}, but there is no folder {shown(place)}: "
                "config.data.train_split and eval_split name folders below it, and "
                "'' is the folder itself."
            )
        if name == "folder":
            source: FolderSource | ArrayRecordSource = FolderSource(
                place, inputs, split
            )
        else:
            source = ArrayRecordSource(place)
        return Part(source, part) if part else source
    if name == "avatars":
        size = next((s for s in (64, 128) if data_config.image_size <= s), 256)
        name = f"avatars/{size}"
    if name == "cells":
        size = 64 if data_config.image_size <= 64 else 128
        return TfdsSource(f"cells/{size}", split, path)
    return TfdsSource(name, split, path and str(local_path(path)))


class FolderSource:
    """The images below a folder, sorted by path, with inputs of another folder."""

    def __init__(self, folder: Path, inputs: Inputs | None = None, split: str = ""):
        self._folder, found = folder, find_images(folder)
        if found.warning:
            logging.warning("%s: %s", shown(folder), found.warning)
        self.paths, self._inputs = found.images, inputs
        self._others: list[Path] = []
        if inputs and inputs.folder:
            self._others = beside(self.paths, folder, inputs.folder / split)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        element = {"image": read_image(self.paths[index])}
        if self._inputs and self._others:
            element["input"] = self._inputs.read(self._others[index])
        return element

    def place(self, index: int) -> str:
        """Returns the name of an image for messages."""
        return shown(self.paths[index])

    def fingerprint(self, part: range | None = None) -> dict:
        """Returns the fingerprint of a part, by default of all images."""
        whole = slice(part.start, part.stop) if part else slice(None)
        paths, others = self.paths[whole], self._others[whole]
        root = self._folder.as_posix()
        names = [path.as_posix().removeprefix(root) for path in paths]
        return _fingerprint(len(paths), names, [*paths, *others])


class ArrayRecordSource:
    """The images of a file that `styleprompter pack` wrote."""

    def __init__(self, file: Path):
        self._file = file
        if not file.is_file():
            raise StylePrompterError(
                f"There is no file {file}: make it with `styleprompter pack`."
            )
        try:
            self._records = grain.sources.ArrayRecordDataSource([str(file)])
            self._count = len(self._records)
        except Exception as error:  # array_record raises plain RuntimeErrors
            why = f" ({error})" if str(error) else ""
            raise StylePrompterError(
                f"{file} cannot be read as array_record{why}: pack it again."
            ) from error

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict:
        record = _read_record(self._records, index, str(self._file))
        return {"image": decode_image(io.BytesIO(record), self.place(index))}

    def place(self, index: int) -> str:
        """Returns the name of an image for messages."""
        return f"Image {index} of {self._file}"

    def fingerprint(self, part: range | None = None) -> dict:
        """Returns the fingerprint of a part, by default of all images."""
        part = part or range(len(self))
        names = [self._file.name, part.start, part.stop]
        return _fingerprint(len(part), names, [self._file])


class TfdsSource:
    """A split of a TFDS dataset in array_record files, read without TensorFlow.

    Its `features` contain the names of the labels (`features["hair"].names`).
    """

    def __init__(self, name: str, split: str, data_dir: str | None = None):
        # Slow to import, and not needed for training on a folder.
        from styleprompter_jax.data import avatars, cells
        from styleprompter_jax.data.tfds import tfds

        if name in ("avatars", "cells"):
            name = f"{name}/64"
        if name.startswith("avatars/"):
            builder: Any = avatars.prepare(name.removeprefix("avatars/"), data_dir)
        elif name.startswith("cells/"):  # data_dir is where the download lies
            builder = cells.prepare(name.removeprefix("cells/"), data_dir)
        else:
            builder = _prepare(tfds, name, data_dir)
        self.features = builder.info.features
        if "image" not in self.features:
            raise StylePrompterError(
                f'{name} has no feature "image": choose a dataset of images.'
            )
        try:
            # Our own reader decodes the images, because it supports more kinds.
            decoders = {"image": tfds.decode.SkipDecoding()}
            self._records = builder.as_data_source(split, decoders=decoders)
        except ValueError as error:
            splits = ", ".join(builder.info.splits)
            raise StylePrompterError(
                f"{name} has no split {split!r}, or no images in it: choose one of "
                f"{splits}, or a part such as train[:90%]."
            ) from error
        # For a slice like [5:2], the number is negative, and len() fails.
        self._count = max(0, self._records.__len__())
        self.name, self._name = name, f"{name} ({split})"
        # The full name includes the version, which changes with the images.
        self._identity = [builder.info.full_name, split]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict:
        record = _read_record(self._records, index, self._name)
        encoded = io.BytesIO(record["image"])
        return record | {"image": decode_image(encoded, self.place(index))}

    def place(self, index: int) -> str:
        """Returns the name of an image for messages."""
        return f"Image {index} of {self._name}"

    def fingerprint(self) -> dict:
        """Returns the fingerprint of the whole split."""
        return _fingerprint(len(self), self._identity, [])


Kept = FolderSource | ArrayRecordSource | TfdsSource


def _fingerprint(count: int, names: list, files: Sequence[Path]) -> dict:
    def digest(values: list) -> str:
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()

    spread = files[:: max(1, len(files) // LOOKED_INTO)]
    contents = [[_size(file) for file in files], [_beginning(file) for file in spread]]
    return {"count": count, "names": digest(names), "contents": digest(contents)}


def _size(file: Path) -> int | None:
    try:
        return os.stat(file).st_size
    except OSError:
        return None  # a later read reports the fault


def _beginning(file: Path) -> str | None:
    try:
        with open_file(file) as opened:
            return opened.read(BEGINNING).hex()
    except StylePrompterError:
        return None


def _read_record(records: Sequence, index: int, name: str) -> Any:
    why: Any = "it is empty"
    try:
        record = records[index]
        # array_record reads a file that was cut off as records without content.
        if isinstance(record, bytes) or record["image"]:
            return record
    except Exception as error:  # array_record raises plain RuntimeErrors
        why = error
    raise StylePrompterError(
        f"Image {index} of {name} cannot be read ({why}): the file is damaged; make or "
        "copy it again."
    )


def _prepare(tfds: Any, name: str, data_dir: str | None) -> Any:
    """Returns the builder of another TFDS dataset, and downloads the data if needed."""
    from styleprompter_jax.data.tfds import (
        data_folder,
        not_writable,
        whole_metadata,
        write_dataset,
    )

    data_dir = data_folder(data_dir)
    try:
        with whole_metadata(os.path.join(data_dir, name)):
            builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
        write_dataset(builder)
        builder.as_data_source()
    except tfds.core.DatasetNotFoundError as error:
        raise NoDatasetError(
            f'There is no TFDS dataset {name!r}: choose "avatars", "cells" or a name '
            "from tensorflow.org/datasets."
        ) from error
    except (ImportError, NotImplementedError, ValueError) as error:
        # Only TensorFlow writes pixels, and reads records of other formats.
        raise StylePrompterError(
            f"{name} does not exist as array_record files and cannot be prepared here: "
            "call download_and_prepare(file_format='array_record') on a machine with "
            "TensorFlow, and copy the result into the data folder."
        ) from error
    except OSError as error:
        raise not_writable(os.path.join(data_dir, name), error) from error
    return builder
