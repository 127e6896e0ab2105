"""A page, and everything about it that must not happen."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Page

PATIENCE_MS = 60_000  # on a machine that is busy with other things too
READY = ".live[data-state=ready]"


class Watched:
    """A page of a server; `wrong` gathers console errors, CSP violations, requests elsewhere and refusals."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.wrong: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on(
            "console", lambda m: self.wrong.append(f"console: {m.text}") if m.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda e: self.wrong.append(f"error: {e}"))
        page.on(
            "request",
            lambda r: self.wrong.append(f"outside: {r.url}") if not r.url.startswith((url, "data:", "blob:")) else None,
        )
        page.on("response", lambda r: self.wrong.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation', (e) => console.error('CSP ' + e.violatedDirective))"
        )

    def open(self, path: str = "/", state: str = READY) -> Page:
        """Go to a path and wait until the page is in a state."""
        self.page.goto(self.url + path)
        self.page.wait_for_selector(state)
        return self.page

    def panel(self, name: str) -> Any:
        """Return a panel by name."""
        return self.page.locator(f".panel[data-name='{name}']")

    def drawn(self, name: str) -> dict:
        """Return what a panel's chart draws: its type and its series, by label."""
        found: dict = (
            self.panel(name)
            .locator("canvas")
            .evaluate(
                """c => { const chart = Chart.getChart(c); return {
                type: chart.config.type,
                series: Object.fromEntries(chart.data.datasets.map(d => [d.label, d.data.map(p => p?.y ?? p)])),
                marks: Object.keys(chart.options.plugins.annotation?.annotations ?? {}),
            }; }"""
            )
        )
        return found

    def shown(self, name: str) -> list[list[str | float]]:
        """Return the rows of a panel's table: exact numbers where there are numbers, texts otherwise."""
        found: list[list[str | float]] = (
            self.panel(name)
            .locator("tbody tr")
            .evaluate_all(
                """rows => rows.map(row => [...row.cells].map(cell => {
                const data = cell.querySelector("data");
                return data ? Number(data.value) : cell.textContent;
            }))"""
            )
        )
        return found

    def until_address(self, pattern: str) -> None:
        """Wait until the address matches."""
        self.page.wait_for_url(re.compile(pattern))
