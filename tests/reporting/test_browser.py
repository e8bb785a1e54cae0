"""The report in a browser: no errors, no requests, no horizontal scrolling, readable colours."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dygait.explaining.page import write
from dygait.reporting.page import write_report
from helpers.explanations import make_explanation
from helpers.report_runs import contrast, make_run

selenium = pytest.importorskip("selenium", reason="selenium is not installed (tests/requirements.txt)")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium with chromedriver here (on Debian: apt install chromium-driver)"
)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    run = make_run()
    frames = {n: np.full((4, 64, 64), n % 256, np.uint8) for n in range(len(run.analysis.ids))}
    run_with_frames = replace(run, frames=frames, frames_missing="", name="a-rather-long-name-of-a-run-" * 3)
    write_report([run_with_frames], folder / "one.html")
    write_report([run_with_frames, make_run(1)], folder / "two.html")
    write(*make_explanation(), folder)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Without a named driver, selenium would try to download one.
    driver = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
    yield driver
    driver.quit()


def requested_urls(browser: Any) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("name", ["one", "explain"])
def test_the_page_loads_without_errors_or_requests(browser: Any, folder: Path, name: str) -> None:
    address = (folder / f"{name}.html").as_uri()
    requested_urls(browser)
    browser.get(address)
    assert browser.execute_script("return document.readyState") == "complete"
    assert [r for r in requested_urls(browser) if not r.startswith("data:")] == [address]
    assert browser.get_log("browser") == []
    broken = "return [...document.images].filter(i => !(i.complete && i.naturalWidth)).length"
    assert browser.execute_script("return document.images.length") > 0
    assert browser.execute_script(broken) == 0


@pytest.mark.parametrize("name", ["one", "two", "explain"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_fits_the_screen(browser: Any, folder: Path, name: str, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((folder / f"{name}.html").as_uri())
    assert browser.execute_script("return window.innerWidth") == width
    client_width, scroll_width = browser.execute_script(
        "const page = document.documentElement; return [page.clientWidth, page.scrollWidth]"
    )
    assert scroll_width <= client_width <= width


def test_series_differ_by_colour_and_pattern(browser: Any, folder: Path) -> None:
    browser.get((folder / "one.html").as_uri())
    styles = browser.execute_script("""
        return [...document.querySelectorAll('.legend')].map(list => [...list.querySelectorAll('.line, .point')].map(
            part => { const style = getComputedStyle(part);
                      return [part.getAttribute('class'), style.stroke, style.strokeDasharray, style.fill]; }));""")
    assert len(styles) >= 9
    for kinds in styles:
        lines = [kind for kind in kinds if kind[0] == "line"]
        points = [kind for kind in kinds if kind[0] != "line"]
        assert len({stroke for _, stroke, _, _ in lines} - {"none"}) == len(lines)
        assert len({dash for _, _, dash, _ in lines}) == len(lines)
        assert len({fill for _, _, _, fill in points} - {"none", "rgb(0, 0, 0)"}) == len(points)


def test_dark_and_light_schemes_are_readable(browser: Any, folder: Path) -> None:
    browser.get((folder / "one.html").as_uri())
    script = """
        const style = getComputedStyle(document.documentElement);
        return ['--paper', '--ink', '--soft', '--accent', '--right', '--wrong', '--c0', '--c1', '--c2', '--c3', '--c4',
                '--c5', '--c6', '--c7'].map(name => style.getPropertyValue(name).trim());"""
    backgrounds = set()
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        background, *colours = browser.execute_script(script)
        backgrounds.add(background)
        for index, colour in enumerate(colours):
            assert contrast(background, colour) >= (4.5 if index < 5 else 3), (scheme, colour)
    assert len(backgrounds) == 2


def test_animations_can_be_paused(browser: Any, folder: Path) -> None:
    browser.get((folder / "explain.html").as_uri())
    state = "return getComputedStyle(document.querySelector('.film img')).animationPlayState"
    assert browser.execute_script(state) == "running"
    browser.execute_script("document.querySelector('#pause').click()")
    assert browser.execute_script(state) == "paused"
