"""The keys of the studio's page: shortcuts, fields of text, and dialogs."""

from test_studio_page import (  # noqa: F401
    address,
    app,
    browser,
    move,
    opened,
    page,
    pytestmark,
    settled,
)

SMILE = ".slider[data-name=smile] input"
HELD = "() => document.querySelector('#frame').classList.contains('held')"


def test_fields_undo_for_themselves(page):  # noqa: F811
    opened(page)
    move(page, "smile", 1)
    settled(page)
    page.click("#tab-more")
    steps = page.locator("#steps")
    steps.focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("7")
    page.keyboard.press("Control+z")
    assert steps.input_value() == "50"
    page.keyboard.press("Control+y")
    assert steps.input_value() == "7"
    assert page.input_value(SMILE) == "1"
    # A slider holds no text.
    page.click("#tab-edit")
    page.focus(SMILE)
    page.keyboard.press("Control+z")
    assert page.input_value(SMILE) == "0"


def test_keys_change_nothing_behind_a_dialog(page):  # noqa: F811
    opened(page)
    move(page, "smile", 1)
    settled(page)
    for opens, dialog in (
        ("#save", "#saving"),
        ("#code", "#coding"),
        ("#add", "#adding"),
    ):
        page.click(opens)
        page.wait_for_selector(f"{dialog}[open]")
        page.evaluate(
            "() => document.activeElement.blur()"
        )  # as a click beside it does
        for key in ("Control+z", "Control+y", "/", "c"):
            page.keyboard.down(key) if key == "c" else page.keyboard.press(key)
        assert not page.evaluate(HELD)
        page.keyboard.up("c")
        assert page.input_value(SMILE) == "1"
        page.keyboard.press("Escape")
        page.wait_for_selector(dialog, state="hidden")
    page.keyboard.press("Control+z")
    assert page.input_value(SMILE) == "0"


def test_the_original_is_shown_while_c_is_held(page):  # noqa: F811
    opened(page)
    page.focus("#tab-edit")
    # Shift is pressed meanwhile, and so the key comes up as "C".
    page.keyboard.down("c")
    assert page.evaluate(HELD)
    page.keyboard.down("Shift")
    page.keyboard.up("KeyC")
    page.keyboard.up("Shift")
    assert not page.evaluate(HELD)
    page.keyboard.down("c")
    page.evaluate("() => dispatchEvent(new Event('blur'))")
    assert not page.evaluate(HELD)
    page.keyboard.up("c")
    # Caps Lock is on.
    page.keyboard.down("C")
    assert page.evaluate(HELD)
    page.keyboard.up("C")
    assert not page.evaluate(HELD)


def test_enter_does_what_the_button_of_a_field_does(page):  # noqa: F811
    opened(page)
    page.click("#add")
    page.fill("#seed", "")
    page.keyboard.press("Enter")
    assert page.is_visible("#adding")  # a field of the browser says what is missing
    page.fill("#seed", "5")
    page.keyboard.press("Enter")
    page.wait_for_selector("#tiles .cell:nth-child(2) img[src^=blob]")
    settled(page)
    assert page.get_attribute("#tiles .tile >> nth=1", "title") == "Nobody 5"
    assert page.is_hidden("#adding")
    page.click("#save")
    page.fill("#frames", "3")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename.endswith(".gif")
    assert page.is_visible("#saving")
    page.click("#saving .closes")
    move(page, "smile", 1)
    page.click("#store")
    page.fill("#preset-name", "Mine")
    page.keyboard.press("Enter")
    page.wait_for_selector("#presets option:text-is('Mine')", state="attached")
    # The buttons that close do not ask for valid fields.
    page.click("#add")
    page.fill("#seed", "-1")
    page.click("#adding .closes")
    assert page.is_hidden("#adding")
    assert page.locator("#tiles .tile").count() == 2


def test_enter_in_a_field_starts_the_work_of_its_button(page):  # noqa: F811
    opened(page)
    page.click("#tab-more")
    page.fill("#steps", "2")
    with page.expect_response("**/api/jobs/fit") as answer:
        page.press("#steps", "Enter")
    assert answer.value.ok
    page.wait_for_selector("#fit:enabled")
    page.fill("#steps", "0")
    page.press("#steps", "Enter")
    page.wait_for_selector(".note p")


def test_notes_stand_before_an_open_dialog(page):  # noqa: F811
    opened(page)
    page.click("#add")
    page.wait_for_selector("#adding[open]")
    complain = """async () => (await import("./dom.js")).complain("Wrong.")"""
    page.evaluate(complain)
    page.click(".note button")  # waits until nothing is in front of it
    assert page.locator(".note").count() == 0
    page.evaluate(complain)
    page.keyboard.press("Escape")
    page.wait_for_selector("#adding", state="hidden")
    page.click(".note button")


def test_a_photograph_of_one_pixel_can_hold_a_face(page):  # noqa: F811
    checked = """async ([corner, side]) => {
      const { checked } = await import("./quad.js");
      const points = [[0, 0], [1, 0], [0.5, 0.5], [0, 1], [1, 1]];
      const ends = [[0, 0], [0, 1], [1, 1], [1, 0]];
      const corners = ends.map((end) => end.map((k) => corner + k));
      try {
        checked(points, corners, { width: side, height: side });
      } catch (error) {
        return error.message;
      }
      return "";
    }"""
    assert page.evaluate(checked, [0, 1]) == ""
    for place in ([1, 1], [-1, 1], [0, 64], [63, 64]):
        assert "outside the photograph" in page.evaluate(checked, place)
