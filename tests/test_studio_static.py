"""The page of `styleprompter export --format web` in a browser, with the tiny model."""

import contextlib
import functools
import http.server
import os
import re
import shutil
import threading

import numpy as np
import pytest
from conftest import TINY, random_variables
from test_studio_page import BROWSER, browser, move, opened, saved, settled  # noqa: F401

import styleprompter_jax as sp
from styleprompter_jax.cli import main
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.images.align import align, crop_quad
from styleprompter_jax.images.files import write_images
from styleprompter_jax.web.runtime_files import FILES, runtime_files
from styleprompter_jax.web.static import export_page
from styleprompter_jax.web.things import as_file

RUNTIME = os.environ.get("ONNXRUNTIME_WEB", "")
pytest.importorskip("onnxruntime")


IMPOSSIBLE = (
    "The positions of eyes and mouth are impossible for a face: put the eye on the "
    "left of the image first."
)
# Aligns impossible faces, reads a transparent image, crops beyond a white photograph,
# takes the middle of an odd number of rows, shrinks fine stripes, and opens an image of
# them that is wider than the page keeps.
ON_IMAGES = """async () => {
  const { checked, quad } = await import("./quad.js");
  const { brought, cropped, middle, toPixels } = await import("./images.js");
  const refused = (points) => {
    try { checked(points, quad(points), { width: 64, height: 64 }); } catch (error) {
      return error.message;
    }
    return "taken";
  };
  const ends = (canvas) => {
    const values = toPixels(canvas);
    return [Math.min, Math.max].map((most) => values.reduce((a, b) => most(a, b)));
  };
  const canvas = (width, height, fill) => {
    const made = new OffscreenCanvas(width, height);
    if (fill) fill(made.getContext("2d"));
    return made;
  };
  const white = canvas(64, 64, (context) => {
    context.fillStyle = "white";
    context.fillRect(0, 0, 64, 64);
  });
  const corners = [[-20, -30], [-20, 50], [60, 50], [60, -30]];
  const rows = canvas(4, 5, (context) => {
    for (let k = 0; k < 5; k += 1) {
      context.fillStyle = `rgb(${20 * (k + 1)} 0 0)`;
      context.fillRect(0, k, 4, 1);
    }
  });
  const board = canvas(1024, 1024, (context) => {
    context.fillStyle = "white";
    context.fillRect(0, 0, 1024, 1024);
    context.fillStyle = "black";
    for (let k = 0; k < 1024; k += 2) context.fillRect(k, 0, 1, 1024);
  });
  const grey = ([low, high]) => low > -0.1 && high < 0.1;
  const wide = canvas(10000, 64, (context) => {
    context.fillStyle = "white";
    context.fillRect(0, 0, 10000, 64);
    context.fillStyle = "black";
    for (let k = 0; k < 10000; k += 2) context.fillRect(k, 0, 1, 64);
  });
  return {
    upside: refused([[20, 40], [40, 40], [30, 30], [24, 20], [36, 20]]),
    equal: refused(Array(5).fill([30, 30])),
    clear: ends(await brought(await canvas(8, 8, () => {}).convertToBlob())),
    border: ends(cropped(white, corners, 32, 32)),
    rows: [0, 12].map((k) => (toPixels(middle(rows, 4, 2))[k] + 1) * 127.5)
      .map(Math.round),
    checks: grey(ends(middle(board, 16, 16))),
    wide: grey(ends(await brought(await wide.convertToBlob()))),
  };
}"""


PIXELS = "[...toPixels(cut)].map((value) => Math.round((value + 1) * 127.5))"
# Opens a photograph and aligns it by its points.
ALIGNED = """async ([file, points]) => {
  const api = await import("./api.js");
  const { brought, toPixels } = await import("./images.js");
  await api.facts();
  const { picture } = await api.upload(new Blob([new Uint8Array(file)]));
  const aligned = await api.align({ picture, points });
  const cut = await brought(await api.picture(aligned.picture));
  return PIXELS;
}""".replace("PIXELS", PIXELS)
# Crops far beyond a photograph, pixel by pixel.
BEYOND = """async (file) => {
  const { brought, cropped, toPixels } = await import("./images.js");
  const photo = await brought(new Blob([new Uint8Array(file)]));
  const cut = cropped(photo, [[-11, -10], [-11, 22], [21, 22], [21, -10]], 32, 32);
  return PIXELS;
}""".replace("PIXELS", PIXELS)


@contextlib.contextmanager
def served(folder, headers=()):
    """The address of a folder on a web server that only sends files."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        # As the default types of nginx have it.
        def guess_type(self, path):
            kind = super().guess_type(path)
            return "application/octet-stream" if path.endswith(".mjs") else kind

        def end_headers(self):
            for name, value in dict(headers).items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/index.html"
        finally:
            server.shutdown()
            thread.join(20)


in_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed"),
    pytest.mark.skipif(not RUNTIME, reason="ONNXRUNTIME_WEB names no npm package"),
]


def marked(test):
    """Marks a test that opens an exported page."""
    return functools.reduce(lambda made, mark: mark(made), in_browser, test)


@pytest.fixture(scope="module")
def site(tiny_folder, tmp_path_factory):
    """The folder of an exported page, and its model."""
    # JavaScript has the key "7" of an object before the others.
    model = sp.load(tiny_folder)
    model.directions["7"] = Direction(np.full(16, -1.0), range=(-1.125, 1.125))
    folder = tmp_path_factory.mktemp("exported")
    model.save(folder / "model")
    call = ["export", str(folder / "model"), "--format", "web", "--runtime", RUNTIME]
    assert main([*call, "--output", str(folder / "site")]) == 0
    return folder / "site", model


def assert_smiles(model, face, made):
    """The file that the page made is the model's edit of a face."""
    latents = model.encode(sp.read_images([face], 32))
    expected = model.decode(latents.edit(model.directions["smile"], 1.5))
    pixels = sp.read_images([made], 32)
    np.testing.assert_allclose(pixels, np.clip(expected, -1, 1), atol=2.5 / 255)


@marked
def test_the_model_runs_in_the_browser(browser, site, tmp_path):  # noqa: F811
    folder, model = site
    with served(folder) as address, browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        said: list = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "console",
            lambda m: said.append(m.text) if m.type == "error" else None,
        )
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        # The result is that of the model: 32 px are what it reads.
        face = tmp_path / "face.png"
        pixels = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3))
        write_images(pixels, [face])
        page.set_input_files("#files", face)
        settled(page)
        move(page, "smile", 1.5)
        settled(page)
        page.click("#save")
        saved(page, "#save-png", tmp_path / "a.png")
        assert page.is_hidden("#animation") and page.is_hidden("#save-photo")
        page.click("#saving button.main")
        assert_smiles(model, face, tmp_path / "a.png")
        assert page.locator(".slider.moved").count() == 1  # smile alone
        assert page.evaluate(ON_IMAGES) == {
            "upside": IMPOSSIBLE,
            "equal": IMPOSSIBLE,
            "clear": [1, 1],
            "border": [1, 1],
            "rows": [40, 60],
            "checks": True,
            "wide": True,
        }
        first = opened(page)
        move(page, "smile", 1.5)
        edited = settled(page)
        assert edited != first
        page.check("input[value=compare]", force=True)
        assert page.is_visible("#edge")
        page.keyboard.press("Escape")
        page.click("#align")
        page.locator(".point").first.press("Shift+ArrowLeft")
        page.click("#cut")
        page.wait_for_selector("#aligning", state="hidden")
        assert settled(page) != edited
        page.click("#add")
        page.click("#draw")
        page.wait_for_selector("#tiles .cell:nth-child(3) img[src^=blob]")
        alone = settled(page)
        page.click("#tab-mix")
        page.click("#mix .tile >> nth=1")
        page.click("#mix button:text-is('All')")
        assert settled(page) != alone
        page.click("#tiles .tile >> nth=1")
        page.click("#tab-more")
        axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
        found = axe.run(page).response["violations"]
        assert not [v["id"] for v in found if v["impact"] in ("serious", "critical")]
        assert page.locator("#fitting").count() == 0 and page.is_hidden("#code")
        before = settled(page)
        page.uncheck("#refine")
        assert settled(page) != before
        assert said == []


@marked
def test_crops_are_those_of_python(browser, site):  # noqa: F811
    """Waves of six pixels make half a pixel a mean error of 17 levels."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :84]
    waves = np.stack([np.sin(x + c) + np.sin(y - c) for c in range(3)], -1)
    photo = np.rint(127.5 + 60 * waves).astype(np.uint8)
    points = np.array([[34, 32], [45, 33], [39, 39], [35, 45], [44, 46]])
    small = rng.integers(0, 255, (5, 4, 3), np.uint8)
    with served(site[0]) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        given = [list(as_file(photo, "png")), points.tolist()]
        made = np.array(page.evaluate(ALIGNED, given)).reshape(32, 32, 3)
        beyond = page.evaluate(BEYOND, list(as_file(small, "png")))

    def error(shift):
        expected = align(photo, crop_quad(points + np.array(shift)), 32)
        return np.abs(made - expected).mean()

    assert error([0, 0]) < 4
    for shift in ([0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]):
        assert error(shift) > 4, shift
    # A photograph of 4 x 5 pixels from 11 pixels on the left to 17 on the right.
    expected = np.pad(small, ((10, 17), (11, 17), (0, 0)), "reflect")
    np.testing.assert_array_equal(np.reshape(beyond, (32, 32, 3)), expected)


@marked
def test_caches_give_the_newest_export(browser, site, tmp_path):  # noqa: F811
    first, _ = site
    folder, face = tmp_path / "site", tmp_path / "face.png"
    shutil.copytree(first, folder)
    write_images(np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)), [face])
    other = sp.StylePrompter(TINY, random_variables(TINY, seed=1))
    other.save(tmp_path / "other")
    kept = {"Cache-Control": "max-age=3600"}
    with served(folder, kept) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        page.set_input_files("#files", face)
        settled(page)
        how = dict(runtime=RUNTIME, overwrite=True)
        export_page(tmp_path / "other", folder, **how)
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        assert "other" in page.inner_text("#model")
        page.set_input_files("#files", face)
        settled(page)
        page.click("#save")
        saved(page, "#save-png", tmp_path / "a.png")
    expected = other.decode(other.encode(sp.read_images([face], 32)))
    made = sp.read_images([tmp_path / "a.png"], 32)
    np.testing.assert_allclose(made, np.clip(expected, -1, 1), atol=2.5 / 255)


# Chromium's GPU in software stands for a real one.
REAL = """Object.defineProperty(
    GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });"""
LOST = "GPUAdapter.prototype.requestDevice = () => Promise.reject(Error('lost'));"


@marked
@pytest.mark.parametrize(
    "script, used",
    [(REAL, "webgpu"), (REAL + LOST, "wasm"), ("", "wasm")],
    ids=["gpu", "lost", "software"],
)
def test_the_model_runs_on_the_gpu(browser, site, tmp_path, script, used):  # noqa: F811
    """The page uses a real GPU that works, and the processor in place of others."""
    gpu = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
    gpu += ["--enable-features=Vulkan", "--no-sandbox", "--disable-dev-shm-usage"]
    folder, model = site
    face, asked, said = tmp_path / "face.png", [], []
    write_images(np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)), [face])
    with (
        browser.browser_type.launch(executable_path=BROWSER, args=gpu) as other,
        served(folder) as address,
    ):
        page = other.new_page()
        page.set_default_timeout(240_000)  # a GPU in software is slow
        page.add_init_script(script)
        page.on("request", lambda request: asked.append(request.url))
        page.on(
            "console",
            lambda m: said.append(m.text) if m.type == "error" else None,
        )
        page.goto(address)
        page.set_input_files("#files", face)
        settled(page)
        move(page, "smile", 1.5)
        settled(page)
        page.click("#save")
        saved(page, "#save-png", tmp_path / "a.png")
    fetched = [name for name in ("webgpu", "wasm") if f"ort.{name}.min" in str(asked)]
    assert fetched == [used] and said == []
    assert_smiles(model, face, tmp_path / "a.png")


def test_packages_of_the_runtime(tmp_path):
    for wrong in (tmp_path, tmp_path / "x.tgz"):
        if wrong.suffix:
            wrong.write_bytes(b"no package")
        with pytest.raises(StylePrompterError, match=re.escape(str(wrong))):
            runtime_files(wrong)
    (tmp_path / "dist").mkdir()
    for name in FILES:
        (tmp_path / "dist" / name).write_text(name)
    assert runtime_files(tmp_path).keys() == set(FILES)


def test_the_runtime_is_for_the_page(capsys):
    with pytest.raises(SystemExit):
        main(["export", "m", "--format", "onnx", "--output", "x", "--runtime", "y"])
    assert "--runtime is for --format web" in capsys.readouterr().err
