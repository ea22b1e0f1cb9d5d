"""Measures how long a user of the studio waits: `python -m benchmarks.first_picture`.

It runs `styleprompter studio --model avatars64` and opens the page in Chromium, which
runs already. It prints the seconds from the command to the page, and to the first
example face that the model has encoded and decoded. The compilation cache is full.
"""

import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

from playwright.sync_api import sync_playwright

REPEATS = 5
SHOWN = "() => document.querySelector('#after').naturalWidth > 0"


def once(browser):
    """Seconds from the command to the page, and to the first picture."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "styleprompter_jax", "studio"]
    command += ["--model", "avatars64", "--port", "7999"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        said = next(line for line in server.stdout if "http" in line)
        page = browser.new_page()
        page.goto(re.search(r"http://[0-9.:]+/", said).group())
        page.wait_for_selector("#examples button")
        times = [time.perf_counter() - start]
        page.click("#examples button >> nth=0")
        page.wait_for_function(SHOWN)
        times.append(time.perf_counter() - start)
        page.close()
        server.send_signal(signal.SIGINT)
    return times


def main():
    with sync_playwright() as started:
        path = shutil.which("chromium")
        with started.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        ) as browser:
            once(browser)  # fills the cache
            runs = [once(browser) for _ in range(REPEATS)]
    page, picture = (statistics.median(times) for times in zip(*runs, strict=True))
    worst = max(times[1] for times in runs)
    print(f"page {page:.1f} s, first picture {picture:.1f} s (worst {worst:.1f} s)")


if __name__ == "__main__":
    main()
