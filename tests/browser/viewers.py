"""`make viewers`: many viewers of a running Braid at once, each with a page of their own; no error, and memory stays flat.

Every page refreshes itself each 5 s, as people leave it. Counted are what must not happen on a page (`watched`), how often
each page asked and was answered 304, and what the API's processes hold in memory (PSS), sampled every 5 s. Run `make demo`
first. Exit 1 when a page saw something wrong, did not refresh, or memory grew by more than a tenth after the first third.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from statistics import fmean

import psutil
from playwright.sync_api import BrowserContext, sync_playwright

from braid.adapters.environment import load
from braid.settings import LOOPBACK, Settings
from stack.status import statuses
from tests.browser.conftest import chromium
from tests.browser.watched import READY, Watched

PAGES = ("/", "/?dataset=landcover", "/?page=pipeline", "/?dataset=landcover&from=now-30d")
EVERY_S = 5.0
GROWTH = 1.1


class Viewer:
    """One page that stays open: what was wrong, and how it was answered."""

    def __init__(self, context: BrowserContext, url: str, path: str) -> None:
        self.watched = Watched(context.new_page(), url)
        self.answers: dict[int, int] = {}
        self.watched.page.on("response", self._count)
        self.watched.page.goto(url + path)

    def _count(self, response: object) -> None:
        status = response.status  # type: ignore[attr-defined]
        self.answers[status] = self.answers.get(status, 0) + 1

    def ready(self) -> None:
        """Wait until everything is drawn."""
        self.watched.page.wait_for_selector(READY)


def pss_mb(settings: Settings) -> float:
    """Return what the API and its workers hold in memory, in MB."""
    (pid,) = [s.pid for s in statuses(settings, []) if s.name == "api" and s.pid]
    api = psutil.Process(pid)
    return sum(p.memory_full_info().pss for p in (api, *api.children(recursive=True))) / 2**20


def watch(settings: Settings, count: int, seconds: float) -> dict[str, object]:
    """Return what happened to `count` viewers in `seconds`."""
    url = f"http://{LOOPBACK}:{settings.ports.dashboard}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        context = browser.new_context()
        viewers = [Viewer(context, url, PAGES[i % len(PAGES)]) for i in range(count)]
        for viewer in viewers:
            viewer.ready()
        before = [sum(v.answers.values()) for v in viewers]
        began, memory = time.monotonic(), list[float]()
        while time.monotonic() - began < seconds:
            memory.append(pss_mb(settings))
            viewers[0].watched.page.wait_for_timeout(EVERY_S * 1000)  # this is also what lets the pages be heard
        asked = [sum(v.answers.values()) - b for v, b in zip(viewers, before, strict=True)]
        wrong = [text for v in viewers for text in v.watched.wrong]
        statuses_ = {
            s: sum(v.answers.get(s, 0) for v in viewers) for s in sorted({s for v in viewers for s in v.answers})
        }
        browser.close()
    third = max(len(memory) // 3, 1)
    return {
        "viewers": count, "seconds": round(time.monotonic() - began, 1), "wrong": wrong, "answers": statuses_,
        "fewest_requests_of_a_page": min(asked), "api_pss_mb": {
            "after_a_third": round(fmean(memory[third : third + 3]), 1), "end": round(fmean(memory[-3:]), 1), "most": round(max(memory), 1)},
    }  # fmt: skip


def main() -> int:
    """Watch, print a line of JSON, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120)
    asked = parser.parse_args()
    found = watch(load(), asked.viewers, asked.seconds)
    sys.stdout.write(json.dumps(found) + "\n")
    memory: dict[str, float] = found["api_pss_mb"]  # type: ignore[assignment]
    flat = memory["end"] <= memory["after_a_third"] * GROWTH
    return 0 if flat and not found["wrong"] and int(str(found["fewest_requests_of_a_page"])) > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
