"""`make screenshots`: each page of a running Braid in light, dark and phone width, under docs/screenshots/.

The dashboard's port is the one of the last `braid up`; run `make demo` first.
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from braid.adapters.environment import load
from braid.settings import LOOPBACK
from tests.browser.conftest import chromium
from tests.browser.watched import READY

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
PAGES = {"overview": "/", "dataset": "/?dataset=landcover", "pipeline": "/?page=pipeline"}
LOOKS = {"light": ("light", 1300, 900), "dark": ("dark", 1300, 900), "phone": ("light", 390, 844)}
SETTLED_MS = 1500  # charts grow into place


def main() -> int:
    """Take them all."""
    FOLDER.mkdir(exist_ok=True)
    url = f"http://{LOOPBACK}:{load().ports.dashboard}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for look, (scheme, width, height) in LOOKS.items():
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
            page = context.new_page()
            for name, path in PAGES.items():
                page.goto(url + path)
                page.wait_for_selector(READY)
                page.wait_for_timeout(SETTLED_MS)
                target = FOLDER / f"{name}-{look}.png"
                page.screenshot(path=target, full_page=name == "dataset" and look == "light")
                sys.stdout.write(f"{target}\n")
            context.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
