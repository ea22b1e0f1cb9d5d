"""The blood cells: read from the folder that users download."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data import avatars, cells, sources
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.data.tfds import tfds
from styleprompter_jax.images.files import write_image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five photographs of each class, light in the middle, of the published size."""
    root = tmp_path_factory.mktemp("PBC_dataset_normal_DIB")
    for k, name in enumerate(cells.CLASSES):
        for number in range(5):
            image = np.full((363, 360, 3), 200, np.uint8)
            image[61:301, 60:300] = (10 * k, 20 * number, 50)
            write_image(image, root / name / f"{name[:2].upper()}_{number}.png")
    return root


def few(size=32, **counts):
    counts = dict(train=2, validation=1, test=1) | counts
    return cells.CellsConfig(name="few", size=size, **counts)


def test_each_photograph_lies_in_one_split(folder, tmp_path, monkeypatch):
    builder = cells.prepare(few(), folder, tmp_path)
    seen = {}
    for split, count in (("train", 16), ("validation", 8), ("test", 8)):
        records = builder.as_data_source(split)
        assert len(records) == count
        for record in records:
            file, label = record["file"].decode(), cells.CLASSES[record["cell"]]
            assert seen.setdefault(file, split) == split
            assert file.startswith(f"{label}/")
            # The middle, which is all of one colour.
            number = int(file.removesuffix(".png").rpartition("_")[2])
            colour = (10 * record["cell"], 20 * number, 50)
            assert record["image"].shape == (32, 32, 3)
            assert np.abs(record["image"].astype(int) - colour).max() <= 1
    assert len(seen) == 32
    # Once read, the download is not needed.
    assert cells.prepare(few(), None, tmp_path).is_prepared()
    # Commands name this folder or the download by the same option.
    monkeypatch.setattr(cells, "data_folder", lambda _: str(tmp_path / "empty"))
    assert cells.prepare(few(), tmp_path).is_prepared()
    assert not (tmp_path / "empty").exists()


def test_what_is_not_the_dataset_is_one_sentence(folder, tmp_path, monkeypatch):
    with pytest.raises(StylePrompterError, match="5 photographs, and 12 are needed"):
        cells.prepare(few(train=10), folder, tmp_path)
    with pytest.raises(StylePrompterError, match="no folder basophil, eosinophil"):
        cells.prepare(few(), tmp_path, tmp_path)
    with pytest.raises(StylePrompterError, match="choose one of 64, 128"):
        cells.prepare("256", folder, tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    data = ConfigDict(dict(name="cells", path="", image_size=64))
    monkeypatch.setattr(cells, "data_folder", lambda _: str(tmp_path))
    with pytest.raises(StylePrompterError, match=r"by hand .*set config\.data\.path"):
        make_source(data, "train")
    assert not list(tmp_path.iterdir())


@pytest.fixture(params=["cells", "avatars", "another"])
def prepare(request, folder, tmp_path):
    """Prepares a dataset in each of the ways that there are."""
    if request.param == "cells":
        return lambda: cells.prepare(few(), folder, tmp_path)
    if request.param == "avatars":
        return lambda: avatars.prepare("tiny", tmp_path)
    return lambda: sources._prepare(tfds, "avatars/tiny", tmp_path)


@pytest.mark.parametrize("left", ["", '{"name": '])
def test_damaged_metadata_are_named(prepare, left, tmp_path):
    prepare()
    (file,) = tmp_path.rglob("dataset_info.json")
    file.write_text(left)
    with pytest.raises(StylePrompterError, match="damaged metadata: delete this fol"):
        prepare()


def test_two_may_prepare_a_dataset_at_once(prepare, request, monkeypatch):
    name = request.node.callspec.params["prepare"]
    kind = cells.Cells if name == "cells" else avatars.Avatars
    split = kind._split_generators

    def overtaken(*args):
        monkeypatch.undo()
        prepare()
        return split(*args)

    monkeypatch.setattr(kind, "_split_generators", overtaken)
    assert prepare().as_data_source("train")[0]["image"].shape == (32, 32, 3)
