"""What the browser tests share: one headless Chromium for them all."""

from collections.abc import Iterator
from shutil import which

import pytest
from playwright.sync_api import Browser, sync_playwright

from braid.adapters.environment import install_command


def chromium() -> str:
    """Return where the browser is."""
    found = which("chromium") or which("chromium-browser") or which("google-chrome")
    if found is None:
        raise RuntimeError(f"Chromium: expected it on PATH, got none; install it: {install_command('chromium')}")
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Yield a headless Chromium."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield running
        running.close()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let files that were compressed be closed by the collector: flask-compress does not close what it has read."""
    item.add_marker(
        pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning")
    )
