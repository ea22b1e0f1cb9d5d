"""What an exported page keeps in memory: images, codes and addresses."""

import pytest
from studio_user import POINTS, png
from test_studio_page import browser, settled  # noqa: F401
from test_studio_static import in_browser, served, site  # noqa: F401

pytestmark = in_browser
COUNT = """
const made = URL.createObjectURL, revoked = URL.revokeObjectURL;
window.addresses = new Set();
URL.createObjectURL = (data) => {
  const url = made.call(URL, data);
  addresses.add(url);
  return url;
};
URL.revokeObjectURL = (url) => {
  addresses.delete(url);
  revoked.call(URL, url);
};
"""
# The numbers of images, codes and addresses that the page keeps.
KEPT = """async () => {
  const api = await import("./api.js");
  const count = async (works) => {
    let found = 0;
    for (let id = 1; id < 40; id += 1) {
      try {
        await works(String(id));
        found += 1;
      } catch (error) {
        if (error.status !== 404) throw error;
      }
    }
    return found;
  };
  const recipe = { edits: {}, options: {}, refine: false };
  return [
    await count((id) => api.picture(id)),
    await count((latents) => api.decode({ recipe: { ...recipe, latents } })),
    addresses.size,
  ];
}"""
OPENED = """async ([bytes, points]) => {
  window.store = await import("./store.js");
  const file = new File([new Uint8Array(bytes)], "A.png", { type: "image/png" });
  window.item = store.add({ kind: "photo", file, points }, "A.png");
}"""
SHOWN = [2, 1, 2]  # a photograph, its crop, its codes, and what is before and after


@pytest.fixture
def page(browser, site):  # noqa: F811
    with served(site[0]) as address, browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.add_init_script(COUNT)
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        page.evaluate(OPENED, [list(png()), POINTS])
        yield page


def begin(page):
    page.evaluate("async () => { await store.bring(item); store.choose(item); }")
    settled(page)
    assert page.evaluate(KEPT) == SHOWN


def test_a_removed_image(page):
    begin(page)
    page.evaluate("() => store.remove(item)")
    assert page.evaluate(KEPT) == [0, 0, 0]


def test_an_image_is_removed_while_it_opens(page):
    page.evaluate(
        """async () => {
          const nobody = store.add({ kind: "sample", seed: 1, truncation: 1 }, "B");
          const opening = Promise.all([item, nobody].map(store.bring));
          [item, nobody].forEach(store.remove);
          await opening;
        }"""
    )
    assert page.evaluate(KEPT) == [0, 0, 0]


@pytest.mark.parametrize("look", ["edits: { smile: 1 }", "refine: false"])
def test_an_image_is_removed_while_it_is_drawn(page, look):
    """Its codes are gone before they are decoded, or its result comes too late."""
    begin(page)
    page.evaluate(
        f"""async () => {{
          store.change(item, {{ {look} }});
          await new Promise((resolve) => setTimeout(resolve));
          store.remove(item);
        }}"""
    )
    page.wait_for_selector("#frame[aria-busy=false]", state="attached")
    assert page.evaluate("() => item.base === null") and page.evaluate(KEPT) == [
        0,
        0,
        0,
    ]
    assert page.locator(".note").count() == 0


def test_an_undone_mix_with_a_removed_image(page):
    """It has the removed image made again, and keeps it."""
    begin(page)
    page.evaluate(
        """async () => {
          store.settle(item);
          const other = store.add({ kind: "sample", seed: 1, truncation: 1 }, "B");
          await store.bring(other);
          store.change(item, { mix: { item: other, layers: [0], share: 1 } });
          store.settle(item);
          store.remove(other);
          store.settle(item);
          store.undo(item);
        }"""
    )
    settled(page)
    page.wait_for_timeout(1100)  # the page frees the image before after a second
    assert page.evaluate(KEPT) == [2, 2, 2]
    assert page.locator(".note").count() == 0


@pytest.mark.parametrize("wanted", ["true", "false"])
def test_an_encoding_that_nothing_shows(page, wanted):
    """A faster one overtook it, or it is no longer wanted."""
    begin(page)
    page.evaluate(
        f"""() => Promise.all([
          store.encodeAnew(item, {{ passes: 5 }}, () => {wanted}),
          store.encodeAnew(item, {{ passes: 1 }}),
        ])"""
    )
    assert page.evaluate("() => item.source.passes") == 1
    settled(page)
    page.wait_for_timeout(1100)
    assert page.evaluate(KEPT) == SHOWN


def test_an_encoding_that_failed(page):
    page.route("**/encode.onnx*", lambda request: request.abort())
    failed = "() => store.bring(item).then(() => false, () => true)"
    assert page.evaluate(failed)
    assert page.evaluate(KEPT) == [1, 0, 0]  # the photograph
    page.evaluate("() => store.remove(item)")
    assert page.evaluate(KEPT) == [0, 0, 0]
