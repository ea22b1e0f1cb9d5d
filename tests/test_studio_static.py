"""The page of `styleprompter export --format web` in a browser, with the tiny model."""

import contextlib
import functools
import http.server
import os
import re
import threading

import numpy as np
import pytest
from test_studio_page import BROWSER, browser, move, opened, saved, settled  # noqa: F401

import styleprompter_jax as sp
from styleprompter_jax.cli import main
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.images.files import write_images
from styleprompter_jax.web.runtime_files import FILES, runtime_files

RUNTIME = os.environ.get("ONNXRUNTIME_WEB", "")
pytest.importorskip("onnxruntime")


@contextlib.contextmanager
def served(folder):
    """The address of a folder on a web server that only sends files."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()
        thread.join(20)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
@pytest.mark.skipif(not RUNTIME, reason="ONNXRUNTIME_WEB names no npm package")
def test_the_model_runs_in_the_browser(browser, tiny_folder, tmp_path):  # noqa: F811
    # JavaScript has the key "7" of an object before the others.
    model = sp.load(tiny_folder)
    model.directions["7"] = Direction(np.full(16, -1.0), range=(-1, 1))
    model.save(tmp_path / "model")
    folder = tmp_path / "site"
    call = ["export", str(tmp_path / "model"), "--format", "web", "--runtime", RUNTIME]
    assert main([*call, "--output", str(folder)]) == 0
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
        latents = model.encode(sp.read_images([face], 32))
        expected = model.decode(latents.edit(model.directions["smile"], 1.5))
        made = sp.read_images([tmp_path / "a.png"], 32)
        np.testing.assert_allclose(made, np.clip(expected, -1, 1), atol=2.5 / 255)
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
