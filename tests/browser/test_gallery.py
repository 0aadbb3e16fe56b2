"""The page over a manifest, in a browser: 2,000 images open and are filtered at once."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from wan_lite.batches.gallery.page import write_page
from wan_lite.batches.manifest import Manifest, Record, describe_file

ROWS = 2000


def make_sweep(folder: Path) -> Path:
    """Rows of 20 image files, by sampler and seed."""
    for i in range(20):
        Image.new("RGB", (64, 64), (12 * i, 90, 200 - 10 * i)).save(folder / f"{i}.png")
    files = [describe_file(folder, f"{i}.png") for i in range(20)]
    with Manifest(folder, ROWS) as manifest:
        for i in range(ROWS):
            values = {"sampler": ("ddim", "flow-unipc")[i % 2], "prompt": f"prompt-{i % 7}"}
            manifest.add(Record(i, f"{i:024x}", "done", (files[i % 20],), values, "", {"seed": i}))
    return folder


def test_a_large_page_is_filtered_sorted_and_compared(chromium: Browser, tmp_path: Path, screenshots: Path) -> None:
    write_page(make_sweep(tmp_path), tmp_path / "index.html")
    page = chromium.new_page(viewport={"width": 1400, "height": 900})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    assert page.inner_text("#count") == "2000 of 2000 rows"
    page.select_option("#filters select >> nth=0", "=ddim")
    assert page.inner_text("#count") == "1000 of 2000 rows"
    page.fill("#words", "prompt-3")
    assert page.locator("figure:visible").count() == sum(i % 7 == 3 for i in range(0, ROWS, 2))
    page.select_option("#sort", "seed")
    page.locator("figure:visible button").nth(0).click()
    page.locator("figure:visible button").nth(1).click()
    page.click("#compare")
    assert page.locator(".pane").count() == 2
    assert page.locator(".pane dd.other").count() == 2  # the seeds, marked on both sides
    page.wait_for_function("[...document.querySelectorAll('.pane img')].every(image => image.naturalWidth === 64)")
    page.screenshot(path=screenshots / "gallery.png")
    page.click("#close")
    page.locator("figure:visible").nth(0).click()
    page.keyboard.press("ArrowRight")
    assert page.locator(".pane").count() == 1
    assert not problems
    page.close()
