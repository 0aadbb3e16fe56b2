"""Train all demo weights: two chains of trainings side by side, one core each. ``make demo-weights``."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import MODELS

__all__ = ["main"]

_vae_trained = threading.Event()  # set when there is a VAE to learn latents from


def _run(module: str, *arguments: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", f"{__package__}.{module}", *arguments], check=True, env=environment)


def _train_image_models(models: Path) -> None:
    try:
        _run("captions", "--models", str(models))
        _run("vae", "--models", str(models))
    finally:
        _vae_trained.set()
    _run("students", "flow", "ddim", "--models", str(models))
    _run("few_step", "--models", str(models))


def _train_world(models: Path) -> None:
    _run("world", "--models", str(models))
    _vae_trained.wait()
    _run("vae", "--decoder", "--models", str(models))  # latents stay as they are
    _run("students", "4ch", "--models", str(models))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train everything; an argument is another models folder to write to."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    models = Path(given[0]) if given else MODELS
    failures: list[subprocess.CalledProcessError] = []
    _vae_trained.clear()

    def guarded(chain: Callable[[Path], None]) -> None:
        try:
            chain(models)
        except subprocess.CalledProcessError as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(chain,)) for chain in (_train_image_models, _train_world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        sys.exit(f"a training failed: {failures[0]}")


if __name__ == "__main__":
    main()
