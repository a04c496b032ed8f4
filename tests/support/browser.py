"""Debian's Chromium without a window: pages opened, everything they log and fetch written down."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
# None of the browser's own business may reach out of the machine.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MOBILE_PX, DESKTOP_PX = 360, 1400


@dataclass
class Visit:
    """One page and what it did: its errors and warnings, and every address it asked for beside its own."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def wait_for_charts(self) -> None:
        """Wait until every chart has been drawn."""
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('svg'))"
        )


@contextlib.contextmanager
def a_browser() -> Iterator[Any]:
    """A running browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def visiting(browser: Any, place: Path | str, *, width: int = DESKTOP_PX, dark: bool = False) -> Iterator[Visit]:
    """A page of a file or address, opened in a window of that width and colour scheme."""
    address = place.as_uri() if isinstance(place, Path) else place
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    page = context.new_page()
    visit = Visit(page)
    page.on("console", lambda message: _note(visit, message))
    page.on("pageerror", lambda error: visit.complaints.append(f"error: {error}"))
    page.on("request", lambda request: visit.requests.append(request.url))
    page.goto(address)
    visit.requests = [url for url in visit.requests if url != address]
    try:
        yield visit
    finally:
        context.close()


def _note(visit: Visit, message: Any) -> None:
    if message.type in ("error", "warning"):
        visit.complaints.append(f"{message.type}: {message.text}")
