"""The dataset of blood cells: photographs through a microscope, of eight classes.

Acevedo, Merino, Alférez, Molina, Boldú, Rodellar, "A dataset of microscopic peripheral
blood cell images for development of automatic recognition systems", Data in Brief 30,
2020, doi 10.17632/snkd93bnjr.1, CC BY 4.0. Download and unpack it yourself: `Cells` is
a TFDS builder that reads its folder, which holds one folder for each class. Nothing
trained on it is for diagnosis.
"""

import dataclasses
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from styleprompter_jax.core.buckets import in_bucket
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.data.tfds import (
    data_folder,
    tfds,
    whole_metadata,
    write_dataset,
)
from styleprompter_jax.images.files import read_image, resize
from styleprompter_jax.images.find import find_images

CLASSES = (
    "basophil",
    "eosinophil",
    "erythroblast",
    "ig",  # immature granulocytes
    "lymphocyte",
    "monocyte",
    "neutrophil",
    "platelet",
)
CROP = 240  # pixels in the middle of a photograph, where the cell is
SPLITS = ("test", "validation", "train")  # in the order in which they get photographs


@dataclasses.dataclass(eq=False)
class CellsConfig(tfds.core.BuilderConfig):
    """A resolution, and the number of photographs of each class in each split."""

    size: int = 64
    train: int = 1_000
    validation: int = 100
    test: int = 100


class Cells(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of the blood cells; configs "64" (default) and "128"."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
    BUILDER_CONFIGS = [  # noqa: RUF012
        CellsConfig(name="64", description="64 px", size=64),
        CellsConfig(name="128", description="128 px", size=128),
    ]
    url_infos: dict = {}  # noqa: RUF012  (no downloads, so no checksums)
    source: str | os.PathLike = ""  # the downloaded folder; see `prepare`

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        return tfds.core.DatasetInfo(
            builder=self,
            description="Photographs of single blood cells, of eight classes.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(size, size, 3), encoding_format="png"
                    ),
                    "cell": tfds.features.ClassLabel(names=list(CLASSES)),
                    "file": np.str_,
                }
            ),
            homepage="https://doi.org/10.17632/snkd93bnjr.1",
            license="CC BY 4.0",
        )

    def _split_generators(self, dl_manager: Any) -> dict:
        del dl_manager
        chosen = _chosen(self.builder_config, self.source)
        return {split: self._generate_examples(chosen[split]) for split in SPLITS}

    def _generate_examples(
        self, photographs: list[tuple[str, Path]]
    ) -> Iterator[tuple[str, dict]]:
        for name, path in photographs:
            file = f"{name}/{path.name}"
            image = io.BytesIO()
            pixels = resize(_middle(read_image(path)), self.builder_config.size)
            Image.fromarray(pixels).save(image, "PNG")
            image.seek(0)
            yield file, {"image": image, "cell": name, "file": file}


def prepare(
    config: str | CellsConfig = "64",
    folder: str | os.PathLike | None = None,
    data_dir: str | None = None,
) -> Cells:
    """Reads the downloaded dataset into TFDS's folder, unless it was read before.

    Args:
        config: "64" or "128", or your own config.
        folder: the downloaded folder, with a folder for each of `CLASSES`; not needed
            later. Without ``data_dir``, it can also be a folder of datasets that has
            this one.
        data_dir: the folder of datasets; by default TFDS's own folder
            (TFDS_DATA_DIR, or ~/tensorflow_datasets).

    Returns:
        The builder; its `.as_data_source("train")` returns a split.

    Raises:
        StylePrompterError: for an unknown config, or if the folder is not the dataset.
    """
    if isinstance(config, str):
        known = {c.name: c for c in Cells.BUILDER_CONFIGS}
        if config not in known:
            raise StylePrompterError(
                f"There is no cells config {config!r}: choose one of "
                f"{', '.join(known)}."
            )
        config = known[config]

    def make(place: str) -> Cells:
        with whole_metadata(os.path.join(place, "cells")):
            return Cells(config=config, data_dir=place, file_format="array_record")

    builder = make(data_folder(data_dir))
    if not builder.is_prepared():
        if folder and data_dir is None and not in_bucket(folder):
            # For all other datasets, --data-dir names the folder of datasets.
            there = make(os.fspath(folder))
            if there.is_prepared():
                return there
        builder.source = folder or ""
        _chosen(config, builder.source)  # names a wrong folder before TFDS starts
        write_dataset(builder)
    return builder


def _chosen(
    config: CellsConfig, source: str | os.PathLike
) -> dict[str, list[tuple[str, Path]]]:
    """Returns each split's photographs, (class, path), by hashes of their names."""
    if not source:
        raise StylePrompterError(
            "The dataset of blood cells is downloaded by hand "
            "(https://doi.org/10.17632/snkd93bnjr.1): unpack it, and set "
            "config.data.path (--data-dir) to the folder that holds "
            f"{', '.join(CLASSES)}."
        )
    folder = local_copy(source)
    if missing := [name for name in CLASSES if not (folder / name).is_dir()]:
        raise StylePrompterError(
            f"{folder} is not the dataset of blood cells, because it has no folder "
            f"{', '.join(missing)}: set config.data.path (--data-dir) to the folder "
            "that holds those of the eight classes."
        )
    chosen: dict[str, list[tuple[str, Path]]] = {split: [] for split in SPLITS}
    for name in CLASSES:
        paths = sorted(find_images(folder / name).images, key=_hash)
        needed = sum(getattr(config, split) for split in SPLITS)
        if len(paths) < needed:
            raise StylePrompterError(
                f"{folder / name} has {len(paths)} photographs, and {needed} are "
                "needed: download the dataset again."
            )
        for split in SPLITS:
            count = getattr(config, split)
            chosen[split] += [(name, path) for path in paths[:count]]
            paths = paths[count:]
    return chosen


def _hash(path: Path) -> str:
    """Returns a sort key that does not depend on the numbers in the names."""
    return hashlib.sha256(path.name.encode()).hexdigest()


def _middle(image: np.ndarray) -> np.ndarray:
    """Returns the middle square (h, w, 3), most of which the cell fills."""
    height, width = image.shape[:2]
    side = min(CROP, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]
