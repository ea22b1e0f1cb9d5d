"""The avatars dataset: labelled cartoon faces, drawn locally from seeds.

`Avatars` is a TFDS builder of the faces in `data.faces`. It downloads nothing. The
record files have the format array_record, so that reading and writing do not need
TensorFlow:

    source = prepare("64").as_data_source("train")   # or, once prepared,
    source = tfds.data_source("avatars/64", split="train")
"""

import dataclasses
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data.drawing import draw
from styleprompter_jax.data.faces import (  # noqa: F401 - re-exported for users
    BACKGROUND,
    CLOTHING,
    FIRST_PAIR,
    FIRST_SEED,
    HAIR,
    HAIR_COLOR,
    LABELS,
    SKIN_COLOR,
    Face,
    artist,
    as_seen,
    pairs,
    render,
)
from styleprompter_jax.data.tfds import (
    data_folder,
    tfds,
    whole_metadata,
    write_dataset,
)


@dataclasses.dataclass(eq=False)
class AvatarsConfig(tfds.core.BuilderConfig):
    """A resolution, and the number of faces in each split."""

    size: int = 64
    train: int = 10_000
    validation: int = 1_000
    test: int = 1_000


class Avatars(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of the avatars; configs "64" (default), "128", "256" and "tiny"."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
    BUILDER_CONFIGS = [  # noqa: RUF012
        AvatarsConfig(name="64", description="64 px", size=64),
        AvatarsConfig(name="128", description="128 px", size=128),
        AvatarsConfig(name="256", description="256 px", size=256),
        AvatarsConfig(
            name="tiny",
            description="A few faces at 32 px, for quick tests",
            size=32,
            train=48,
            validation=16,
            test=16,
        ),
    ]
    url_infos: dict = {}  # noqa: RUF012  (no downloads, so no checksums)

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        labels = {
            name: tfds.features.ClassLabel(names=list(values))
            for name, values in LABELS.items()
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Labelled cartoon faces, each a pure function of its seed.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(size, size, 3), encoding_format="png"
                    ),
                    "seed": np.int64,
                    "smile": np.bool_,
                    "glasses": np.bool_,
                    "beard": np.bool_,
                    **labels,
                }
            ),
            disable_shuffling=True,  # the faces are random already
            homepage="https://personas.draftbit.com/",
            license="Remix of Personas by Draftbit (CC BY 4.0), drawn by DiceBear",
        )

    def _split_generators(self, dl_manager: Any) -> dict:
        del dl_manager
        return {split: self._generate_examples(split) for split in FIRST_SEED}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        first, config = FIRST_SEED[split], self.builder_config
        faces = [Face.from_seed(first + k) for k in range(getattr(config, split))]
        pictures = zip(faces, draw(faces, config.size), strict=True)
        for seed, (face, png) in enumerate(pictures, first):
            fields = dataclasses.asdict(face)
            names = self.info.features.keys() & fields.keys()
            labels = {name: fields[name] for name in names}
            yield seed, {"image": io.BytesIO(png), "seed": seed, **labels}


def prepare(config: str | AvatarsConfig = "64", data_dir: str | None = None) -> Avatars:
    """Draws the dataset, unless it exists.

    TFDS writes into a temporary folder and renames it at the end. So an interrupted run
    does not leave an incomplete dataset.

    Args:
        config: "64", "128", "256" or "tiny", or your own config.
        data_dir: the folder of datasets; by default TFDS's own folder
            (TFDS_DATA_DIR, or ~/tensorflow_datasets).

    Returns:
        The builder; its `.as_data_source("train")` returns a split.

    Raises:
        StylePrompterError: for an unknown config, or a damaged dataset.
    """
    known = [c.name for c in Avatars.BUILDER_CONFIGS]
    if isinstance(config, str) and config not in known:
        raise StylePrompterError(
            f"There is no avatars config {config!r}: choose one of {', '.join(known)}."
        )
    data_dir = data_folder(data_dir)
    with whole_metadata(os.path.join(data_dir, "avatars")):
        builder = Avatars(config=config, data_dir=data_dir, file_format="array_record")
    if not Path(builder.data_path).exists():
        artist()  # names missing packages before TFDS starts
        write_dataset(builder)
    missing = [
        path
        for split in builder.info.splits.values()
        for path in split.filepaths
        if not Path(path).is_file()
    ]
    if missing or not builder.info.splits:
        raise StylePrompterError(
            f"{builder.data_path} is an incomplete dataset: delete this folder, and "
            "run again to draw it."
        )
    return builder
