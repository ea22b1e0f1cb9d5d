"""Exports of models: ONNX graphs, programs of JAX, and their use by others."""

import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import styleprompter_jax as sp
from styleprompter_jax.app import export as exporting
from styleprompter_jax.app.export import export
from styleprompter_jax.cli import main
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.export import jax_programs, onnx_programs
from styleprompter_jax.export.folder import is_export, written
from styleprompter_jax.export.programs import programs as programs_of
from styleprompter_jax.images.files import write_images
from styleprompter_jax.models.encoders.psp import PspConfig
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompter, StylePrompterConfig
from styleprompter_jax.store.places import MANIFEST

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
from styleprompter_jax.export.onnx.convert import to_onnx  # noqa: E402

PAGE = Path(__file__).parents[1] / "docs/export.md"


@pytest.fixture(scope="module")
def graphs(tiny_folder, tmp_path_factory):
    """The tiny model as ONNX graphs, made by the command."""
    folder = tmp_path_factory.mktemp("exports") / "onnx"
    wanted = ["--format", "onnx", "--output", str(folder)]
    assert main(["export", str(tiny_folder), *wanted]) == 0
    return folder


@pytest.fixture(scope="module")
def programs(tiny_folder, tmp_path_factory):
    """The tiny model as programs of JAX."""
    folder = tmp_path_factory.mktemp("exports") / "jax"
    return export(tiny_folder, folder, format="jax")


@pytest.fixture
def images():
    shape = 3, 32, 32, 3
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def session(folder, name):
    return onnxruntime.InferenceSession(folder / f"{name}.onnx")


def test_graphs_have_no_operations_on_shapes_and_any_batch(graphs, model, images):
    nodes = {}
    for path in graphs.glob("*.onnx"):
        graph = onnx.load(path).graph
        onnx.checker.check_model(path, full_check=True)
        nodes[path.stem] = {node.op_type for node in graph.node}
        assert all(i.type.tensor_type.shape.dim[0].dim_param for i in graph.input)
    assert nodes.keys() == {"encode", "edit", "decode", "synthesize", "map"}
    assert "ConvTranspose" in nodes["decode"] and "LeakyRelu" in nodes["decode"]
    assert not set().union(*nodes.values()) & {"Shape", "If", "Loop", "Where", "Range"}
    encode, decode = session(graphs, "encode"), session(graphs, "decode")
    w_plus, *maps = encode.run(None, {"image": images})
    features = {f"features_{k}": each for k, each in enumerate(maps)}
    beta = np.array([[1, 1], [0.5, 0], [0, 0]], np.float32)
    (made,) = decode.run(None, {"w_plus": w_plus, "beta": beta} | features)
    expected = model.decode(model.encode(images), beta=tuple(beta.T))
    np.testing.assert_allclose(made, expected, atol=1e-4)


def test_manifest_says_all_that_a_foreign_program_needs(graphs, model):
    manifest = json.loads((graphs / MANIFEST).read_text())
    assert manifest["opset"] == 18 and manifest["format"] == "onnx"
    assert manifest["model"]["sha256"] == model.sha256
    assert set(manifest["files"]) | {MANIFEST} == {p.name for p in graphs.iterdir()}
    encode = manifest["programs"]["encode"]
    image = encode["inputs"]["image"]
    assert image["shape"] == ["batch", 32, 32, 3] and image["range"] == [-1, 1]
    assert list(manifest["directions"]) == list(model.directions)
    for options in [x["options"] for x in manifest["directions"].values()]:
        assert all(isinstance(value, list) for value in options.values())
    assert manifest["check"]["difference"].keys() == manifest["programs"].keys()


@pytest.mark.parametrize(("channels", "lowest"), [(3, -1), (1, 0), (19, 0)])
def test_the_range_of_an_input_is_that_of_its_kind(channels, lowest, model):
    encoder = PspConfig(input_channels=channels, image_size=32)
    config = StylePrompterConfig(encoder, None, GeneratorConfig(1024))
    image = programs_of(config, {})["encode"].inputs["image"]
    assert image.range == (lowest, 1) and image.shape == (32, 32, channels)


def test_programs_of_jax_give_equal_bits(programs, model, images):
    exported = sp.load(programs.folder)
    ours, theirs = model.encode(images), exported.encode(images)
    assert ours == theirs
    decoded = exported.decode(theirs, beta=(0.5, 0.25))
    np.testing.assert_array_equal(model.decode(ours, beta=(0.5, 0.25)), decoded)


@pytest.mark.parametrize("format", ["onnx", "jax"])
def test_the_ten_lines_of_the_page_edit_a_face(
    format, graphs, programs, model, images, monkeypatch, tmp_path
):
    text = PAGE.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (block,) = [b for b in blocks if f"--format {format} --output" in b]
    folder = graphs if format == "onnx" else programs.folder
    monkeypatch.chdir(tmp_path)
    (name,) = re.findall(r"--output (\S+)", block)
    (tmp_path / name).symlink_to(folder)
    write_images(images[:1], [tmp_path / "face.png"])
    name = next(iter(model.directions))
    exec(block.replace("glasses", name), {})
    image = sp.read_images([tmp_path / "face.png"], 32)
    direction = model.directions[name]
    latents = model.encode(image).edit(direction, direction.strength)
    made = sp.read_images([tmp_path / "edited.png"], 32)
    expected = np.clip(model.decode(latents, **direction.options), -1, 1)
    np.testing.assert_allclose(made, expected, atol=2 / 255)


def test_invert_and_evaluate_take_an_export(graphs, tiny_folder, images, tmp_path):
    face = tmp_path / "faces"
    write_images(images[:2], [face / "a.png", face / "b.png"])
    for name, model in (("own", tiny_folder), ("other", graphs)):
        given = ["--model", str(model), "--input", str(face)]
        assert main(["invert", *given, "--output", str(tmp_path / name)]) == 0
        given += ["--output", str(tmp_path / f"{name}_measured")]
        assert main(["evaluate", *given]) == 0
    a, b = (np.load(tmp_path / n / "latents.npz")["w_plus"] for n in ("own", "other"))
    np.testing.assert_allclose(a, b, atol=1e-4)
    a, b = (
        json.loads((tmp_path / f"{n}_measured/metrics.json").read_text())
        for n in ("own", "other")
    )
    for part in ("w_plus", "refined"):
        ours, theirs = a["unquantised"][part]["mse"], b["unquantised"][part]["mse"]
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert MANIFEST in b["protocol"]["model"]["sha256"]


def test_an_export_says_what_it_cannot(graphs, tmp_path, images):
    exported = sp.load(graphs)
    latents = exported.encode(images)
    without_decode = sp.load(graphs)
    del without_decode._export.programs["decode"]
    for call in (
        lambda: exported.optimize(images, latents, 1),
        lambda: exported.tune(images, latents, 1),
        lambda: exported.save(tmp_path / "model"),
        lambda: exported.params,
        lambda: exported.module,
        lambda: exported.average_image,
        lambda: without_decode.decode(latents),
        lambda: exported.decode(latents, noise_mode="none"),
        lambda: sp.load(graphs, dtype="bfloat16"),
        lambda: export(graphs, tmp_path / "again", format="onnx"),
    ):
        with pytest.raises(StylePrompterError, match="export"):
            call()
    assert not any(tmp_path.iterdir())


def test_a_difference_leaves_nothing(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(StylePrompterError, match=r"program map differs .* nothing was"):
        export(tiny_folder, tmp_path / "faces", format="onnx")
    assert not any(tmp_path.iterdir())


def test_it_replaces_only_an_export(graphs, tiny_folder, tmp_path, capsys):
    call = ["export", str(tiny_folder), "--format", "jax", "--output"]
    assert main([*call, str(graphs)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    (tmp_path / "mine.txt").touch()
    assert main([*call, str(tmp_path), "--overwrite"]) == 1
    assert "not an export" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*call, "x", "--half"])
    assert is_export(graphs) and not is_export(tiny_folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text.replace('"format": "onnx"', '"format": ["onnx"]'),
        lambda text: text.replace("encode.onnx", "../encode.onnx"),
        lambda text: text.replace('"files"', '"file"'),
        lambda text: json.dumps(json.loads(text) | {"programs": None}),
        lambda text: text.replace('"generator": {', '"generators": {'),
        lambda text: json.dumps(json.loads(text) | {"programs": [1]}),
        lambda text: json.dumps(json.loads(text) | {"directions": [1, "a"]}),
        lambda text: "{}",
        lambda text: "",
    ],
)
def test_damaged_manifests_are_refused(change, graphs, tmp_path):
    for path in graphs.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / MANIFEST).unlink()
    (tmp_path / MANIFEST).write_text(change((graphs / MANIFEST).read_text()))
    with pytest.raises(
        StylePrompterError, match=r"(manifest\.json|encode\.onnx) .* again"
    ):
        sp.load(tmp_path)


def test_an_export_that_another_one_overtakes(
    graphs, tiny_folder, tmp_path, monkeypatch
):
    def load(name):
        shutil.copytree(graphs, tmp_path / "faces")  # as another process does
        return sp.load(name)

    monkeypatch.setattr(exporting, "load", load)
    with pytest.raises(StylePrompterError, match=r"faces exists: .*--overwrite"):
        export(tiny_folder, tmp_path / "faces", format="jax")
    files = {path.name for path in (tmp_path / "faces").iterdir()}
    assert files == {path.name for path in graphs.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


def test_a_flipped_bit_is_refused(graphs, tmp_path):
    for path in graphs.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = bytearray((graphs / "map.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "map.onnx").write_bytes(content)
    with pytest.raises(StylePrompterError, match=r"map\.onnx is missing, damaged"):
        sp.load(tmp_path)


def test_only_the_programs_of_the_manifest_run(graphs, tmp_path, images):
    for path in graphs.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    exported = sp.load(tmp_path)
    content = (tmp_path / "encode.onnx").read_bytes()
    (tmp_path / "encode.onnx").write_bytes(content + b"\0")
    with pytest.raises(StylePrompterError, match=r"encode\.onnx is .* replaced"):
        exported.encode(images)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    del manifest["files"]["encode.onnx"]
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(StylePrompterError, match=r"no SHA-256 of encode\.onnx"):
        sp.load(tmp_path)


def test_programs_that_read_files_or_call_other_code(programs, tmp_path):
    x = np.zeros((2, 3), np.float32)
    graph = onnx.load_from_string(to_onnx(lambda x: (x @ WIDE[:3],), {
        "x": jax.ShapeDtypeStruct((2, 3), jnp.float32)}, ["y"]))  # fmt: skip
    onnx.save(graph, tmp_path / "encode.onnx", save_as_external_data=True,
              size_threshold=0, location="secret")  # fmt: skip
    with pytest.raises(StylePrompterError, match="reads other files"):
        onnx_programs.Runtime(tmp_path)("encode", {"x": x})

    foreign = jax.jit(lambda _, x: (jax.ffi.ffi_call("a-b", spec)(x),))
    spec = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    allowed = [jax.export.DisabledSafetyCheck.custom_call("a-b")]
    weights = {"w": spec}
    made = jax.export.export(foreign, disabled_checks=allowed)(weights, spec)
    (tmp_path / "encode.jax").write_bytes(made.serialize())
    (tmp_path / jax_programs.WEIGHTS).write_bytes(
        (programs.folder / jax_programs.WEIGHTS).read_bytes()
    )
    with pytest.raises(StylePrompterError, match="code outside of StableHLO"):
        jax_programs.Runtime(tmp_path)("encode", {"x": x})


def test_files_of_others_in_an_export_stay(graphs, tmp_path):
    app = tmp_path / "app"
    app.mkdir()
    (app / MANIFEST).write_text('{"name": "another application"}')
    with pytest.raises(StylePrompterError, match="is not an export"):
        exporting.check_place(app, overwrite=True)
    ours, new = tmp_path / "ours", tmp_path / "new"
    for folder in (ours, new):
        folder.mkdir()
    (ours / MANIFEST).write_bytes((graphs / MANIFEST).read_bytes())
    (ours / "index.html").touch()
    old = written(ours)
    exporting.check_files(ours, old, new)
    (new / "index.html").touch()
    with pytest.raises(StylePrompterError, match=r"index\.html does not belong"):
        exporting.check_files(ours, old, new)
    exporting.check_files(ours, old | {"index.html"}, new)


def converted(function, *shapes, half=False):
    """The results of JAX and of ONNX Runtime for a batch of 3, and the graph."""
    (batch,) = jax.export.symbolic_shape("batch")
    inputs = {
        f"x{k}": jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
        for k, shape in enumerate(shapes)
    }
    graph = to_onnx(lambda *x: (function(*x),), inputs, ["y"], half=half)
    rng = np.random.default_rng(0)
    given = [rng.standard_normal((3, *s)).astype(np.float32) for s in shapes]
    run = onnxruntime.InferenceSession(graph)
    (made,) = run.run(None, dict(zip(inputs, given, strict=True)))
    return np.asarray(function(*given)), made, onnx.load_from_string(graph).graph


W = np.random.default_rng(5).standard_normal((6, 8)).astype(np.float32)
WIDE = np.random.default_rng(6).standard_normal((64, 64)).astype(np.float32)


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: x[:, 1:, ::2], (4, 6)),
        (lambda x: x[:, :-1].reshape(x.shape[0], -1), (4, 6)),
        (lambda x: x.reshape(x.shape[0] * 2, 3).sum(1), (6,)),
        (lambda x: jnp.swapaxes(x, 1, 2).reshape(x.shape[0], 2, -1), (4, 6)),
        (lambda x: jnp.concatenate([x, jnp.broadcast_to(W, (x.shape[0], 6, 8))], 1),
         (2, 8)),
        (lambda x: jnp.stack([x, 2 * x], 2), (4, 6)),
        (lambda x: jnp.unstack(x, axis=1)[3] + jnp.unstack(x, axis=2)[5][:, :1],
         (4, 6)),
        (lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 0))), (4, 6)),
        (lambda x: jnp.where(x > 0, x, 0.1 * x), (4,)),
        (lambda x: jnp.where(x > 0.5, x, 0.1 * x), (4,)),
        (lambda x: jax.nn.softmax(x @ W) ** 3, (4, 6)),
        (lambda x: jnp.einsum("bij,bkj->bki", x, x + 1), (4, 6)),
        (lambda x: jnp.einsum("bij,kj->bki", x, W[:, :6]), (4, 6)),
        (lambda x: jnp.einsum("bij,bij->b", x, x)[:, None] * x[:, 0], (4, 6)),
        (lambda x: jnp.broadcast_to(x[:, :1], x.shape).sum(1), (4, 6)),
        (lambda x: jnp.maximum(x.max(1), 0) - x.min(1), (4, 6)),
        (lambda x: jnp.tile(x, (1, 2, 1)), (2, 3)),
        (lambda x: jax.lax.conv_transpose(x, W[None, :, :6, None], (2, 2), "VALID",
                                          dimension_numbers=("NHWC", "HWOI", "NHWC")),
         (3, 4, 1)),
    ],
)  # fmt: skip
def test_operations(function, shape):
    expected, made, graph = converted(function, shape)
    assert made.shape == expected.shape
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert not {node.op_type for node in graph.node} & {"Shape", "Gather", "If"}


def test_half_keeps_large_weights_in_float16():
    expected, made, graph = converted(lambda x: x @ WIDE, (64,), half=True)
    kinds = {each.data_type for each in graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    difference = np.abs(made - expected).max()
    assert 0 < difference < 0.05


def test_an_operation_without_a_rule_is_named():
    with pytest.raises(StylePrompterError, match=r"'sort'.*--format jax"):
        converted(lambda x: jnp.sort(x), (4,))


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("GradualStyleEncoder", marks=pytest.mark.slow),
        "ResNetBackboneEncoder",
    ],
)
def test_encoders_of_psp_and_restyle(kind, tiny_variables):
    passes = 2 * kind.startswith("ResNet")
    generator = StylePrompterConfig.from_dict(
        {"encoder": None, "refiner": None, "generator": {
            "type": "stylegan2", "image_size": 32, "channels": [8, 8, 8, 8],
            "z_dim": 16, "w_dim": 16, "mapping_layers": 2}}
    ).generator  # fmt: skip
    encoder = PspConfig(
        kind, 32, 6 if passes else 3, 8, 16, (4, 4, 8, 8), (1, 1, 1, 1), passes=passes
    )
    module = StylePrompter(StylePrompterConfig(encoder, None, generator))
    shapes = [(32, 32, 3)] + [(8, 16)] * bool(passes)
    first = [np.zeros((1, *shape), np.float32) for shape in shapes]
    variables = jax.jit(module.init)(jax.random.key(0), first[0])

    @jax.jit
    def encode(*inputs):
        return module.apply(variables, *inputs, method="encode")[0]

    expected, made, _ = converted(encode, *shapes)
    np.testing.assert_allclose(made, expected, atol=1e-4)
