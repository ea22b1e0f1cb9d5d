"""Sources and the loader: nothing lost, nothing twice, resumed bit for bit."""

import json
import multiprocessing
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from ml_collections import ConfigDict

from styleprompter_jax.configs import tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data import avatars
from styleprompter_jax.data.loader import eval_batches, train_iterator
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.images.files import resize_to_cover, write_image
from styleprompter_jax.training import loop


class Numbered:
    """Images of one value each, dark on the left, so that flips can be seen."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        image = np.full((8, 8, 3), 2 * index, np.uint8)
        image[:, :4] += 1
        boxes = np.zeros((index, 4))  # another number for each image
        others = {"boxes": boxes, "objects": {"boxes": [*boxes]}}
        return {"image": image, "number": index, **others}


def numbers(batch):
    """Which images a batch holds."""
    values = np.rint((batch["image"] + 1) * 127.5).astype(int)
    return (values[:, 0, 0, 0] // 2).tolist()


def test_every_epoch_holds_every_image_once_in_its_own_order():
    batches = train_iterator(
        Numbered(10), batch_size=4, image_size=8, flip=False, seed=0
    )
    seen = [n for batch in islice(batches, 10) for n in numbers(batch)]
    epochs = [seen[i : i + 10] for i in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_hosts_share_each_epoch():
    hosts = [
        train_iterator(
            Numbered(11),
            batch_size=2,
            image_size=8,
            flip=False,
            seed=3,
            shard=(index, 3),
        )
        for index in range(3)
    ]
    seen = Counter(n for host in hosts for b in islice(host, 11) for n in numbers(b))
    assert seen == dict.fromkeys(range(11), 6)  # 3 hosts x 22 images = 6 epochs


def test_an_iterator_resumes_bit_for_bit():
    def start():
        return train_iterator(
            Numbered(50), batch_size=4, image_size=6, flip=True, seed=5
        )

    straight = start()
    for _ in range(17):
        next(straight)
    state = json.dumps(straight.get_state())
    expected = [next(straight)["image"] for _ in range(20)]
    resumed = start()
    resumed.set_state(json.loads(state))
    for image in expected:
        np.testing.assert_array_equal(next(resumed)["image"], image)
    assert expected[0].dtype == np.float32 and expected[0].shape == (4, 6, 6, 3)


def test_half_of_the_images_are_flipped_anew_in_each_epoch():
    batches = train_iterator(
        Numbered(100), batch_size=100, image_size=8, flip=True, seed=0
    )
    flips = []
    for batch in islice(batches, 2):
        left, right = batch["image"][:, 0, 0, 0], batch["image"][:, 0, -1, 0]
        order = np.argsort(np.minimum(left, right))
        flips.append((left < right)[order])
    assert all(30 < flip.sum() < 70 for flip in flips)
    assert (flips[0] != flips[1]).any()


def test_workers_change_nothing():
    """Neither the batches nor the meaning of a position."""

    def start(workers):
        return train_iterator(
            Numbered(50),
            batch_size=4,
            image_size=6,
            flip=True,
            crop="random",
            seed=5,
            workers=workers,
        )

    expected = [batch["image"] for batch in islice(start(0), 10)]
    with start(2) as batches:
        for image in expected[:4]:
            np.testing.assert_array_equal(next(batches)["image"], image)
        position = json.loads(json.dumps(batches.get_state()))
    with start(0) as batches:
        batches.set_state(position)
        for image in expected[4:]:
            np.testing.assert_array_equal(next(batches)["image"], image)


def test_random_crops_are_squares_of_the_picture_itself():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (8, 20, 3), np.uint8)
    batches = train_iterator(
        [{"image": picture}], batch_size=1, image_size=8, flip=0, crop="random", seed=0
    )
    places = set()
    for batch in islice(batches, 60):
        image = np.rint((batch["image"][0] + 1) * 127.5)
        (x,) = (x for x in range(13) if (image == picture[:, x : x + 8]).all())
        places.add(x)
    assert len(places) > 10 and {0, 12} & places


def test_a_larger_picture_covers_the_crop():
    picture = np.zeros((30, 90, 3), np.uint8)
    assert resize_to_cover(picture, 10).shape == (10, 30, 3)
    assert resize_to_cover(picture[:, :31], 10).shape == (10, 10, 3)


@pytest.fixture
def half_bad(tmp_path):
    """Six images; every second one cannot be read."""
    for i in range(6):
        file = tmp_path / f"{i}.png"
        write_image(np.full((8, 8, 3), 2 * i, np.uint8), file)
        if i % 2:
            file.write_bytes(file.read_bytes()[:40])
    return ConfigDict(dict(name="folder", path=str(tmp_path), image_size=8))


def six_of(config, workers=0):
    return train_iterator(
        make_source(config, ""),
        batch_size=6,
        image_size=8,
        flip=False,
        seed=0,
        workers=workers,
    )


def test_bad_pictures_are_passed_over_and_counted(half_bad, caplog):
    half_bad.on_bad = "skip"
    batches = six_of(half_bad)
    # A good image replaces each bad one: 0, 2, 4 come twice.
    assert sorted(numbers(next(batches))) == [0, 0, 2, 2, 4, 4]
    assert batches.bad_images() == {"bad_images": 3}
    assert batches.bad_images() == {}
    next(batches)
    assert caplog.text.count("1.png cannot be read") == 1


def test_many_small_pictures_side_by_side(tmp_path, caplog):
    """No limit ends the run, and no picture replaces most of them."""
    for i in range(200):
        side = 4 if 20 <= i < 140 else 8
        write_image(np.full((side, side, 3), i, np.uint8), tmp_path / f"{i:03d}.png")
    config = dict(name="folder", path=str(tmp_path), image_size=8, on_bad="skip")
    source = make_source(ConfigDict(config), "", least=8)
    drawn = [int(source[i]["image"][0, 0, 0]) for i in range(200)]
    good = {*range(20), *range(140, 200)}
    assert set(drawn) == good
    assert max(map(drawn.count, good)) <= 5
    config["on_bad"] = "error"
    with pytest.raises(StylePrompterError, match="4 x 4 pixels"):
        make_source(ConfigDict(config), "", least=8)[30]


def test_small_pictures_of_the_validation_are_refused(tmp_path):
    """Before the first step, as those of the training."""
    for split, side in (("train", 32), ("validation", 16)):
        for i in range(8):
            picture = np.zeros((side, side, 3), np.uint8)
            write_image(picture, tmp_path / "photos" / split / f"{i}.png")
    config = tiny.get_config("generator")
    config.data.update(name="folder", path=str(tmp_path / "photos"))
    with pytest.raises(StylePrompterError, match="16 x 16 pixels"):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_data_set_of_bad_pictures_ends(half_bad, tmp_path):
    half_bad.on_bad = "skip"
    for i in (0, 2, 4):
        (tmp_path / f"{i}.png").write_bytes(b"")
    source = make_source(half_bad, "")
    with pytest.raises(StylePrompterError, match=r"6 images in a row cannot.*png"):
        source[0]


def test_an_error_or_the_death_of_a_worker_arrives(half_bad):
    with (
        six_of(half_bad, workers=1) as batches,
        pytest.raises(StylePrompterError, match=r"\d\.png cannot"),
    ):
        next(batches)
    half_bad.on_bad = "skip"
    with six_of(half_bad, workers=1) as batches:
        next(batches)
        assert batches.bad_images() == {"bad_images": 3}
        for worker in multiprocessing.active_children():
            worker.kill()
        with pytest.raises(StylePrompterError, match="workers"):
            for _ in range(10_000):
                next(batches)


def test_evaluation_yields_every_image_once_in_order_with_its_labels():
    batches = list(eval_batches(Numbered(10), batch_size=4, image_size=8))
    assert [len(batch["image"]) for batch in batches] == [4, 4, 2]
    assert [n for batch in batches for n in numbers(batch)] == list(range(10))
    assert [n for batch in batches for n in batch["number"]] == list(range(10))


def test_fewer_images_than_a_batch_is_an_error(tmp_path):
    for i in range(3):
        write_image(np.full((9, 7, 3), i, np.uint8), tmp_path / "deep" / f"{i}.png")
    config = ConfigDict({"name": "folder", "path": str(tmp_path), "image_size": 4})
    source = make_source(config, "")
    batch = next(eval_batches(source, batch_size=8, image_size=4))
    assert batch["image"].shape == (3, 4, 4, 3)
    with pytest.raises(StylePrompterError, match=r"3 images.*batch of 4.*batch_size"):
        train_iterator(source, batch_size=2, image_size=4, flip=0, seed=0, shard=(0, 2))


def test_a_bad_picture_stops_training_and_is_named(tmp_path):
    write_image(np.zeros((8, 8, 3), np.uint8), tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:40])
    config = ConfigDict({"name": "folder", "path": str(tmp_path), "image_size": 8})
    batches = train_iterator(
        make_source(config, ""), batch_size=2, image_size=8, flip=False, seed=0
    )
    with pytest.raises(StylePrompterError, match=r"bad\.png"):
        next(batches)


def test_parts_of_a_folder(tmp_path):
    for i in range(5):
        write_image(np.full((8, 8, 3), i, np.uint8), tmp_path / "a" / f"{i}.png")
    config = ConfigDict({"name": "folder", "path": str(tmp_path), "image_size": 8})

    def part(split):
        source = make_source(config, split)
        return [int(source[i]["image"][0, 0, 0]) for i in range(len(source))]

    assert part("a[:40%]") == [0, 1] and part("[2:]") == [2, 3, 4]
    assert part("a[-2:4]") == [3] and part("a[:]") == [0, 1, 2, 3, 4]
    with pytest.raises(StylePrompterError, match=r"\[5:\] of 5 images is empty"):
        part("a[5:]")
    for wrong in ("a[2]", "a[1:2:3]", "a[x:]", "a[1:"):
        with pytest.raises(StylePrompterError, match="not a part of a split"):
            part(wrong)


def test_sources_that_do_not_exist(tmp_path):
    config = ConfigDict({"name": "folder", "path": "", "image_size": 8})
    with pytest.raises(StylePrompterError, match=r"config\.data\.path"):
        make_source(config, "train")
    config.path = str(tmp_path)
    with pytest.raises(StylePrompterError, match="train"):
        make_source(config, "train")
    config.name = "no_such_data_set"
    with pytest.raises(StylePrompterError, match="no_such_data_set"):
        make_source(config, "train")


def test_avatars_through_their_tfds_name(tmp_path):
    config = ConfigDict({"name": "avatars/tiny", "path": str(tmp_path)})
    source = make_source(config, "train[:50%]")
    assert len(source) == 24
    assert source.features["hair"].names == list(avatars.HAIR)
    face = avatars.Face.from_seed(source[5]["seed"])
    np.testing.assert_array_equal(source[5]["image"], avatars.render(face, 32))
    with pytest.raises(StylePrompterError, match="train, validation, test"):
        make_source(config, "nonsense")


def test_pictures_smaller_than_the_generator(tmp_path):
    """They are learned by no generator: refused at once, or left out."""
    for k in range(9):
        side = 20 if k == 4 else 40
        write_image(np.full((side, 50, 3), k, np.uint8), tmp_path / f"{k}.png")

    def run(**data):
        config = tiny.get_config("generator")
        config.data.update(name="folder", path=str(tmp_path), **data)
        config.data.update(train_split="", eval_split="")
        return loop._make_data(config)[0]

    small = r"4\.png has 50 x 20 pixels, but the model needs 32"
    with pytest.raises(StylePrompterError, match=small):
        run()
    with run(on_bad="skip") as batches:
        next(batches)
        next(batches)
        assert batches.bad_images()["bad_images"] >= 1
    (tmp_path / "4.png").unlink()
    with run() as batches:
        assert next(batches)["image"].shape == (8, 32, 32, 3)
    (tmp_path / "3.png").unlink()
    with pytest.raises(StylePrompterError, match="7 images, fewer than one batch of 8"):
        run()
    for k in (0, 1, 2, 5, 6, 7):
        (tmp_path / f"{k}.png").unlink()
    with pytest.raises(StylePrompterError, match="needs 2 or more"):
        run()
