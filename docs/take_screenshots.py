"""Takes the screenshots of Aim in docs/how-to, of a finished study.

python docs/take_screenshots.py REPO STUDY

It needs Chromium and, from the development dependencies, Playwright.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

FOLDER = Path(__file__).parent / "images"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# the sandbox needs rights that root in a container lacks; the rest prevents requests to the network
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
ADDRESS = re.compile(r"http://\S+")
PATIENCE_MS = 120_000  # for pages of a server that has just started, on a busy machine


def chromium() -> str | None:
    """The path of Chromium; None where it is not installed."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


@contextlib.contextmanager
def page() -> Iterator[Page]:
    """A page of a headless browser without network access, with Aim's greeting closed."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        opened = browser.new_page(viewport={"width": 1400, "height": 900})
        opened.set_default_timeout(PATIENCE_MS)
        opened.add_init_script("localStorage.setItem('communityPopupSeen', 'true')")
        opened.route("**/*", lambda route: route.continue_() if "//127.0.0.1" in route.request.url else route.abort())
        try:
            yield opened
        finally:
            browser.close()


@contextlib.contextmanager
def didact_ui(project: Path, study: str, *options: str) -> Iterator[tuple[str, str]]:
    """Runs ``didact ui`` on a repository; yields its address and that of the study's curves."""
    command = [sys.executable, "-m", "didact", "ui", "--port", "0", "--study", study, *options]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = (match.group() for match in map(ADDRESS.search, process.stdout) if match)
        yield next(found), next(found)
    finally:
        process.terminate()
        process.wait()


def open_when_ready(opened: Page, address: str, awaited: str) -> Locator:
    """Opens an address of a server that may still be starting; returns the awaited element once it is there."""
    waited_ms = 0
    while True:
        try:
            opened.goto(address, wait_until="domcontentloaded")
            break
        except Exception:  # refused: Playwright has one class for all errors
            if waited_ms >= PATIENCE_MS:
                raise
            waited_ms += 500
            opened.wait_for_timeout(500)
    there = opened.locator(awaited)
    there.first.wait_for(state="attached")  # a curve of one point is not visible
    return there


def main(repository: Path, study: str) -> None:
    """Takes all screenshots."""
    FOLDER.mkdir(exist_ok=True)
    with didact_ui(repository, study) as (address, curves), page() as opened:
        open_when_ready(opened, curves, "path.AggrLine")
        opened.wait_for_timeout(1_000)  # Aim draws the table after the curves
        opened.screenshot(path=FOLDER / "aim-study.png")
        open_when_ready(opened, f"{address}/runs", f"text={study}")
        opened.wait_for_timeout(1_000)
        opened.screenshot(path=FOLDER / "aim-runs.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
