"""Takes the screenshots of docs/studio.md: `python docs/screens.py`.

It starts the studio with the bundled model, and looks at it in Chromium.
"""

import contextlib
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

import styleprompter_jax as sp
from styleprompter_jax.core.compilation_cache import use_compilation_cache
from styleprompter_jax.web.server import make_app, make_server

IMAGES = Path(__file__).with_name("images")


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Yields the address of a server in a thread."""
    app = make_app(sp.load("avatars64"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = make_server(app)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def settled(page: Page) -> None:
    """Waits for the result of the last change."""
    page.wait_for_selector("#frame[aria-busy=false] #after[src^=blob]")
    page.wait_for_timeout(300)


def show(page: Page, address: str) -> None:
    """Puts glasses on a drawn face, and compares it with the original."""
    page.set_default_timeout(90_000)
    page.goto(address)
    page.wait_for_selector("#examples .tile >> nth=7")
    page.click("#examples .tile >> nth=4")
    settled(page)
    page.locator(".slider[data-name=glasses] input").fill("1")
    settled(page)
    page.check("input[value=compare]", force=True)
    page.mouse.move(1, 1)


def main() -> None:
    """Writes the screenshots."""
    use_compilation_cache()
    browser_path = shutil.which("chromium") or sys.exit("Install Chromium first.")
    with running() as address, sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox"]
        )
        for name, size, scheme in (
            ("studio", (1280, 800), "light"),
            ("studio_dark", (390, 844), "dark"),
        ):
            context = browser.new_context(
                viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
            )
            page = context.new_page()
            show(page, address)
            page.screenshot(path=IMAGES / f"{name}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
