"""The studio's page with several images, and answers that come late."""

import contextlib

import pytest
from studio_user import png
from test_restyle import model_of
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

from styleprompter_jax.web.server import make_app
from styleprompter_jax.web.things import Codes

# A stream of events that ends, or breaks off, before its job is over.
BROKEN = """(breaks) => {
  const { fetch } = window;
  window.fetch = (path, how) => {
    if (!path.endsWith("/events")) return fetch(path, how);
    const told = 'data: {"state": "running", "done": 1, "total": 2}\\n\\n';
    let count = 0;
    return Promise.resolve(new Response(new ReadableStream({
      pull(stream) {
        count += 1;
        if (count === 1) stream.enqueue(new TextEncoder().encode(told));
        else if (breaks) stream.error(new TypeError("network error"));
        else stream.close();
      },
    })));
  };
}"""
PASSES = "The number of passes is a whole number from 1 to 100."
FOCUSED = "() => document.activeElement.getAttribute('aria-label')"


@contextlib.contextmanager
def held(page, path):  # noqa: F811
    """Holds the requests to a path until the block ends."""
    requests = []
    page.route(path, lambda request: requests.append(request))
    try:
        yield
    finally:
        for request in requests:
            request.continue_()
        page.unroute(path)


def tile(page, number):  # noqa: F811
    return page.locator("#tiles .tile").nth(number)


def shown(page, number):  # noqa: F811
    """Chooses an image; returns the addresses of its small image before and after."""
    before = tile(page, number).locator("img").get_attribute("src")
    tile(page, number).click()
    settled(page)
    return before, tile(page, number).locator("img").get_attribute("src")


def started(page, button):  # noqa: F811
    """Starts a fit of two steps, and returns when its progress is asked for."""
    page.click("#tab-more")
    page.fill("#steps", "2")
    with page.expect_request("**/events"):
        page.click(button)


def test_a_look_that_changed_elsewhere_is_drawn(page):  # noqa: F811
    opened(page, "A.png")
    opened(page, "B.png", 1)
    # A fit ends while another image is shown.
    tile(page, 0).click()
    with held(page, "**/events"):
        started(page, "#fit")
        shown(page, 1)
    page.wait_for_selector("#status:text-is('Fitting is done.')", state="attached")
    before, after = shown(page, 0)
    assert after != before
    # A copy is made while a frame is on its way and the next one waits.
    page.click("#tab-edit")
    with held(page, "**/api/decode"):
        with page.expect_request("**/api/decode"):
            move(page, "smile", 1)
        move(page, "smile", 2)
        page.click("#keep")
    settled(page)
    before, after = shown(page, 0)
    assert after != before
    # What an image was mixed with is removed while the copy is shown.
    page.click("#tab-mix")
    page.click("#mix .tile >> nth=1")
    settled(page)
    shown(page, 2)
    page.click(".close >> nth=1")
    before, after = shown(page, 0)
    assert after != before
    # What is as it was is not drawn again.
    before, after = shown(page, 1)
    assert after == before


def test_only_what_the_server_forgot_is_made_again(page, app):  # noqa: F811
    opened(page, "A.png")
    opened(page, "B.png", 1)
    tile(page, 0).click()
    started(page, "#fit")
    page.wait_for_selector("#undo:enabled")
    settled(page)
    key = page.evaluate("() => sessionStorage.getItem('styleprompter-client')")
    client = app.app.state.studio.clients.find(key)
    asked = []

    def hear(request):
        if request.url.endswith("/api/decode"):
            asked.append(request.post_data_json["recipe"])

    page.on("request", hear)
    page.click("#tab-edit")
    move(page, "smile", 1)
    settled(page)
    fitted = asked[-1]["latents"]
    while len(client.all_of(Codes)) > 1:  # the fitted ones were used last
        client.drop_oldest()
    page.click("#tab-mix")
    page.click("#mix .tile >> nth=1")
    settled(page)
    assert asked[-1]["latents"] == fitted and asked[-1]["mix"]
    assert page.locator(".note").count() == 0
    while client.used:
        client.drop_oldest()
    page.click("#tab-edit")
    move(page, "smile", 2)
    note = page.wait_for_selector(".note p")
    assert note.inner_text() == "The fitted codes of A.png were forgotten: fit again."
    settled(page)
    assert asked[-1]["latents"] != fitted and asked[-1]["edits"] == {"smile": 2}
    assert page.locator(".note").count() == 1


def test_what_was_cancelled_or_replaced_counts_no_more(page):  # noqa: F811
    first = opened(page)
    before = page.get_attribute("#before", "src")
    with page.expect_response("**/api/pictures/*"):
        page.click("#align")
    page.locator(".point").first.press("Shift+ArrowLeft")
    # The page asks for the cropped image after the codes.
    with page.expect_response("**/api/pictures/*"), held(page, "**/api/encode"):
        with page.expect_request("**/api/encode"):
            page.click("#cut")
        assert page.is_disabled("#cut") and page.is_disabled("#middle")
        page.keyboard.press("Escape")
        page.wait_for_selector("#aligning", state="hidden")
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert page.get_attribute("#before", "src") == before and settled(page) == first
    # A fit of the crop before ends after the photograph is aligned anew.
    with held(page, "**/events"):
        started(page, "#fit")
        page.click("#align")
        page.locator(".point").first.press("Shift+ArrowLeft")
        page.click("#cut")
        page.wait_for_selector("#aligning", state="hidden")
    note = page.wait_for_selector(".note p")
    assert note.inner_text() == "A face.png was encoded anew meanwhile: fit again."
    assert page.get_attribute("#before", "src") != before and settled(page) != first
    assert page.is_disabled("#undo")


def test_undo_brings_no_codes_of_another_crop(page):  # noqa: F811
    opened(page)
    before = page.get_attribute("#before", "src")
    started(page, "#fit")
    page.wait_for_selector("#undo:enabled")
    page.click("#undo")  # and so there are codes to redo
    page.wait_for_selector("#redo:enabled")
    started(page, "#fit")
    page.wait_for_selector("#redo:disabled")
    page.click("#align")
    page.locator(".point").first.press("Shift+ArrowLeft")
    page.click("#cut")
    page.wait_for_selector("#aligning", state="hidden")
    aligned = settled(page)
    assert page.get_attribute("#before", "src") != before
    assert page.is_disabled("#undo") and page.is_disabled("#redo")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+Shift+Z")
    assert settled(page) == aligned
    # The history goes on from here.
    page.click("#tab-edit")
    move(page, "smile", 1)
    assert settled(page) != aligned
    page.keyboard.press("Control+z")
    assert page.input_value(".slider[data-name=smile] input") == "0"
    assert page.is_disabled("#undo")


def test_the_end_of_a_mix_is_a_step_of_its_own(page):  # noqa: F811
    opened(page, "A.png")
    opened(page, "B.png", 1)
    tile(page, 0).click()
    page.click("#tab-mix")
    page.click("#mix .tile >> nth=1")
    mixed = settled(page)
    page.click(".close >> nth=1")
    alone = settled(page)
    assert alone != mixed
    page.click("#tab-edit")
    move(page, "smile", 1)
    settled(page)
    page.click("#undo")
    assert page.input_value(".slider[data-name=smile] input") == "0"
    settled(page)
    # The mix comes back, and its image, which was removed, is made again.
    with (
        page.expect_request("**/api/encode"),
        page.expect_request("**/api/decode") as found,
    ):
        page.click("#undo")
    settled(page)
    assert found.value.post_data_json["recipe"]["mix"]["latents"]
    page.click("#undo")  # the mix itself
    settled(page)
    page.click("#redo")
    settled(page)
    assert page.is_enabled("#redo") and page.locator(".note").count() == 0


def test_a_mix_is_redone_without_its_image(page):  # noqa: F811
    opened(page, "A.png")
    opened(page, "B.png", 1)
    tile(page, 0).click()
    page.click("#tab-mix")
    with page.expect_request("**/api/decode") as first:
        page.click("#mix .tile >> nth=1")
    settled(page)
    page.click("#undo")
    settled(page)
    page.click(".close >> nth=1")
    with page.expect_request("**/api/decode") as again:
        page.click("#redo")
    settled(page)
    old, new = (one.value.post_data_json["recipe"] for one in (first, again))
    assert old["latents"] == new["latents"]
    assert old["mix"]["latents"] != new["mix"]["latents"]  # those are gone
    assert page.locator(".note").count() == 0


@pytest.mark.parametrize("breaks", [True, False], ids=["breaks", "ends"])
def test_the_server_ends_during_a_fit(page, breaks):  # noqa: F811
    opened(page)
    page.evaluate(BROKEN, breaks)
    page.click("#tab-more")
    page.fill("#steps", "2")
    page.click("#fit")
    note = page.wait_for_selector(".note p")
    assert note.inner_text() == "The server no longer answers."
    assert page.is_enabled("#fit") and page.is_hidden("#fit-progress")


def test_refused_passes_are_not_kept(browser):  # noqa: F811
    model = model_of("ResNetProgressiveBackboneEncoder", 6, passes=1)
    with running(make_app(model)) as found, browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(found)
        page.wait_for_selector("body[data-ready]")
        first = opened(page)
        page.click("#tab-more")
        for passes in ("101", "-3"):
            page.fill("#passes", passes)
            page.click("#encode")
            note = page.wait_for_selector(".note p")
            assert note.inner_text() == PASSES
            page.click(".note button")
        page.click("#align")
        page.click("#middle")
        page.wait_for_selector("#aligning", state="hidden")
        again = settled(page)
        assert again != first
        page.fill("#passes", "2")
        page.click("#encode")
        page.wait_for_selector("#encode:enabled")
        assert settled(page) != again


def test_the_keyboard_keeps_its_place(page):  # noqa: F811
    for name in ("A.png", "B.png", "C.png"):
        opened(page, name)
    # Tiles, while frames arrive.
    tile(page, 0).focus()
    page.keyboard.press("Enter")
    move(page, "smile", 1)
    tile(page, 0).focus()
    settled(page)
    assert page.evaluate(FOCUSED) == "A.png"
    page.keyboard.press("Delete")
    assert page.locator("#tiles .tile").count() == 2
    assert page.evaluate(FOCUSED) == "C.png"
    # The others of a mix.
    opened(page, "D.png")
    page.click("#tab-mix")
    page.locator("#mix input[type=radio]").first.focus()
    for name in ("B.png", "C.png"):
        page.keyboard.press("ArrowRight")
        settled(page)
        assert page.evaluate(FOCUSED) == name
    share = page.locator("input[aria-label=Share]")
    share.fill("0.4")
    page.keyboard.press("Control+z")
    assert share.input_value() == "1"
    page.keyboard.press("Control+Shift+Z")
    assert share.input_value() == "0.4"


def test_an_image_is_removed_while_it_opens(page):  # noqa: F811
    opened(page)
    given = {"name": "B.png", "mimeType": "image/png", "buffer": png()[:60]}
    with held(page, "**/api/pictures"):
        with page.expect_request("**/api/pictures"):
            page.set_input_files("#files", given)
        page.locator(".close").nth(1).click()
    page.wait_for_selector(".note p")
    assert page.locator("#tiles .tile").count() == 1
