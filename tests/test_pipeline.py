"""A loaded model: encode, decode, edit, and their error messages."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, random_variables

import styleprompter_jax as sp
from styleprompter_jax import losses
from styleprompter_jax.evaluation.evaluate import evaluate
from styleprompter_jax.inversion import optimize
from styleprompter_jax.models.discriminators.stylegan2 import DiscriminatorConfig
from styleprompter_jax.store.discriminator_files import (
    KeptDiscriminator,
    discriminator_shapes,
    load_discriminator,
)
from styleprompter_jax.store.model_folder import read_origin, save_model
from styleprompter_jax.store.places import same_place


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def latents(model, images):
    return model.encode(images)


def test_parts(model):
    assert model.image_size == 32 and model.config == TINY
    assert model.params.keys() == {"encoder", "smart", "generator"}

    def apply_each(images, z):
        p, const = model.params, model.const["generator"]
        codes, features = model.encoder.apply({"params": p["encoder"]}, images)
        x = jnp.zeros((1, 16, 16, 8))
        x = model.smart.apply({"params": p["smart"]}, 4, x, features=features)
        generator = {"params": p["generator"], "const": const}
        return codes, x, model.generator.apply(generator, z)

    shapes = jax.eval_shape(apply_each, np.zeros((1, 32, 32, 3)), np.zeros((1, 16)))
    assert [y.shape for y in shapes] == [(1, 8, 16), (1, 16, 16, 8), (1, 32, 32, 3)]


def test_the_two_ways_through(model, images, latents):
    assert latents.w_plus.shape == (4, 8, 16) and len(latents.features) == 2
    sizes = [maps.shape[1] for maps in latents.features]
    assert sizes == sorted(sizes)
    y, again = model.invert(images)
    np.testing.assert_array_equal(y, model.decode(latents))
    np.testing.assert_array_equal(again.w_plus, latents.w_plus)
    plain = model.decode(latents, refine=False)
    np.testing.assert_array_equal(plain, model.synthesize(latents.w_plus))
    assert np.abs(y - plain).max() > 0.01
    assert np.abs(model.decode(latents, beta=(0.5, 2)) - y).max() > 0.01
    # The mean code is part of w_plus.
    shifted = jax.tree.map(lambda a: a, {"params": model.params, "const": model.const})
    shifted["const"]["latent_avg"] = model.const["latent_avg"] + 1
    other = sp.StylePrompter(TINY, shifted).encode(images)
    np.testing.assert_allclose(other.w_plus, latents.w_plus + 1, atol=1e-5)


def test_noise(model, latents):
    def decode(**options):
        return np.asarray(model.decode(latents, **options))

    np.testing.assert_array_equal(decode(), decode(noise_mode="const"))
    assert (decode(noise_mode="none") != decode()).any()
    random = decode(noise_mode="random", rng=0)
    np.testing.assert_array_equal(
        random, decode(noise_mode="random", rng=jax.random.key(0))
    )
    assert (random != decode(noise_mode="random", rng=1)).any()


def test_mapping(model):
    z = np.random.default_rng(1).standard_normal((4, 16)).astype(np.float32)
    w, mean = model.mapping(z), model.const["latent_avg"]
    assert w.shape == (4, 16)
    near = mean + 0.7 * (w - mean)
    np.testing.assert_allclose(model.mapping(z, truncation_psi=0.7), near, atol=1e-5)
    w_plus = model.mapping(z, truncation_psi=0.7, truncation_cutoff=3)
    np.testing.assert_allclose(w_plus[:, 2], near, atol=1e-5)
    np.testing.assert_allclose(w_plus[:, 3], w, atol=1e-5)
    same = model.synthesize(np.repeat(np.asarray(w)[:, None], 8, 1))
    np.testing.assert_array_equal(model.synthesize(w), same)


def test_compiled_once_a_shape(model, latents):
    count, listening = [], False

    def counting(event, *_args, **_options):
        # The oldest JAX that setup.cfg permits cannot take a listener back.
        if listening:
            count.append(event == "/jax/core/compile/backend_compile_duration")

    model.decode(latents)
    model.decode(latents.edit(model.directions["smile"], 1.0))
    jax.monitoring.register_event_duration_secs_listener(counting)
    listening = True
    for strength in (-2.0, 0.3):
        edited = latents.edit(model.directions["smile"], strength)
        model.decode(edited, beta=(strength, 0.1)).block_until_ready()
    listening = False
    assert not any(count)


def test_edits(model, latents):
    smile, hat = model.directions["smile"], model.directions["hat"]
    edited = latents.edit(smile, 2.0)
    moved = edited.w_plus - latents.w_plus
    np.testing.assert_allclose(moved[1, 4], 2 * smile.vector, atol=1e-5)
    assert edited.features is latents.features
    # Its own strength; its own layers, then others; one strength an image.
    moved = latents.edit(smile).w_plus - latents.w_plus
    np.testing.assert_allclose(moved[1, 4], 3 * smile.vector, atol=1e-5)
    moved = latents.edit(hat, 1.0).w_plus - latents.w_plus
    np.testing.assert_allclose(moved[0, 2:4], hat.vector[2:4], atol=1e-5)
    assert not np.delete(moved, [2, 3], 1).any()
    moved = latents.edit(hat, [0, 1, -1, 0], layers=[7]).w_plus - latents.w_plus
    np.testing.assert_allclose(moved[2, 7], -hat.vector[7], atol=1e-5)
    assert not moved[0].any() and not moved[:, :7].any()
    same = latents.edit(np.asarray(smile.vector), 1.0).w_plus
    np.testing.assert_array_equal(same, latents.edit(smile, 1.0).w_plus)
    for bad in (
        lambda: latents.edit(np.zeros(5), 1.0),
        lambda: latents.edit(np.full(16, np.nan), 1.0),
        lambda: latents.edit(smile, [1.0, 2.0]),
        lambda: latents.edit(smile, 1.0, layers=[8]),
    ):
        with pytest.raises(sp.StylePrompterError):
            bad()


def test_fitted_codes(model, images, latents):
    def loss(latents, **options):
        y = model.decode(latents, **options)
        return float(losses.l2(y, images) + 0.3 * losses.structure(y, images))

    fitted = [model.optimize(images, latents, 8) for _ in range(2)]
    assert loss(fitted[0]) < 0.95 * loss(latents)
    np.testing.assert_array_equal(*(f.w_plus for f in fitted))
    assert fitted[0].features is latents.features
    programs = sum(p._cache_size() for p in optimize._step._jitted.values())
    other = model.optimize(images, latents, 1, structure=0.2)
    assert not np.array_equal(other.w_plus, model.optimize(images, latents, 1).w_plus)
    assert sum(p._cache_size() for p in optimize._step._jitted.values()) == programs
    # Two images of a batch that are alike are fitted alike, whatever the others.
    twice = images.copy()
    twice[3] = twice[0]
    some = model.optimize(twice, model.encode(twice), 2)
    np.testing.assert_allclose(some.w_plus[0], some.w_plus[3], atol=1e-4)
    with pytest.raises(sp.StylePrompterError, match="random noise"):
        model.optimize(images, latents, 1, noise_mode="random")
    with pytest.raises(sp.StylePrompterError, match="no feature maps"):
        model.optimize(images, sp.Latents(latents.w_plus), 1)


def test_latents_in_files(tmp_path, latents):
    latents.save(tmp_path / "all.npz", features=True)
    jax.tree.map(
        np.testing.assert_array_equal, sp.Latents.load(tmp_path / "all.npz"), latents
    )
    latents.save(tmp_path / "codes.npz")
    codes = sp.Latents.load(tmp_path / "codes.npz")
    assert codes.features == () and len(codes) == 4
    np.testing.assert_array_equal(codes[-1].w_plus, latents.w_plus[3:])
    assert {path.name for path in tmp_path.iterdir()} == {"all.npz", "codes.npz"}
    data = (tmp_path / "all.npz").read_bytes()
    (tmp_path / "short.npz").write_bytes(data[: len(data) // 2])
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.savez(tmp_path / "flat.npz", w_plus=np.zeros(16))
    np.savez(tmp_path / "odd.npz", w_plus=np.zeros((3, 8, 16)), names=["a"])
    for name in ("short", "other", "flat", "odd", "gone"):
        with pytest.raises(sp.StylePrompterError, match=rf"{name}\.npz"):
            sp.Latents.load(tmp_path / f"{name}.npz")
    with pytest.raises(sp.StylePrompterError, match=r"must end in \.npz"):
        latents.save(tmp_path / "codes.npy")


def test_what_is_missing_is_named(model, images, latents):
    config = dataclasses.replace(TINY, refiner=None, encoder=None)
    generator = sp.StylePrompter(config, random_variables(config))
    assert generator.image_size == 32
    for ask in (
        lambda: generator.encode(images),
        lambda: generator.invert(images, refine=False),
        lambda: generator.encoder,
    ):
        with pytest.raises(sp.StylePrompterError, match="no encoder: train one"):
            ask()
    for ask in (
        lambda: generator.decode(latents, refine=True),
        lambda: generator.decode(latents, beta=(1, 1)),
        lambda: generator.optimize(images, latents, 1, refine=True),
        lambda: generator.smart,
    ):
        with pytest.raises(sp.StylePrompterError, match=r"no refiner: .*refine=False"):
            ask()
    plain = generator.decode(latents, refine=False)
    assert plain.shape == (4, 32, 32, 3)
    # Without a request for the refiner, any model can decode.
    np.testing.assert_array_equal(generator.decode(latents), plain)
    with pytest.raises(sp.StylePrompterError, match="no feature maps"):
        model.decode(sp.Latents(latents.w_plus))


def test_wrong_arguments(model, images, latents):
    for call, match in (
        (lambda: model.encode(images[0]), "read_images"),
        (lambda: model.encode(images[:, :16]), "32, 32, 3"),
        (lambda: model.encode(np.zeros((1, 32, 32, 3), np.uint8)), "uint8"),
        (lambda: model.synthesize(np.zeros((1, 3, 16))), r"\(b, 8, 16\)"),
        (lambda: model.mapping(np.zeros((1, 3))), r"\(b, 16\)"),
        (lambda: model.decode(latents, noise_mode="loud"), "'loud'"),
        (lambda: model.decode(latents, noise_mode="random"), "rng="),
        (lambda: model.decode(latents, beta=1.0), "beta is two"),
    ):
        with pytest.raises(sp.StylePrompterError, match=match):
            call()


def test_saving_a_model(tmp_path, model, images):
    model.save(tmp_path / "copy")
    copy = sp.load(tmp_path / "copy")
    np.testing.assert_array_equal(copy.invert(images)[0], model.invert(images)[0])
    assert copy.directions.keys() == model.directions.keys()


def test_saving_a_model_onto_its_own_folder(tmp_path, model):
    discriminator = DiscriminatorConfig(32, (8,) * 4)
    shapes = discriminator_shapes(discriminator)["params"]
    params = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes)
    kept = KeptDiscriminator(discriminator, params)
    given = model.config, model.variables
    folder = save_model(tmp_path / "m", *given, discriminator=kept, origin="a fact")
    loaded = sp.load(folder)
    (tmp_path / "link").symlink_to(folder)
    loaded.save(tmp_path / "link")
    assert load_discriminator(folder).config == discriminator
    assert read_origin(folder) == "a fact"
    model.save(folder)  # another model
    assert not (folder / "discriminator.safetensors").exists()
    assert read_origin(folder) == ""
    assert same_place("gs://bucket/m", "gs://bucket/m/")
    assert not same_place("gs://bucket/m", tmp_path)


def test_evaluation_averages_over_images(model, images):
    whole = evaluate(model, [images, {"image": -images}])
    parts = [evaluate(model, [x]) for x in (images, -images)]
    assert whole["num_images"] == 8
    y = np.asarray(model.synthesize(model.encode(images).w_plus))
    expected = float(np.mean((y - images) ** 2))
    assert parts[0]["w_plus"]["mse"] == pytest.approx(expected, 1e-5)
    for name in ("w_plus", "refined"):
        means = {"mse", "psnr", "ssim", "ms_ssim"}
        assert whole[name].keys() == means | {"frechet_layout"}
        for key in means:
            mean = (parts[0][name][key] + parts[1][name][key]) / 2
            assert whole[name][key] == pytest.approx(mean, rel=1e-4)
    assert whole["w_plus"] != whole["refined"]


def test_bfloat16(model, images, latents, tiny_folder):
    """Maps in bfloat16 give nearly the same results, in float32."""
    half = sp.load(tiny_folder, dtype="bfloat16")
    y, found = half.invert(images)
    kinds = {x.dtype for x in (y, found.w_plus, *found.features)}
    assert kinds == {np.dtype(np.float32)}
    np.testing.assert_allclose(found.w_plus, latents.w_plus, atol=0.05)
    expected = model.decode(found)
    scale = np.abs(expected).max()
    error = np.abs(y - expected).max() / scale
    assert 0 < error < 0.1
    with pytest.raises(sp.StylePrompterError, match="bfloat16"):
        sp.load(tiny_folder, dtype="float16")
