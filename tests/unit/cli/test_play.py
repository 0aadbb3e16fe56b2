"""``wan-lite play``: the same bytes as ``rollout --session``, and a page that answers nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, web
from safetensors.torch import load_file

from wan_lite.cli import main
from wan_lite.cli.world import play_server
from wan_lite.cli.world.play_server import Game, make_application
from wan_lite.models.world import RolloutConfig, load_world
from wan_lite.pipeline.videos.writing import write_video

HERE = Path(__file__).parents[2] / "vectors" / "tinyworlds" / "current"
WORLD = HERE / "checkpoints_current"
TOKEN = "token-of-the-test"


@pytest.fixture
def clip(tmp_path: Path) -> str:
    truth = load_file(HERE / "rollout.io.safetensors")["ground_truth_frames"][0, :6]
    write_video(truth.permute(0, 2, 3, 1) / 2 + 0.5, tmp_path / "true.webp", fps=4)
    return str(tmp_path / "true.webp")


def run(*words: str | Path) -> int:
    return main([*map(str, words), "--quiet"])


def test_headless_play_is_replayed_to_the_same_bytes(tmp_path: Path, clip: str) -> None:
    played, again, record = tmp_path / "played.webp", tmp_path / "again.webp", tmp_path / "session.json"
    words = ["--headless", "--actions", "3x2,0,1", "--temperature", "0.8", "--maskgit-steps", "3", "--seed", "4"]
    files = ["--out", played, "--record", record, "--scale", "2"]
    assert run("play", "--world", WORLD, "--clip", clip, "--start", "1", *words, *files) == 0
    assert run("rollout", "--session", record, "--out", again, "--scale", "2") == 0
    assert played.read_bytes() == again.read_bytes()
    assert json.loads(record.read_text())["source"]["start"] == 1


def test_a_session_may_be_replayed_from_elsewhere(
    tmp_path: Path, clip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "session.json"
    entry = {"format": "wan_lite.world_session", "version": 1, "seed": 0, "actions": [[1, 2]], "settings": []}
    record.write_text(json.dumps(entry))
    assert run("rollout", "--session", record) == 2 and "--clip" in capsys.readouterr().err
    out = tmp_path / "r.webp"
    assert run("rollout", "--session", record, "--world", WORLD, "--clip", clip, "--out", out) == 0
    assert "actions: 1, 2" in capsys.readouterr().out
    record.write_text("[]")
    assert run("rollout", "--session", record) == 2 and "not a record" in capsys.readouterr().err


def test_another_clip_comes_with_its_own_place_in_it(tmp_path: Path, clip: str) -> None:
    record, out = tmp_path / "session.json", tmp_path / "r.webp"
    words = ["--headless", "--actions", "1,2", "--start", "1", "--scale", "1", "--out", out, "--record", record]
    assert run("play", "--world", WORLD, "--clip", clip, *words) == 0
    first = out.read_bytes()
    assert run("rollout", "--session", record, "--clip", clip, "--start", "1", "--scale", "1", "--out", out) == 0
    assert out.read_bytes() == first
    assert run("rollout", "--session", record, "--clip", clip, "--start", "0", "--scale", "1", "--out", out) == 0
    assert out.read_bytes() != first


def test_headless_wants_a_list(clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("play", "--world", WORLD, "--clip", clip, "--headless") == 2
    assert "--actions" in capsys.readouterr().err


def test_rollout_without_clip_or_session(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rollout", "--world", WORLD) == 2 and "--clip is missing" in capsys.readouterr().err


# The page ------------------------------------------------------------------------------------------------------------

Ask = Callable[..., Awaitable[ClientResponse]]


def serve(talk: Callable[[ClientSession, str], Awaitable[None]]) -> None:
    """Run the server and talk to it at its address, ``http://127.0.0.1:<port>``."""
    context = load_file(HERE / "rollout.io.safetensors")["ground_truth_frames"][:1, :2]
    config = RolloutConfig(maskgit_steps=2)

    async def run_both() -> None:
        game = Game(load_world(WORLD), context, config, seed=0, fps=8, scale=2, source={"clip": "c"})
        runner = web.AppRunner(make_application(game, TOKEN))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with ClientSession() as client:
                await talk(client, f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()

    asyncio.run(run_both())


def test_a_session_through_the_page() -> None:
    async def talk(client: ClientSession, home: str) -> None:
        async def ask(call: str, **message: Any) -> Any:
            async with client.post(f"{home}/{TOKEN}/{call}", json=message) as answer:
                assert answer.status == 200, await answer.text()
                return await (answer.read() if call == "export" else answer.json())

        opened = await ask("open")
        key = opened["session"]
        assert opened["fps"] == 8 and opened["actions"] == ["0", "1", "2", "3"]
        assert [(await ask("step", session=key, action=2))["step"] for _ in range(2)] == [1, 2]
        record = json.loads((await ask("record", session=key))["record"])
        assert record["actions"] == [[2, 2]] and record["source"] == {"clip": "c"}
        assert (await ask("export", session=key, format=".gif")).startswith(b"GIF8")
        await ask("close", session=key)
        async with client.post(f"{home}/{TOKEN}/ping", json={"session": key}) as answer:
            assert answer.status == 410

    serve(talk)


@pytest.mark.parametrize("name", ["", "page.js", "page.css", "player.js"])
def test_assets_are_inside_the_pack(name: str) -> None:
    async def talk(client: ClientSession, home: str) -> None:
        async with client.get(f"{home}/{TOKEN}/{name}") as answer:
            assert answer.status == 200 and await answer.read() == play_server.ASSETS[name].read_bytes()
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]

    serve(talk)


STRANGERS: list[tuple[str, dict[str, str], int]] = [
    ("/", {}, 403),
    ("/wrong/", {}, 403),
    ("/wrong/open", {}, 403),
    (f"/{TOKEN}/open", {"Origin": "https://evil.example"}, 403),
    (f"/{TOKEN}/open", {"Origin": "null"}, 403),
    (f"/{TOKEN}/open", {"Host": "evil.example"}, 403),
    (f"/{TOKEN}/open", {"Host": "evil.example:1", "Origin": "http://evil.example:1"}, 403),
    (f"/{TOKEN}/../../etc/passwd", {}, 403),
    (f"/{TOKEN}/%2e%2e/%2e%2e/etc/passwd", {}, 403),
    (f"/{TOKEN}/nothing", {}, 404),
]


@pytest.mark.parametrize("path, headers, status", STRANGERS)
def test_strangers_are_refused(path: str, headers: dict[str, str], status: int) -> None:
    async def talk(client: ClientSession, home: str) -> None:
        for ask in (client.post, client.get):
            async with ask(home + path, headers=headers, **({"json": {}} if ask == client.post else {})) as answer:
                assert answer.status == status and "error" in await answer.json()

    serve(talk)


@pytest.mark.parametrize("line", ["OPTIONS * HTTP/1.1", "CONNECT evil.example:443 HTTP/1.1"])
def test_requests_without_a_path_are_refused(line: str) -> None:
    async def talk(client: ClientSession, home: str) -> None:
        host = home.removeprefix("http://")
        reader, writer = await asyncio.open_connection(*host.split(":"))
        writer.write(f"{line}\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert answer.split()[1] in (b"400", b"403"), answer

    serve(talk)


BODIES: list[tuple[bytes, str, int]] = [
    (b"{", "application/json", 400),
    (b"[]", "application/json", 400),
    (b"\xff\xfe", "application/json", 400),
    (b"[" * 100_000, "application/json", 400),
    (b"{}", "text/plain", 400),
    (b"a=1", "application/x-www-form-urlencoded", 400),
    (b'{"seed": -1}', "application/json", 400),
    (b'{"record": "' + b"x" * play_server.LARGEST_BODY + b'"}', "application/json", 413),
]


@pytest.mark.parametrize("body, kind, status", BODIES, ids=range(len(BODIES)))
def test_bodies_that_are_refused(body: bytes, kind: str, status: int) -> None:
    async def talk(client: ClientSession, home: str) -> None:
        async with client.post(f"{home}/{TOKEN}/open", data=body, headers={"Content-Type": kind}) as answer:
            assert answer.status == status
            sentence = (await answer.json())["error"]
            assert sentence and "\n" not in sentence and "Traceback" not in sentence

    serve(talk)
