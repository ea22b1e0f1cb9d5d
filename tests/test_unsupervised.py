"""SeFa, PCA and orthogonal directions; labels from a CSV and from TFDS."""

import dataclasses
import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import styleprompter_jax as sp
from styleprompter_jax.app.directions import _spans
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data.tfds import tfds
from styleprompter_jax.editing.directions import Direction, Response
from styleprompter_jax.search.labelled import (
    encode_csv,
    encode_tfds,
    read_csv,
    stored_codes,
)
from styleprompter_jax.search.unsupervised import (
    in_deviations,
    orthogonalize,
    orthogonalize_all,
    pca,
    sefa,
)

RNG = np.random.default_rng(0)


def parallel(a, b):
    return abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)


def test_sefa_finds_what_moves_styles_most():
    axes = np.linalg.qr(RNG.standard_normal((8, 8)))[0]
    # Styles near one axis in two layers, one far longer: lengths do not count.
    kernels = [
        1000 * (axes[:, :1] + 0.1 * RNG.standard_normal((8, 6))),
        axes[:, 1:2] + 0.1 * RNG.standard_normal((8, 30)),
    ]
    found = sefa(kernels, 3)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-12)
    assert (
        parallel(found[0], axes[:, 1]) > 0.98 and parallel(found[1], axes[:, 0]) > 0.9
    )
    assert parallel(sefa(kernels[:1], 1)[0], axes[:, 0]) > 0.98
    # No unit step changes unit-length styles more.
    columns = np.concatenate(kernels, 1)
    columns /= np.linalg.norm(columns, axis=0)
    others = RNG.standard_normal((1000, 8))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    strongest = np.linalg.norm(found[0] @ columns)
    assert strongest > np.linalg.norm(others @ columns, axis=1).max()


def test_pca_and_its_unit():
    axes = np.linalg.qr(RNG.standard_normal((5, 5)))[0]
    spread = np.array([0.5, 3.0, 1.0, 0.1, 0.1])
    w = (RNG.standard_normal((20_000, 5)) * spread) @ axes.T + 7
    found = in_deviations(w, pca(w, 3))
    for vector, axis, deviation in zip(found, (1, 2, 0), (3, 1, 0.5), strict=True):
        assert parallel(vector, axes[:, axis]) > 0.99
        assert np.linalg.norm(vector) == pytest.approx(deviation, rel=0.03)
    # The sign is not left to chance, nor to the sample.
    again = pca(w[:10_000], 3)
    assert all(a @ b > 0 for a, b in zip(found, again, strict=True))
    with pytest.raises(StylePrompterError, match="6 directions"):
        pca(w, 6)


def test_orthogonal_code_by_code():
    n, w_dim = 4, 6
    direction = Direction(RNG.standard_normal(w_dim), range=(-2, 2), origin="x")
    plain = Direction(RNG.standard_normal(w_dim))
    found = orthogonalize(direction, {"a": plain}, n)
    assert found.vector.shape == (w_dim,) and found.range == (-2, 2)
    assert found.origin == "x, orthogonal to a"
    assert abs(found.vector @ plain.vector) < 1e-5
    # It only loses a part: the rest points the same way.
    assert found.vector @ direction.vector == pytest.approx(
        np.sum(found.vector**2), rel=1e-4
    )
    some = Direction(RNG.standard_normal((n, w_dim)), layers=(1,))
    twin = Direction(2 * some.vector, layers=(1,))
    found = orthogonalize(direction, {"b": some, "a": plain, "twin": twin}, n)
    assert found.vector.shape == (n, w_dim)
    np.testing.assert_allclose(found.vector @ plain.vector, 0, atol=1e-5)
    assert abs(found.vector[1] @ some.vector[1]) < 1e-5
    assert abs(found.vector[2] @ some.vector[2]) > 1e-3
    reads, writes = RNG.standard_normal((2, 1, n, w_dim))
    response = Response(reads, np.ones(1), writes)
    found = orthogonalize(
        dataclasses.replace(direction, response=response), {"plain": plain}, n
    )
    step = found.step(RNG.standard_normal((3, n, w_dim)))
    np.testing.assert_allclose(step @ plain.vector, 0, atol=1e-5)
    with pytest.raises(StylePrompterError, match="in the span of plain"):
        orthogonalize(Direction(-3 * plain.vector), {"plain": plain}, n)
    # A new version of another direction is not orthogonal to its old version.
    new = orthogonalize_all({"plain": direction, "b": direction}, {"plain": plain}, n)
    assert set(new) == {"b"} and abs(new["b"].vector @ plain.vector) < 1e-5
    with pytest.raises(StylePrompterError, match="are plain, and --orthogonal-to"):
        orthogonalize_all({"plain": direction}, {"plain": plain}, n)


def test_labels_from_a_csv(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text(
        "\ufefffile,smile,Male,hair,glasses\na.png,1,-1,red,Yes\n\nb.png, 0,1,,no\n"
    )
    paths, labels = read_csv(str(file))
    assert paths == ("a.png", "b.png")
    assert labels["smile"].tolist() == labels["glasses"].tolist() == [True, False]
    assert labels["Male"].tolist() == [False, True]
    assert labels["hair"].tolist() == ["red", ""] and labels["hair"].dtype.kind == "U"
    assert len(read_csv(str(file), 1)[0]) == 1
    for text, match in (
        ("", "contains no labels"),
        ("file\na.png\n", "contains no labels"),
        ("file,smile\n", "contains no labels"),
        ("file,smile\na.png,1,2\n", r"row of 'a\.png' has 3"),
        ('file,smile\na.png,"1\n', "cannot be read as CSV"),
        ("file,smile\na.png,\udcff\n", "cannot be read as CSV"),
    ):
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(StylePrompterError, match=match):
            read_csv(str(file))
    with pytest.raises(StylePrompterError, match="no file"):
        read_csv(str(tmp_path / "gone.csv"))
    file.write_text("file,smile\nx/b.png,1\na,0\n")
    with pytest.raises(StylePrompterError, match=r"x/b\.png, and 1 more"):
        encode_csv(None, str(file), None, 4)
    with pytest.raises(StylePrompterError, match="no attribute 'beard': it has smile"):
        encode_csv(None, str(file), None, 4, ["beard"])
    # Of codes that are kept: names with an ending or without, in any order.
    codes = RNG.standard_normal((3, 8, 16)).astype(np.float32)
    latents = str(tmp_path / "latents.npz")
    sp.Latents(codes).save(latents, names=["a", "none", "x/b"])
    found, labels, example = stored_codes(latents, str(file), None)
    np.testing.assert_array_equal(found, codes[[2, 0]])
    assert labels["smile"].tolist() == [True, False]
    np.testing.assert_array_equal(example.w_plus, codes[2:])
    file.write_text("file,smile\nc.png,1\n")
    with pytest.raises(StylePrompterError, match=r"c\.png, but .* does not hold its"):
        stored_codes(latents, str(file), None)


class Mini(tfds.core.GeneratorBasedBuilder):
    """Features as in CelebA: nested booleans, and features that are not attributes."""

    VERSION = tfds.core.Version("1.0.0")
    url_infos = {}  # noqa: RUF012

    def _info(self):
        labels = {"Smiling": np.bool_, "sure": np.bool_, "points": {"x": np.int64}}
        features = {
            "image": tfds.features.Image(shape=(8, 8, 3)),
            "attributes": labels,
            "sure": np.bool_,
            "kind": tfds.features.ClassLabel(names=["cat", "dog"]),
            "wild": tfds.features.ClassLabel(names=["no", "yes"]),
            "boxes": tfds.features.Sequence(np.float32),
        }
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for k in range(6):
            image = io.BytesIO()
            Image.new("L", (8, 8), 40 * k).convert("RGB").save(image, "PNG")
            image.seek(0)
            inner = {"Smiling": k < 2, "sure": k == 5, "points": {"x": k}}
            yield (
                k,
                {
                    "image": image,
                    "attributes": inner,
                    "sure": k == 0,
                    "kind": -1 if k == 4 else k % 2,
                    "wild": k // 3,
                    "boxes": [1.0] * k,
                },
            )


def test_labels_of_any_tfds_data_set(tmp_path, tiny_folder):
    builder = Mini(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    model = sp.load(tiny_folder)
    with pytest.raises(StylePrompterError, match=r"'sur': it has .*attributes_sure"):
        # Which cannot encode: it is said before.
        encode_tfds(
            SimpleNamespace(image_size=8, config=SimpleNamespace(image_size=8)),
            "mini",
            tmp_path,
            9,
            4,
            ["sure", "sur"],
        )
    given = model, "mini", tmp_path
    with pytest.raises(StylePrompterError, match="mini: The labels of 6 samples"):
        encode_tfds(*given, 100, 4)  # which are as many as attributes, and one
    codes, attributes, example = encode_tfds(*given, 100, 4, ["sure"])
    expected = sorted(
        [str(k < 2), str(k == 5), str(k == 0), "" if k == 4 else kind, str(k > 2)]
        for k, kind in enumerate(["cat", "dog"] * 3)
    )
    names = ["Smiling", "attributes_sure", "sure", "kind", "wild"]
    assert attributes.keys() == set(names)
    # TFDS has shuffled them.
    found = np.stack([attributes[name].astype(str) for name in names], 1)
    assert sorted(found.tolist()) == expected
    assert codes.shape == (6, 8, 16) and len(example) == 1
    np.testing.assert_array_equal(example.w_plus[0], codes[0])
    assert len(encode_tfds(*given, 5, 4, ["kind"])[0]) == 5


def test_names_of_layers():
    assert _spans([7, 0, 1, 2]) == "0-2,7" and _spans([3]) == "3"
