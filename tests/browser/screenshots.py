"""`make screenshots`: each page of a running Braid in light, dark and phone width, under docs/screenshots/.

The dashboard's port is the one of the last `braid up`; run `make demo` first. A map is among them where a dataset that is
served declares one, looked at in its coarsest grid and in the midst of its time. `--url` names another server.
"""

import argparse
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from braid.adapters.environment import load
from braid.settings import LOOPBACK
from tests.browser.conftest import chromium
from tests.browser.watched import READY

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
PAGES = {"overview": "/", "dataset": "/?dataset=landcover", "pipeline": "/?page=pipeline"}
LOOKS = {"light": ("light", 1300, 900), "dark": ("dark", 1300, 900), "phone": ("light", 390, 844)}
SETTLED_MS = 1500  # charts grow into place


def map_page(page: Page, url: str) -> str | None:
    """Return the path of the first declared map, None when no dataset has one."""
    for dataset in page.request.get(f"{url}/api/v1/datasets").json()["data"]:
        for view in dataset["views"]:
            if view["map"]:
                return f"/?dataset={dataset['dataset']}&panel={view['view']}-map&per.{view['view']}=30d"
    return None


def main() -> int:
    """Take them all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=f"http://{LOOPBACK}:{load().ports.dashboard}")
    parser.add_argument("names", nargs="*", choices=[*PAGES, "map"])
    asked = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for look, (scheme, width, height) in LOOKS.items():
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
            page = context.new_page()
            mapped = map_page(page, asked.url)
            pages = PAGES | ({"map": mapped} if mapped else {})
            for name in asked.names or pages:
                page.goto(asked.url + pages[name])
                page.wait_for_selector(READY)
                if name == "map":
                    page.locator(".scrub input").click()
                page.wait_for_timeout(SETTLED_MS)
                target = FOLDER / f"{name}-{look}.png"
                page.screenshot(path=target, full_page=name == "dataset" and look == "light")
                sys.stdout.write(f"{target}\n")
            context.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
