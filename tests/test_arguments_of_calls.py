"""Wrong arguments of the public names: one sentence, and nothing written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from ml_collections import ConfigDict

import styleprompter_jax as sp
from styleprompter_jax.core.seeds import key_of
from styleprompter_jax.editing.directions import (
    Direction,
    Response,
    directions_from_labels,
)
from styleprompter_jax.search.pairs import fit_direction

NAN = float("nan")
RAGGED = [[1.0, 2.0], [3.0]]
# Values that are not an array of numbers, whatever the expected shape.
NO_NUMBERS = [None, "smile", b"x", RAGGED, [None], {"a": 1}, [1j], object(), [True],
              jax.random.key(0)]  # fmt: skip
NO_PATH = [None, 3, b"x.png", "a\0b.png", "\ud800.png", ["a.png"]]


def refused(call, *values):
    """Each value is refused in one sentence or two, which begin and end as such."""
    for value in values:
        try:
            result = call(value)
        except sp.StylePrompterError as error:
            message = str(error)
            assert "\n" not in message and message.endswith((".", "?")), message
            assert len(message) < 600, message
        else:
            pytest.fail(f"{value!r} gave {result!r}")


def images(*shape, value=0.0):
    return np.full(shape, value, np.float32)


def codes(*shape, value=0.0):
    return images(*shape, value=value)


def test_load(model, tmp_path, tiny_folder):
    refused(lambda dtype: sp.load(tiny_folder, dtype=dtype), None, 3, "float16", [])
    refused(sp.load, *NO_PATH, "", "no/such/model", tmp_path, np.zeros(3))
    refused(lambda folder: model.save(folder), *NO_PATH)
    refused(lambda dtype: model.save(tmp_path / "m", dtype), "float64", 3, [None])
    refused(lambda config: sp.StylePrompter(config, {}), None, {}, "avatars64")
    refused(
        lambda variables: sp.StylePrompter(TINY, variables),
        *(None, {}, [], {"params": {}, "const": {}}),
        {"params": model.params, "const": {"latent_avg": np.zeros(3)}},
    )
    assert not list(tmp_path.iterdir())


def test_images_to_encode(model):
    wrong = [*NO_NUMBERS, [], images(0, 32, 32, 3), images(32, 32, 3), 3.0]
    wrong += [images(1, 32, 32), images(1, 32, 32, 1), images(1, 3, 32, 32)]
    wrong += [images(1, 32, 32, 3, value=NAN), images(1, 32, 32, 3).astype(int)]
    wrong += [images(1, 32, 32, 3).tolist()[:0], np.full((1, 32, 32, 3), 1e300)]
    wrong += [images(1, 32, 32, 3, value=255)]
    refused(model.encode, *wrong)
    refused(model.passes, *wrong)
    refused(model.invert, *wrong)
    right = images(1, 32, 32, 3)
    refused(lambda n: model.passes(right, n), *NO_NUMBERS[1:], 0, 1, -1, 2.5)


def test_images_of_another_library(model):
    class Tensor:
        """As those of PyTorch: NumPy reads it, but does not know its dtype."""

        dtype = object()

        def __init__(self, array):
            self.array = array

        def __array__(self, dtype=None, copy=None):
            return self.array

    right = images(1, 32, 32, 3)
    expected = model.encode(right).w_plus
    np.testing.assert_array_equal(model.encode(Tensor(right)).w_plus, expected)
    refused(model.encode, Tensor(right.astype(np.uint8)))


def test_images_without_negative_numbers(model, caplog):
    """Those of other libraries are in [0, 1]. One dark corner, and nothing is said."""
    bright = np.linspace(0, 1, 32 * 32 * 3, dtype=np.float32).reshape(1, 32, 32, 3)
    dark = bright.copy()
    dark[0, 0, 0] = -0.5
    model.encode(images(2, 32, 32, 3))
    model.encode(images(2, 32, 32, 3, value=0.5))
    model.encode(np.concatenate([bright, dark]))
    assert not caplog.text
    model.encode(np.concatenate([bright, bright]))
    assert "floats from 0 to 1, but this model reads floats in [-1, 1]" in caplog.text


def test_outputs_to_show(model):
    wrong = [*NO_NUMBERS, [], images(32, 32, 3), images(1, 32, 32, 1), 1.0]
    refused(model.shown, *wrong, images(1, 16, 16, 3))
    assert model.shown(images(2, 32, 32, 3)).shape == (2, 32, 32, 3)


def test_codes_and_latents(model):
    wrong = [*NO_NUMBERS, [], codes(0, 8, 16), codes(1, 7, 16), codes(8, 15), 1.0]
    wrong += [codes(1, 8, 16, value=NAN), codes(1, 1, 8, 16)]
    wrong += [sp.Latents(codes(1, 8, 16))]
    refused(model.synthesize, *wrong)
    refused(lambda w: model.decode(sp.Latents(w), refine=False), *wrong)
    refused(model.decode, *wrong[:-1])
    # Eight codes of one image without the batch axis, not one code of eight images.
    refused(lambda w: model.decode(sp.Latents(w), refine=False), codes(8, 16))
    shapes = TINY.encoder.feature_shapes
    maps = tuple(images(2, *shape) for shape in shapes)
    features = [(), None, "ab", maps[:1], (*maps, maps[0]), (maps[0], None)]
    features += [(maps[0], maps[1][:1]), (maps[0], maps[1][..., :1]), (maps[0], RAGGED)]
    features += [(images(2, 8, 8, 16), maps[1]), (maps[0], maps[1] + NAN)]
    refused(lambda f: model.decode(sp.Latents(codes(2, 8, 16), f)), *features)


def test_shapes_of_features(model):
    _, features = jax.eval_shape(
        lambda x: model.encoder.apply({"params": model.params["encoder"]}, x),
        images(5, 32, 32, 3),
    )
    found = [maps.shape for maps in features]
    assert found == [(5, *shape) for shape in TINY.encoder.feature_shapes]


def test_options_of_decode(model):
    assert model.options_of(Direction(codes(16), options={"x": 1})) == {}
    latents = sp.Latents(codes(2, 8, 16))
    decode = lambda **options: model.decode(latents, refine=False, **options)  # noqa: E731
    refused(lambda mode: decode(noise_mode=mode), None, 3, "loud", ["const"])
    refused(lambda refine: model.decode(latents, refine=refine), "no", [], 0.5)
    refused(
        lambda rng: decode(noise_mode="random", rng=rng),
        *(None, "3", 1.5, True, 2**64, np.zeros(2), jnp.zeros(2), [0, 1]),
        *(-1, 2**63, np.int64(-1)),
        jax.random.split(jax.random.key(0)),
    )
    refused(lambda beta: decode(beta=beta), *(1, None, "12", (1,), (1, 2, 3)),
            (NAN, 1), ("a", "b"), (None, 1), ([1, 2, 3], 1), RAGGED)  # fmt: skip


def test_every_whole_number_is_a_seed(model):
    latents = sp.Latents(codes(1, 8, 16))
    one, *others = (
        model.decode(latents, refine=False, noise_mode="random", rng=rng)
        for rng in (3, np.int64(3), np.uint8(3), jnp.int32(3), jax.random.key(3),
                    jax.random.PRNGKey(3))
    )  # fmt: skip
    for other in others:
        np.testing.assert_array_equal(one, other)


def test_each_seed_has_its_own_key():
    """Seeds above 2^32 too, of which `jax.random.key` reads the low 32 bits."""
    seeds = (0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**33, 2**63 - 1)
    keys = [tuple(jax.random.key_data(key_of(seed)).tolist()) for seed in seeds]
    assert len(set(keys)) == len(seeds)
    assert keys[2] == tuple(jax.random.key_data(jax.random.key(2**32 - 1)).tolist())


def test_mapping(model):
    wrong = [*NO_NUMBERS, [], codes(16), codes(0, 16), codes(1, 15), codes(1, 1, 16)]
    refused(model.mapping, *wrong, codes(1, 16, value=NAN))
    z = codes(2, 16)
    refused(lambda psi: model.mapping(z, psi), None, "1", NAN, [1, 2], RAGGED)
    refused(lambda cutoff: model.mapping(z, 1, cutoff), "1", 1.5, -1, [1])


def test_optimize(model):
    x, latents = images(2, 32, 32, 3), sp.Latents(codes(2, 8, 16))

    def optimize(x=x, latents=latents, steps=1, **options):
        return model.optimize(x, latents, steps, refine=False, **options)

    refused(lambda x: optimize(x=x), *NO_NUMBERS, [], images(1, 32, 32, 3))
    refused(lambda w: optimize(latents=w), None, codes(2, 8, 16), latents[:1])
    refused(lambda steps: optimize(steps=steps), None, "1", -1, 1.5, True, 2**70)
    refused(lambda mode: optimize(noise_mode=mode), "random", "loud", None)
    for name in ("structure", "learning_rate"):
        refused(lambda n, k=name: optimize(**{k: n}), None, "1", NAN, -1, [1], True)


def test_tune(model):
    x, latents = images(1, 32, 32, 3), sp.Latents(codes(1, 8, 16))

    def tune(x=x, latents=latents, steps=1, **options):
        return model.tune(x, latents, steps, refine=False, **options)

    refused(lambda x: tune(x=x), *NO_NUMBERS, [], images(2, 32, 32, 3))
    refused(lambda x: tune(x=x), images(1, 16, 16, 3), images(1, 32, 32, 1), x + 255)
    refused(lambda w: tune(latents=w), None, codes(1, 8, 16), latents[:0])
    refused(lambda steps: tune(steps=steps), None, "1", 0, -1, 1.5, True, 2**70)
    refused(lambda mode: tune(noise_mode=mode), "random", "loud", None)
    for name in ("perceptual", "locality", "stop", "learning_rate"):
        refused(lambda n, k=name: tune(**{k: n}), "1", NAN, -1, [1], True)
    for name in ("seed", "batch_size"):
        refused(lambda n, k=name: tune(**{k: n}), None, "1", -1, 1.5, True)
    refused(lambda k: tune(layers=k), 3, "01", [8], [-1])
    refused(lambda network: tune(network=network), 3, "lpips", (1, {}), {})


def test_latents(tmp_path):
    latents = sp.Latents(codes(2, 8, 16), (images(2, 4, 4, 16),))
    wrong = [*NO_NUMBERS, [], 1.0, codes(3), codes(8, 15), codes(2, 8, 16)]
    refused(latents.edit, *wrong, codes(16, value=NAN))
    with pytest.raises(sp.StylePrompterError, match=r"name 'smile': .*directions\["):
        latents.edit("smile")
    direction = codes(16)
    refused(lambda s: latents.edit(direction, s), *NO_NUMBERS[1:], NAN, [1, 2, 3], [])
    refused(lambda k: latents.edit(direction, 1, k), "01", 3, [8], [-1], [1.5], [None])
    refused(lambda w: sp.Latents(w).edit(direction), *NO_NUMBERS, codes(8, 16))
    path = tmp_path / "latents.npz"
    refused(lambda path: latents.save(path), *NO_PATH, "a.npy")
    refused(lambda n: latents.save(path, names=n), "ab", ["a"], [1, 2], [None] * 2,
            ["a", "a"], ["a", "../b"], ["a", ""], ["/a", "b"])  # fmt: skip
    refused(lambda w: sp.Latents(w).save(path), *NO_NUMBERS, codes(8, 16))
    odd = sp.Latents(codes(2, 8, 16), (images(1, 2),))
    refused(lambda path: odd.save(path, features=True), path)
    refused(sp.Latents.load, *NO_PATH, tmp_path / "none.npz")
    assert not list(tmp_path.iterdir())


def test_pictures(tmp_path):
    path = tmp_path / "a.png"
    refused(lambda paths: sp.read_images(paths, 32), *NO_PATH, [], "a.png", path, [3])
    sp.write_images(images(1, 32, 32, 3), [path])
    refused(lambda s: sp.read_images([path], s), None, 0, -1, 1.5, "32", 2**40, True)
    assert sp.read_images([path], np.int64(16)).shape == (1, 16, 16, 3)
    path.unlink()
    wrong = [*NO_NUMBERS, [], images(2, 8, 8), images(2, 8, 8, 1), images(2, 8, 8, 4)]
    wrong += [images(8, 8, 3), images(0, 8, 8, 3), images(2, 0, 8, 3)]
    wrong += [images(2, 8, 8, 3).astype(int), images(2, 8, 8, 3) > 0]
    wrong += [[images(8, 8, 3), images(9, 9, 3)], images(3, 8, 8, 3)]
    half = images(2, 8, 8, 3)
    half[1] = NAN  # the first is not written either
    paths = [path, tmp_path / "b.png"]
    refused(lambda x: sp.write_images(x, paths), *wrong, half)
    two = images(2, 8, 8, 3)
    refused(lambda p: sp.write_images(two, p), *NO_PATH, [], "ab", [path], [path] * 2,
            [path, "b.tga"], [path, None], [path, "b"])  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_sheet():
    one = images(8, 8, 3)
    refused(lambda rows: sp.sheet(rows, ["a"]), *NO_NUMBERS, [], [[]], [one], one,
            [[one, one]], [[images(8, 8)]], [[one + NAN]], [[None]])  # fmt: skip
    refused(lambda titles: sp.sheet([[one]], titles), None, 3, [])
    refused(lambda titles: sp.sheet([[one]], ["a"], titles), 3, ["a", "b"])
    refused(lambda cell: sp.sheet([[one]], ["a"], None, cell), 0, -1, 1.5, "8", 2**40)


def test_train(tmp_path):
    workdir = tmp_path / "run"
    refused(sp.get_config, *NO_PATH, "none", "tiny:none", tmp_path)
    refused(lambda c: sp.train(c, workdir), None, {}, "avatars", ConfigDict())
    assert not workdir.exists()


def test_pairs_of_images(model):
    x = images(2, 32, 32, 3)
    wrong = [*NO_NUMBERS, [], images(2, 32, 32), images(1, 32, 32, 3), x + NAN]
    refused(lambda y: fit_direction(model, x, y), *wrong, jnp.asarray(x) + NAN)
    for name, least in dict(steps=0, batch_size=1, rank=0, seed=0).items():
        refused(
            lambda n, k=name: fit_direction(model, x, x, **{k: n}),
            *(None, "1", 1.5, least - 1, True),
        )
    for name in ("learning_rate", "structure", "keep"):
        refused(
            lambda n, k=name: fit_direction(model, x, x, **{k: n}), None, "1", NAN, -1
        )
    refused(lambda k: fit_direction(model, x, x, layers=k), 3, "01", [8], [-1])
    refused(lambda b: fit_direction(model, x, x, beta=b), 1, None, (NAN, 1), "12")


def test_there_is_a_test_for_every_name():
    with open(__file__) as file:
        source = file.read()
    for name in set(sp.__all__) - {"__version__", "StylePrompterError"}:
        assert f"sp.{name}" in source, name
    for name, method in vars(sp.StylePrompter).items():
        if callable(method) and not name.startswith("_"):
            assert f"model.{name}" in source, name


def test_directions():
    refused(Direction, *NO_NUMBERS, codes(1, 8, 16), codes(16, value=NAN))
    one = codes(16)
    refused(lambda k: Direction(one, k), "12", 3, [-1], [1.5], ["1"], [2**40])
    wrong = [v for v in NO_NUMBERS if v is not None]  # None means the default beta
    refused(lambda v: Direction(one, range=v), *NO_NUMBERS, "12", [1, NAN])
    refused(lambda v: Direction(one, beta=v), *wrong, "12", [1, NAN])
    options = None, [1], {"gain": "1"}, {"gain": [NAN]}
    refused(lambda v: Direction(one, options=v), *options)
    refused(lambda v: Direction(one, strength=v), *NO_NUMBERS, "1", NAN, [1])
    refused(lambda v: Direction(one, response=v), 1, one)
    refused(lambda v: Direction(one, origin=v), None, 3)
    reads = codes(2, 8, 16)
    refused(lambda v: Response(reads, v, reads), *NO_NUMBERS, codes(3), one[:2] + NAN)
    smile = {"smile": [True, False, True]}
    wrong = [*NO_NUMBERS, codes(3, 16), codes(3, 8, 16, value=NAN)]
    refused(lambda w: directions_from_labels(w, smile), *wrong)
