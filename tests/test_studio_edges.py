"""The studio's page at its edges: early files, lost photographs, and odd models."""

import numpy as np
import pytest
from conftest import TINY, random_variables
from studio_user import png
from test_studio_gallery import held
from test_studio_page import (  # noqa: F401
    address,
    app,
    browser,
    move,
    opened,
    page,
    pytestmark,
    running,
    settled,
)
from test_studio_static import IMPOSSIBLE

import styleprompter_jax as sp
from styleprompter_jax.editing.directions import Direction
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.models.refiners.smart import SmartConfig
from styleprompter_jax.web.server import make_app

DROPPED = """([bytes, ...names]) => {
  const data = new DataTransfer();
  for (const name of names) {
    const type = name.endsWith(".png") ? "image/png" : "";
    data.items.add(new File([new Uint8Array(bytes)], name, { type }));
  }
  return data;
}"""


@pytest.fixture
def begin(browser):  # noqa: F811
    """Opens the page of a model."""
    with browser.new_context() as context:
        servers = []

        def open_page(model):
            servers.append(running(make_app(model)))
            page = context.new_page()
            page.set_default_timeout(60_000)
            page.goto(servers[-1].__enter__())
            page.wait_for_selector("body[data-ready]")
            return page

        yield open_page
        for server in servers:
            server.__exit__(None, None, None)


def drop(page, *names):  # noqa: F811
    """Drops files of these names, which all hold an image, on the page."""
    data = page.evaluate_handle(DROPPED, [list(png()), *names])
    page.dispatch_event("body", "drop", {"dataTransfer": data})


def test_files_before_the_page_is_ready(page):  # noqa: F811
    with held(page, "**/api/model"):
        page.reload()
        drop(page, "A.png")
        note = page.wait_for_selector(".note p")
        assert note.inner_text().startswith("The model is not loaded: wait a moment")
    page.wait_for_selector("body[data-ready]")
    assert page.is_visible("#welcome")
    drop(page, "A.png")
    page.wait_for_selector("#tiles img[src^=blob]")


def test_code_can_be_copied_without_a_clipboard(page):  # noqa: F811
    """Pages without HTTPS have none."""
    opened(page)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.click("#code")
    page.click("[data-copy=python]")
    assert page.inner_text("[data-copy=python]") == "Selected: press Ctrl+C"
    assert page.evaluate("getSelection().toString()").startswith("import")


def test_refused_files_are_named(page):  # noqa: F811
    opened(page)
    page.click("#save")
    drop(page, "notes.txt", "B.png", "C.heic")  # browsers know no type of .heic
    note = page.wait_for_selector(".note p")
    assert "cannot open notes.txt, C.heic:" in note.inner_text()
    # The dialog would hide the note, and belongs to another image.
    assert page.is_hidden("#saving")
    page.wait_for_selector("#tiles .cell:nth-child(2) img[src^=blob]")
    page.click(".note button")
    drop(page, "notes.txt")
    page.wait_for_selector(".note p")
    assert page.locator("#tiles .tile").count() == 2


PASTED = """(bytes) => {
  const clipboardData = new DataTransfer();
  const file = new File([new Uint8Array(bytes)], "A.png", { type: "image/png" });
  clipboardData.items.add(file);
  clipboardData.setData("text", "smile");
  const how = { clipboardData, bubbles: true, cancelable: true };
  return document.activeElement.dispatchEvent(new ClipboardEvent("paste", how));
}"""


def test_a_field_takes_a_text_with_its_image(page):  # noqa: F811
    opened(page)
    page.focus("#search")
    assert page.evaluate(PASTED, list(png()))  # the browser goes on
    page.focus("#tab-edit")
    assert not page.evaluate(PASTED, list(png()))
    page.wait_for_selector("#tiles .cell:nth-child(2) img[src^=blob]")
    assert page.locator("#tiles .tile").count() == 2


def test_a_forgotten_photograph_is_sent_again(page, app):  # noqa: F811
    first = opened(page)
    key = page.evaluate("() => sessionStorage.getItem('styleprompter-client')")
    client = app.app.state.studio.clients.find(key)

    def forget():
        while client.used:
            client.drop_oldest()

    forget()
    page.click("#align")
    page.wait_for_selector("#aligning[open]")
    page.locator(".point").first.press("Shift+ArrowLeft")
    forget()
    page.click("#cut")
    page.wait_for_selector("#aligning", state="hidden")
    assert settled(page) != first
    assert page.locator(".note").count() == 0


def test_points_of_no_face_change_nothing(page):  # noqa: F811
    first = opened(page)
    page.click("#align")
    point = page.locator(".point").first
    for _ in range(5):  # beyond the other eye
        point.press("Shift+ArrowRight")
    page.click("#cut")
    page.wait_for_selector("#aligning-error:not(:empty)")
    assert page.inner_text("#aligning-error") == IMPOSSIBLE
    assert settled(page) == first
    for _ in range(5):
        point.press("Shift+ArrowLeft")
    page.click("#cut")
    page.wait_for_selector("#aligning", state="hidden")
    assert settled(page) != first


def test_points_lie_under_the_pointer(page):  # noqa: F811
    opened(page)
    page.click("#align")
    photo, point = page.locator("#photo"), page.locator(".point").first
    point.wait_for()
    for place, box in ((0, point.bounding_box()), (1, photo.bounding_box())):
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(*middle)
        (page.mouse.up if place else page.mouse.down)()
    with page.expect_request("**/api/align") as asked:
        page.click("#cut")
    # The photograph has 120 x 100 pixels.
    x, y = asked.value.post_data_json["points"][0]
    assert (x, y) == pytest.approx((59.5, 49.5), abs=0.2)
    page.wait_for_selector("#aligning", state="hidden")
    page.click("#align")
    point.wait_for()
    box = point.bounding_box()
    there = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    assert there == pytest.approx(middle, abs=1)


def test_arrow_keys_leave_out_a_tab_that_is_hidden(begin):
    config = StylePrompterConfig(None, None, TINY.generator)
    page = begin(sp.StylePrompter(config, random_variables(config)))  # noqa: F811
    page.click("#invent")
    settled(page)
    assert page.is_hidden("#tab-more")
    page.locator("#tab-edit").focus()
    for name in ("mix", "edit"):
        page.keyboard.press("ArrowLeft")
        assert page.evaluate("() => document.activeElement.id") == f"tab-{name}"


def test_sliders_over_small_ranges(begin, tiny_folder, monkeypatch):
    monkeypatch.setattr(SmartConfig, "options", {"beta": (0.0042123, 1.0)})
    model = sp.load(tiny_folder)
    vector = 1000 * np.random.default_rng(0).standard_normal(16)
    fine = Direction(vector, range=(0.002, 0.004), beta=(0.0042123, 3.0))
    model.directions = {"fine": fine}
    page = begin(model)  # noqa: F811
    first = opened(page)
    page.select_option("#presets", label="Surprise me")
    assert settled(page) != first
    strength = float(page.input_value(".slider[data-name=fine] input"))
    assert 0.0016 <= strength <= 0.0032
    page.click("#tab-more")
    sliders = [page.locator(f"input[aria-label='Beta {k}']") for k in (1, 2)]
    assert [one.input_value() for one in sliders] == ["0.00421", "3"]
    assert [one.get_attribute("max") for one in sliders] == ["0.00843", "6"]
    assert page.locator("#more .slider.moved").count() == 1  # the direction asks for 3
    before = settled(page)
    sliders[0].fill("0.0001")
    changed = settled(page)
    assert changed != before
    page.locator("#refine").uncheck()  # it leaves out its options, too
    assert settled(page) != changed
    assert page.locator(".note").count() == 0
