"""The page in a real browser: quiet, offline, within the screen, and alive."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.report.page import write_report
from harness.store import read_run
from tests.executed_run import executed_run
from tests.report.test_page import hostile, stored

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")

SCREENS = [(width, theme) for width in (360, 1600) for theme in ("light", "dark")]
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    return {
        "plain": write_report(stored(folder / "plain"), folder / "plain.html"),
        "executed": write_report(read_run(executed_run(folder / "run-1")), folder / "executed.html"),
        "hostile": write_report(hostile(folder / "hostile"), folder / "hostile.html"),
    }


class Watched:
    """A page and everything it did that it should not."""

    def __init__(self, browser: Any, file: Path, width: int, theme: str) -> None:
        self.faults: list[str] = []
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)
        self.page = context.new_page()
        self.page.on("console", lambda message: self.faults.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._request)
        self._url = file.as_uri()
        self.page.goto(self._url)
        self.page.wait_for_selector("html[data-charts=drawn]", state="attached")

    def _dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        if request.url != self._url:
            self.faults.append(f"request: {request.url[:100]}")


@pytest.mark.parametrize("kind", ["plain", "executed", "hostile"])
@pytest.mark.parametrize(("width", "theme"), SCREENS)
def test_the_page_is_quiet_and_fits(browser: Any, reports: dict[str, Path], kind: str, width: int, theme: str) -> None:
    watched = Watched(browser, reports[kind], width, theme)
    page = watched.page
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    assert page.evaluate(OVERFLOW) <= 0
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") != theme
    page.wait_for_timeout(200)
    for point in page.query_selector_all(".plot .point")[:3]:
        point.hover(force=True)
    for details in page.query_selector_all("details > summary"):
        details.click()
    assert page.evaluate(OVERFLOW) <= 0
    assert watched.faults == []
    page.context.close()


@pytest.mark.parametrize("width", [360, 1600])
def test_every_chart_is_drawn_within_its_frame_in_the_theme_s_colors(
    browser: Any, reports: dict[str, Path], width: int
) -> None:
    page = Watched(browser, reports["plain"], width, "dark").page
    plots = page.query_selector_all(".plot")
    assert len(plots) == 6
    for plot in plots:
        outer, inner = plot.bounding_box(), plot.query_selector("svg.main-svg").bounding_box()
        assert inner["width"] <= outer["width"] + 1
        assert abs(inner["height"] - outer["height"]) <= 2
        assert plot.query_selector_all(".point, .js-line")
    tick = page.query_selector(".plot .xtick text")
    assert tick.evaluate("node => getComputedStyle(node).fill") == "rgb(160, 169, 178)"
    page.context.close()


@pytest.mark.parametrize("kind", ["plain", "executed"])
@pytest.mark.parametrize("width", [360, 1600])
def test_no_label_of_a_chart_is_clipped(browser: Any, reports: dict[str, Path], kind: str, width: int) -> None:
    page = Watched(browser, reports[kind], width, "light").page
    for plot in page.query_selector_all(".plot"):
        frame = plot.bounding_box()
        for text in plot.query_selector_all("svg text"):
            box = text.bounding_box()
            if box and box["width"]:
                assert frame["x"] - 1 <= box["x"], text.text_content()
                assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1, text.text_content()
    page.context.close()


def names(page: Any) -> list[str]:
    rows = page.query_selector_all("#e0-table tbody tr:not([hidden]) th")
    return [row.inner_text().split()[0] for row in rows]


def test_the_table_sorts_by_mouse_and_by_keyboard_with_missing_values_last(
    browser: Any, reports: dict[str, Path]
) -> None:
    page = Watched(browser, reports["plain"], 1600, "light").page
    assert names(page) == ["ort-int8", "ort", "torch", "broken"]
    heading = page.locator("#e0-table th", has_text="speed-up")
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert names(page) == ["ort-int8", "ort", "torch", "broken"]
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert names(page) == ["torch", "ort", "ort-int8", "broken"]
    page.locator("#e0-table th button", has_text="variant").press("Space")
    assert names(page) == ["broken", "ort", "ort-int8", "torch"]
    assert page.locator("#e0-table [aria-sort]").count() == 1
    page.context.close()


def test_the_table_filters_by_all_words_and_counts(browser: Any, reports: dict[str, Path]) -> None:
    page = Watched(browser, reports["plain"], 360, "light").page
    count = page.locator("#e0-table-count")
    assert count.inner_text() == "4 trials"
    page.fill("input[type=search]", "ORT faster")
    assert names(page) == ["ort-int8", "ort"]
    assert count.inner_text() == "2 of 4 trials"
    page.fill("input[type=search]", "sigsegv")
    assert names(page) == ["broken"]
    page.fill("input[type=search]", "")
    assert len(names(page)) == 4
    page.context.close()


def test_a_distribution_is_hidden_by_its_name(browser: Any, reports: dict[str, Path]) -> None:
    page = Watched(browser, reports["plain"], 1600, "light").page
    plot = page.locator("#e0-latencies")
    assert plot.locator(".js-line").count() == 3
    name = page.locator(".legend button", has_text="ort-int8")
    name.click()
    assert name.get_attribute("aria-pressed") == "false"
    sync_api.expect(plot.locator(".js-line")).to_have_count(2)
    name.press("Enter")
    sync_api.expect(plot.locator(".js-line")).to_have_count(3)
    page.context.close()


def test_the_page_reads_without_scripts(browser: Any, reports: dict[str, Path]) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 800}, java_script_enabled=False)
    page = context.new_page()
    page.goto(reports["plain"].as_uri())
    assert "faster than torch" in page.inner_text("body")
    assert "need JavaScript" in page.inner_text("body")
    context.close()
