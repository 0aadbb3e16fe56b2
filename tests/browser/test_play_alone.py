"""The page of ``wan-lite play`` in a browser: keys, fields, sessions that come and go with their tab."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from playwright.sync_api import Browser, Page
from safetensors.torch import load_file

from wan_lite.cli.world.play_server import Game, make_application
from wan_lite.models.world import RolloutConfig, load_world

DEMO = Path(__file__).parents[2] / "demo" / "models" / "world_models" / "wan-lite-demo"
TOKEN = "token-of-the-test"
STEP = "() => window.wanLitePlayer.step"
PIXELS = "() => document.getElementById('canvas').toDataURL()"


@pytest.fixture(scope="module")
def game() -> Game:
    frames = load_file(DEMO / "world_clip.safetensors")["frames"][:1, :2].permute(0, 1, 4, 2, 3) / 127.5 - 1
    world = load_world(DEMO / "world.safetensors")
    return Game(world, frames, RolloutConfig(maskgit_steps=1), seed=0, fps=8, scale=2, source={})


@pytest.fixture(scope="module")
def address(game: Game) -> Iterator[str]:
    """The page's address, served from a thread of its own."""
    loop, runner = asyncio.new_event_loop(), web.AppRunner(make_application(game, TOKEN))

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/{TOKEN}/"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.fixture
def tab(chromium: Browser, address: str) -> Iterator[Page]:
    """A tab that plays without a clock, and that nothing went wrong in."""
    page, complaints = chromium.new_page(), list[str]()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    page.wait_for_function("() => window.wanLitePlayer?.session")
    page.locator("#clocked").uncheck()
    yield page
    page.close()
    assert complaints == []


def tap(page: Page, *keys: str) -> None:
    for key in keys:
        before = page.evaluate(STEP)
        page.locator("#canvas").focus()
        page.keyboard.press(key)
        page.wait_for_function(f"before => ({STEP})() === before + 1", arg=before)


def test_keys_and_undo(tab: Page, screenshots: Path) -> None:
    first = tab.evaluate(PIXELS)
    tap(tab, "ArrowLeft", "2", " ")
    assert tab.evaluate(PIXELS) != first
    tab.screenshot(path=screenshots / "play_alone.png")
    tab.locator("#undo").click()
    tab.wait_for_function(f"() => ({STEP})() === 2")
    tab.locator("#reset").click()
    tab.wait_for_function(f"() => ({STEP})() === 0")
    assert tab.evaluate(PIXELS) == first


def test_what_is_typed_into_a_field_is_not_played(tab: Page) -> None:
    tap(tab, "1")
    tab.locator("#temperature").fill("1")
    tab.locator("#temperature").press("2")
    tab.locator("#passes, #maskgit_steps").first.press("ArrowUp")
    tab.wait_for_timeout(300)
    assert tab.evaluate(STEP) == 1


def test_confidence_tints_the_frame_and_leaves_the_game_alone(tab: Page) -> None:
    tab.locator("#temperature").fill("5")  # every token is doubtful
    tab.locator("#temperature").press("Tab")
    tap(tab, "1")
    plain = tab.evaluate(PIXELS)
    tab.locator("#undo").click()
    tab.wait_for_function(f"() => ({STEP})() === 0")
    tab.locator("#confidence").check()
    tap(tab, "1")
    assert tab.evaluate(PIXELS) != plain
    tab.locator("#undo").click()
    tab.wait_for_function(f"() => ({STEP})() === 0")
    tab.locator("#confidence").uncheck()
    tap(tab, "1")
    assert tab.evaluate(PIXELS) == plain


def test_a_session_that_was_let_go_of_is_continued(tab: Page, game: Game) -> None:
    tap(tab, "1", "2")
    game.sessions.close({"session": tab.evaluate("() => window.wanLitePlayer.session")})
    tap(tab, "3")
    assert '"actions": [[1, 2, 3]]' in tab.evaluate("() => window.wanLitePlayer.played")


def test_a_closed_tab_frees_its_session(chromium: Browser, address: str, game: Game) -> None:
    page = chromium.new_page()
    page.goto(address)
    page.wait_for_function("() => window.wanLitePlayer?.session")
    key = page.evaluate("() => window.wanLitePlayer.session")
    assert key in game.sessions._entries
    page.close(run_before_unload=True)
    for _ in range(100):
        if key not in game.sessions._entries:
            break
        threading.Event().wait(0.1)
    assert key not in game.sessions._entries


def test_what_comes_back_after_the_game_has_ended_is_not_part_of_the_next(tab: Page) -> None:
    """A step is on its way while its session is closed and another one opened; a closed one is not opened again."""
    tab.evaluate(
        """async () => {
            const player = window.wanLitePlayer, late = player.act(1).catch(() => {});
            await player.close();
            await player.open();
            await late;
        }"""
    )
    assert tab.evaluate("() => [window.wanLitePlayer.step, window.wanLitePlayer.since.length]") == [0, 0]
    ended = "async () => { const p = window.wanLitePlayer; await p.close(); await p.act(1).catch(() => {}); }"
    tab.evaluate(ended)
    assert tab.evaluate("() => window.wanLitePlayer.session") is None
