"""Make the README's images: the page with a workflow and its result, a rollout and a diagnosis of the demo world.

    python scripts/readme_images.py [SHEET]

``SHEET`` is ``out/demo/pictures.png``, as ``make demo`` writes it. Needs a ComfyUI and a Chromium, as the tests do.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser.page import ComfyPage, new_page, open_browser
from browser.regenerate import WORKFLOWS, pictures_of
from host.client import Client
from host.comfyui import find_comfyui
from host.server import PACK, Server, make_base

PICTURES = PACK / "docs" / "pictures"
WIDEST = 1400


def main() -> int:
    """Write the files and return the exit code."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(find_comfyui(), make_base(Path(folder) / "comfyui")) as server,
        open_browser() as browser,
    ):
        page, client = new_page(browser, server.url), Client(server)
        run(page, client, "student_flow_unipc")
        write("page.jpg", page.screenshot(Path(folder) / "page.png").read_bytes())
        (PICTURES / "rollout.webp").write_bytes(find_format(run(page, client, "world_rollout"), "WEBP"))
        chart, comparison = run(page, client, "world_diagnose")[:2]
    write("diagnosis.jpg", chart)
    write("comparison.jpg", comparison)
    if len(sys.argv) > 1:
        write("sheet.jpg", Path(sys.argv[1]).read_bytes())
    return 0


def run(page: ComfyPage, client: Client, name: str) -> list[bytes]:
    """Return the files that a shipped workflow saves, in the order in which its nodes stand on the canvas."""
    workflow = WORKFLOWS / f"{name}.json"
    page.drop(workflow)
    return [client.view(entry) for entry in pictures_of(page.run(), workflow)]


def find_format(files: list[bytes], kind: str) -> bytes:
    """Return the first file of an image format."""
    return next(data for data in files if Image.open(io.BytesIO(data)).format == kind)


def write(name: str, data: bytes) -> None:
    """Write an image as a JPEG no wider than 1400 pixels."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    image.save(PICTURES / name, "JPEG", quality=82, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
