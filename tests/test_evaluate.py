"""`styleprompter evaluate` against scikit-image and SciPy, and its protocol."""

import csv
import json
import shutil
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import linalg
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from styleprompter_jax.app.compared import Compared
from styleprompter_jax.app.judges import directions_of
from styleprompter_jax.cli import main
from styleprompter_jax.cli.commands.evaluate import _summary
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data.sources import TfdsSource
from styleprompter_jax.evaluation import classifier, codes
from styleprompter_jax.evaluation.evaluate import measure
from styleprompter_jax.evaluation.protocol import seconds, sha256
from styleprompter_jax.images.files import read_image, to_float, write_image
from styleprompter_jax.images.inputs import InputReader
from styleprompter_jax.images.read_once import ReadOnce
from styleprompter_jax.inversion.pipeline import StylePrompter, load
from styleprompter_jax.ops.kernel_distance import kernel_distance
from styleprompter_jax.ops.ssim import ms_ssim_weights
from styleprompter_jax.store import model_folder, network_folder

COUNT = 5


@pytest.fixture(scope="module")
def evaluated(tiny_folder, tmp_path_factory):
    """metrics.json of the tiny model on drawn faces, and the folder of all files."""
    root = tmp_path_factory.mktemp("evaluated")
    source = TfdsSource("avatars/tiny", "test", str(root / "data"))
    for k in range(COUNT):
        write_image(source[k]["image"], root / "faces" / f"{k}.png")
    rng = np.random.default_rng(0)
    shapes = network_folder.NETWORKS["lpips_squeeze"].shapes()["params"]
    params = jax.tree.map(
        lambda leaf: np.abs(rng.normal(0, 0.05, leaf.shape)).astype(np.float32), shapes
    )
    network_folder.save_network(root / "lpips", "lpips_squeeze", params)
    call = f"evaluate --model {tiny_folder} --data avatars/tiny --count {COUNT} "
    call += f"--data-dir {root / 'data'} --output {root / 'out'} --batch-size 3 "
    call += f"--networks {root / 'lpips'}"
    assert main(call.split()) == 0
    return json.loads((root / "out" / "metrics.json").read_text()), root


def test_numbers_are_those_of_the_written_pictures(evaluated, tiny_folder):
    result, root = evaluated
    for part, option in (("w_plus", " --no-refine"), ("refined", "")):
        out = root / part
        call = f"invert --model {tiny_folder} --input {root / 'faces'} --output {out}"
        assert main((call + option).split()) == 0
        pairs = [
            (read_image(root / "faces" / f"{k}.png"), read_image(out / f"{k}.png"))
            for k in range(COUNT)
        ]
        found = result["8bit"][part]
        psnr = [peak_signal_noise_ratio(*pair) for pair in pairs]
        ssim = [
            structural_similarity(
                *pair,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                channel_axis=-1,
            )
            for pair in pairs
        ]
        np.testing.assert_allclose(found["psnr"], np.mean(psnr), atol=1e-4)
        np.testing.assert_allclose(found["ssim"], np.mean(ssim), atol=1e-4)
        mse = [np.mean(np.square(np.subtract(*map(to_float, p)))) for p in pairs]
        np.testing.assert_allclose(found["mse"], np.mean(mse), atol=1e-4)
        # Values beyond white and black are clipped.
        assert found["mse"] < result["unquantised"][part]["mse"]


def test_the_protocol_and_what_is_missing(evaluated, tiny_folder):
    result, root = evaluated
    protocol = result["protocol"]
    digest = sha256(tiny_folder / "model.safetensors")
    assert protocol["model"]["sha256"]["model.safetensors"] == digest
    digest = sha256(root / "lpips" / "model.safetensors")
    assert protocol["networks"]["lpips_squeeze"]["model.safetensors"] == digest
    assert protocol["size"] == 32 and protocol["images"]["count"] == COUNT
    assert protocol["device"]["platform"] == jax.devices()[0].platform
    assert protocol["versions"]["jax"] == jax.__version__
    assert result["unquantised"]["refined"]["lpips"] > 0
    assert "styleprompter convert" in result["skipped"]["fid, kid"]
    assert set(result["skipped"]) == {"id_similarity", "moco_similarity", "fid, kid"}
    assert "fid" not in result["8bit"]["refined"]
    assert result["time"]["end_to_end"]["refined"]["count"] == COUNT
    assert set(result["edits"]["refined"]) == {"smile"}
    assert result["edits"]["labels"]["input"]["background"] > 0.5
    assert len(result["codes"]["layers"]) == 8
    rows = list(csv.DictReader((root / "out" / "images.csv").read_text().splitlines()))
    mean = np.mean([float(row["refined_psnr"]) for row in rows])
    np.testing.assert_allclose(mean, result["unquantised"]["refined"]["psnr"], 1e-4)
    with Image.open(root / "out" / "sheet.png") as image:
        assert image.height > COUNT * 128


def test_pictures_from_files_are_the_same_images(evaluated, tmp_path):
    result, root = evaluated
    shutil.copytree(root / "faces", tmp_path / "faces")
    (tmp_path / "faces" / "bad.png").write_text("no picture")
    given = [tmp_path / "faces"], tmp_path / "out", InputReader((32, 32, 3))
    images = Compared(*given, (32, 32), skip_bad=True)
    (*_, last) = images.batches(3)
    assert last["image"].shape == (2, 32, 32, 3)
    assert images.description["sha256"] == result["protocol"]["images"]["sha256"]
    assert images.description["skipped"] == 1
    # Compared at twice the size, all are enlarged, and the encoder sees the same.
    images = Compared(*given, (64, 64), skip_bad=True)
    (*_, last) = images.batches(3)
    assert last["target"].shape == (2, 64, 64, 3)
    assert images.description["enlarged"] == COUNT


def test_a_count_reads_no_other_images(evaluated, tmp_path, monkeypatch):
    """The names are those in the whole folder; "skipped" counts the bad ones before."""
    _, root = evaluated
    inputs = tmp_path / "in"
    shutil.copytree(root / "faces", inputs / "b")
    shutil.copytree(root / "faces", inputs / "c")
    for name in ("a.png", "b/1.png", "c/0.png"):
        (inputs / name).write_text("no picture")
    tried, check = [], ReadOnce.check
    monkeypatch.setattr(
        ReadOnce, "check", lambda read, path: (tried.append(path), check(read, path))[1]
    )
    given = [inputs], tmp_path / "out", InputReader((32, 32, 3)), (32, 32)
    with pytest.raises(StylePrompterError, match=r"a\.png"):
        Compared(*given, count=3)
    tried.clear()
    images = Compared(*given, count=3, skip_bad=True)
    assert images.keys == ["b/0", "b/2", "b/3"]
    assert images.description["skipped"] == 2
    assert set(tried) == {
        inputs / n for n in ("a.png", *(f"b/{k}.png" for k in range(4)))
    }
    (inputs / "a.png").unlink()
    assert Compared(*given, count=1).names == [str(inputs / "b" / "0.png")]


def test_all_images_are_rendered_as_the_protocol_says(
    evaluated, tiny_folder, tmp_path, monkeypatch
):
    """Also those of edits and labels; only the edited inversion has full SMART."""
    _, root = evaluated
    file = tmp_path / "glasses.npy"
    np.save(file, np.ones(16, np.float32))
    calls, decode = [], StylePrompter.decode

    def recorded(model, latents, **options):
        calls.append(options)
        return decode(model, latents, **options)

    monkeypatch.setattr(StylePrompter, "decode", recorded)
    common = f"--data avatars/tiny --data-dir {root / 'data'} --count 2 --beta 0.5 0.25"
    common += f" --noise-mode none --direction smile {file}"
    common += f" --output {tmp_path / 'out'}"
    for call in (
        f"evaluate --model {tiny_folder}",
        f"compare --models {tiny_folder} {tiny_folder},refine=no",
    ):
        calls.clear()
        assert main([*call.split(), *common.split(), "--overwrite"]) == 0
        assert {options["noise_mode"] for options in calls} == {"none"}
        refined = [options for options in calls if options["refine"] is not False]
        assert sum("beta" not in options for options in refined) == 1
        found = json.loads((tmp_path / "out" / "metrics.json").read_text())["protocol"]
        for one in [found] if "directions" in found else found["models"].values():
            described = {"file": str(file), "sha256": sha256(file)}
            assert one["directions"] == {"smile": None, "glasses": described}


def test_tables_are_in_the_order_of_the_parts(evaluated):
    result, _ = evaluated
    for titles in ({"w_plus": "a", "refined": "b"}, {"w_plus": "b", "refined": "a"}):
        rows = _summary(result, titles).splitlines()
        found = [row for row in rows if row.startswith("| edit, ")]
        assert [row[len("| edit, ")] for row in found] == [*titles.values()]


def test_what_a_classifier_cannot_judge(evaluated, tiny_folder, tmp_path, capsys):
    _, root = evaluated
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    (model / model_folder.DIRECTIONS).unlink()
    call = f"directions --model {model} --method sefa --components 1"
    assert main(call.split()) == 0
    call = f"evaluate --model {model} --count 3 --output {tmp_path / 'out'} "
    data = f"--data avatars/tiny --data-dir {root / 'data'}"
    faces = f"--input {root / 'faces'} --classifier"
    file = model_folder.BUNDLED / "avatars64" / classifier.CLASSIFIER
    for given in (data, f"{faces} {file}", f"{faces} avatars"):
        assert main(f"{call} {given} --overwrite".split()) == 0
        said = capsys.readouterr().out
        assert "the classifier knows only" in said and "edit, " not in said
        found = json.loads((tmp_path / "out" / "metrics.json").read_text())
        assert "--classifier" in found["skipped"]["edits"]
    assert "edits" not in found


def test_sides_that_do_not_have_the_cells_of_the_layout(evaluated, tmp_path):
    _, root = evaluated
    call = "evaluate --model avatars64 --size 36 --no-refine --count 2"
    call += f" --input {root / 'faces'} --output {tmp_path}"
    assert main(call.split()) == 0
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert "that 8 divides" in found["skipped"]["frechet_layout"]


def test_two_directions_of_one_name(tiny_folder, tmp_path):
    files = [tmp_path / folder / "glasses.npy" for folder in "ab"]
    for file in files:
        file.parent.mkdir()
        np.save(file, np.ones(16, np.float32))
    with pytest.raises(StylePrompterError, match="Two directions have the name 'glas"):
        directions_of([*map(str, files)], load(tiny_folder))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ("--size 64", "cannot be compared at 64 px: choose a size from 32 to 32"),
        ("--networks {model}", "is not the folder of a perceptual network"),
        ("--networks {lpips} {lpips}", "names two networks of the kind lpips"),
        ("--classifier {lpips}/model.safetensors", "is not a classifier"),
        ("--direction frown", "has no direction 'frown'"),
        ("--direction smile", "smile cannot be measured without a classifier"),
    ],
)
def test_what_does_not_fit_is_said_at_once(
    options, match, evaluated, tiny_folder, tmp_path, capsys
):
    _, root = evaluated
    options = options.format(model=tiny_folder, lpips=root / "lpips")
    call = f"evaluate --model {tiny_folder} --input {root / 'faces'} {options}"
    assert main([*call.split(), "--output", str(tmp_path / "out")]) == 1
    assert match in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class Pooled(nn.Module):
    """A network small enough to compute by hand: mean colours of the quarters."""

    @nn.compact
    def __call__(self, images):
        b, h, w, c = images.shape
        x = images.reshape(b, 2, h // 2, 2, w // 2, c).mean((2, 4)).reshape(b, -1)
        return x / jnp.linalg.norm(x, axis=1, keepdims=True)


def test_distances_of_sets_and_identities(tiny_folder):
    model = load(tiny_folder)
    images = np.random.default_rng(1).uniform(-1, 1, (9, 32, 32, 3)).astype(np.float32)
    network_folder = {kind: (Pooled(), {}) for kind in ("arcface", "inception")}
    batches = (images[k : k + 4] for k in (0, 4, 8))
    measured = measure(model, batches, networks=network_folder)
    outputs = np.asarray(model.invert(images)[0])
    a, b = (np.asarray(Pooled().apply({}, x), np.float64) for x in (images, outputs))
    found = measured.values["unquantised"]["refined"]["id_similarity"]
    np.testing.assert_allclose(found, (a * b).sum(1), atol=1e-5)
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    fid = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(sum(covariances) - 2 * root)
    found = measured.distances["unquantised"]["refined"]
    np.testing.assert_allclose(found["fid"], fid, atol=1e-4)

    def kernel(x, y):
        return (np.dot(x, y) / 12 + 1) ** 3

    among = [
        np.mean([kernel(s[i], s[j]) for i in range(9) for j in range(9) if i != j])
        for s in (a, b)
    ]
    between = np.mean([kernel(x, y) for x in a for y in b])
    np.testing.assert_allclose(found["kid"], sum(among) - 2 * between, atol=1e-6)
    # Blocks of equal size: their mean.
    halves = [kernel_distance(a[k : k + 4], b[k : k + 4]) for k in (0, 4)]
    found = kernel_distance(a[:8], b[:8], block=4)
    np.testing.assert_allclose(found, np.mean(halves))

    for bad, size, match in (
        ([], None, "has no images"),
        ([images[:1], images], None, "has 9 images, but must have at most 1"),
        ([images], 4, "has 9 images, but must have at most 4"),
        ([images], 0, "batch_size is 0"),
        (images, None, r"images are \(32, 32, 3\)"),
    ):
        with pytest.raises(StylePrompterError, match=match):
            measure(model, bad, batch_size=size)


def test_scales_of_ms_ssim_fit_the_size():
    for size, count in ((32, 2), (64, 3), (256, 5), (1024, 5)):
        weights = ms_ssim_weights(size)
        assert len(weights) == count and np.isclose(sum(weights), 1)


def test_codes_like_the_mapping_networks_look_like_them():
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((6, 6)) * [3, 2, 1, 0.5, 0.3, 0.2]
    w = rng.standard_normal((40_000, 6)) @ mix + 1
    w_plus = np.repeat(w[:15_000, None], 2, 1)
    w_plus[:, 1] += 5 * mix[0] / np.linalg.norm(mix[0])
    found = codes.code_statistics(w_plus, w[10_000:])
    like, moved = found["layers"]
    np.testing.assert_allclose(like["mahalanobis"], 0.95, atol=0.05)
    np.testing.assert_allclose(like["spread"], found["sampled"]["spread"], rtol=0.02)
    np.testing.assert_allclose(moved["offset"], 5 / np.sqrt(6), atol=0.1)
    np.testing.assert_allclose(moved["apart"], 2.5 / np.sqrt(6), rtol=1e-6)
    assert like["frechet"] < 0.1 < 20 < moved["frechet"] < 30
    assert moved["mahalanobis"] > like["mahalanobis"] + 0.1


def test_path_length_is_the_speed_of_the_image(tiny_folder):
    model = load(tiny_folder)
    a, b = np.random.default_rng(0).standard_normal((2, 3, 8, 16)).astype(np.float32)
    found = codes.path_length(model, a, b, size=32, batch_size=3)
    t = np.random.default_rng(0).random((3, 1, 1), np.float32)
    step = 1e-2
    ends = (model.synthesize(a + (t + s) * (b - a)) for s in (-step / 2, step / 2))
    before, after = (np.asarray(images) for images in ends)
    expected = np.mean(((after - before) / step) ** 2)
    np.testing.assert_allclose(found, expected, rtol=1e-2)


class Pending:
    """A result that a device is still working on."""

    def __init__(self, calls, x):
        self.calls, self.x = calls, x
        calls.append(("asked", x))

    def block_until_ready(self):
        time.sleep(0.02 * self.x)
        self.calls.append(("ready", self.x))
        return self


def test_seconds_waits_and_leaves_out_the_first():
    calls = []
    found = seconds(lambda x: Pending(calls, x), [1, 2, 3])
    order = [1, 1, 2, 3]  # each is ready before the next one is asked for
    assert calls == [(what, x) for x in order for what in ("asked", "ready")]
    assert found["count"] == 3
    assert found["median"] >= 0.04 and found["p95"] >= 0.05
