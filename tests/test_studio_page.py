"""The studio's page in a real browser, with the tiny model."""

import contextlib
import shutil
import socket
import threading

import pytest
from PIL import Image
from studio_user import png

import styleprompter_jax as sp
from styleprompter_jax.images.files import read_size
from styleprompter_jax.web.server import make_app, make_server

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: the extra dev has it"
)
BROWSERS = "chromium", "chromium-browser", "google-chrome"
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed"),
]


@contextlib.contextmanager
def running(app):
    """The address of a server, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = make_server(app)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture(scope="module")
def app(tiny_folder):
    made = make_app(sp.load(tiny_folder))
    made.app.state.studio.begin().join()
    return made


@pytest.fixture(scope="module")
def address(app):
    with running(app) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        with started.chromium.launch(executable_path=BROWSER, args=options) as found:
            yield found


@pytest.fixture
def page(browser, address):
    """The page, which must not complain in the console."""
    with browser.new_context(viewport={"width": 1280, "height": 820}) as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        said = []
        # Chromium reports each answer of 400 and above, which the page expects.
        page.on(
            "console",
            lambda message: (
                said.append(message.text)
                if message.type == "error" and "Failed to load" not in message.text
                else None
            ),
        )
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        yield page
        assert said == []


def opened(page, name="A face.png", seed=0):
    """Uploads a picture and waits for its result."""
    count = page.locator("#tiles .tile").count()
    given = {"name": name, "mimeType": "image/png", "buffer": png(120, 100, seed)}
    page.set_input_files("#files", given)
    page.wait_for_selector(f"#tiles .cell:nth-child({count + 1}) img[src^=blob]")
    return settled(page)


def settled(page):
    """The address of the result when nothing changes any more."""
    page.wait_for_selector("#frame[aria-busy=false] #after[src^=blob]")
    return page.get_attribute("#after", "src")


def saved(page, button, path):
    with page.expect_download() as download:
        page.click(button)
    download.value.save_as(path)
    return download.value.suggested_filename


def move(page, name, value):
    page.locator(f".slider[data-name='{name}'] input").fill(str(value))


def test_a_picture_is_edited_and_downloaded(page, tmp_path):
    first = opened(page)
    move(page, "smile", 1.5)
    edited = settled(page)
    assert edited != first and page.inner_text(".moved-count >> nth=0") == "1 moved"
    page.keyboard.press("Control+z")
    assert page.input_value(".slider[data-name=smile] input") == "0"
    page.keyboard.press("Control+Shift+Z")
    assert page.input_value(".slider[data-name=smile] input") == "1.5"
    settled(page)
    page.check("input[value=compare]", force=True)
    page.locator("#compare").fill("20")
    assert page.is_visible("#edge")
    # By search, and reset.
    page.keyboard.press("Escape")
    page.fill("#search", "ha")
    assert page.is_hidden(".slider[data-name=smile]")
    page.fill("#search", "")
    # Presets stay.
    page.click("#store")
    page.fill("#preset-name", "<b>Mine</b>")
    page.click("#naming button[value=save]")
    page.click("#reset")
    assert page.input_value(".slider[data-name=smile] input") == "0"
    page.select_option("#presets", label="<b>Mine</b>")
    assert page.input_value(".slider[data-name=smile] input") == "1.5"
    settled(page)
    # Downloads.
    page.click("#save")
    name = saved(page, "#save-png", tmp_path / "a.png")
    assert name == "A_face.png" and read_size(tmp_path / "a.png") == (32, 32)
    saved(page, "#save-photo", tmp_path / "photo.png")
    assert read_size(tmp_path / "photo.png") == (120, 100)
    saved(page, "#save-latents", tmp_path / "a.npz")
    assert sp.Latents.load(tmp_path / "a.npz").w_plus.shape == (1, 8, 16)
    page.fill("#frames", "3")
    saved(page, "#save-sweep", tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 4
    page.click("#saving button.main")
    page.click("#code")
    page.wait_for_selector("#coding[open]")
    assert "sp.load(" in page.inner_text("#python")
    assert "styleprompter edit" in page.inner_text("#command")
    page.keyboard.press("Escape")


def test_align_by_hand_mix_and_nobody(page):
    first = opened(page)
    page.click("#align")
    point = page.locator(".point").first
    point.wait_for()
    box = point.bounding_box()
    page.mouse.move(box["x"] + 14, box["y"] + 14)
    page.mouse.down()
    page.mouse.move(box["x"] + 34, box["y"] + 24, steps=4)
    page.mouse.up()
    before = point.get_attribute("aria-label")
    point.press("Shift+ArrowLeft")
    assert point.get_attribute("aria-label") != before
    page.click("#cut")
    page.wait_for_selector("#aligning", state="hidden")
    aligned = settled(page)
    assert aligned != first
    # Somebody who never was takes codes of the first.
    page.click("#add")
    page.click("#draw")
    page.wait_for_selector("#tiles .cell:nth-child(2) img[src^=blob]")
    alone = settled(page)
    page.click("#tab-mix")
    page.click("#mix .tile >> nth=1")
    page.click("#mix button:text-is('All')")
    assert settled(page) != alone
    assert page.locator(".layer:checked").count() == 8
    # The refiner is for pictures alone.
    page.click("#tab-more")
    assert page.is_disabled("#refine")
    page.click("#tiles .tile >> nth=0")
    page.uncheck("#refine")
    assert settled(page) != aligned


def test_fits_have_progress_and_an_end(page):
    first = opened(page)
    page.click("#tab-more")
    page.fill("#steps", "1000")
    page.click("#fit")
    page.click("#fit-progress button")
    page.wait_for_selector("#fit-progress progress", state="detached")
    page.fill("#steps", "2")
    page.click("#fit")
    page.wait_for_selector("#undo:enabled")
    assert settled(page) != first
    page.click("#undo")
    page.wait_for_selector("#redo:enabled")


def test_what_the_server_forgot_is_brought_again(page, address):
    opened(page)
    page.evaluate("() => sessionStorage.setItem('styleprompter-client', 'gone')")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    opened(page, seed=1)
    assert page.locator("#tiles .tile").count() == 1


def test_pictures_that_are_none_are_told_of(page):
    given = {"name": "<img src=x onerror=alert(1)>.png", "mimeType": "image/png"}
    page.set_input_files("#files", given | {"buffer": b"no picture"})
    note = page.wait_for_selector(".note p")
    assert note.inner_text().startswith(f"{given['name']}: The image cannot be read")
    assert page.is_visible("#welcome")


def test_nothing_stands_in_the_way(browser, address, tmp_path):
    """Of those who use a keyboard or a screen reader; as far as axe-core sees it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for scheme, width in (("light", 1280), ("dark", 390)):
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme=scheme,
            bypass_csp=True,  # axe is put into the page
        )
        with context:
            page = context.new_page()
            page.goto(address)
            page.wait_for_selector("body[data-ready]")
            for step in ("", "open", "#tab-more", "#save"):
                if step == "open":
                    opened(page)
                elif step:
                    page.click(step)
                found = axe.run(page).response["violations"]
                bad = [v for v in found if v["impact"] in ("serious", "critical")]
                assert not bad, [(v["id"], v["nodes"][0]["html"]) for v in bad]
            sides = page.evaluate("() => [document.body.scrollWidth, innerWidth]")
            assert sides[0] <= sides[1]  # nothing runs out at the side
