"""Images of a student while it is trained: the same prompts after every so many steps, named and logged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ..models.student import Student
from ..models.wan_vae.vae import WanVAE
from ..pipeline.generation import choose_rounding, generate, save_png
from ..pipeline.pictures.convert import to_uint8
from ..printable import make_file_name
from ..samplers.contract import CONTRACT_KEY, SamplingContract

__all__ = ["ImageLogger", "TensorBoardLogger", "Validation", "WandbLogger", "validate"]


class ImageLogger(Protocol):
    """What takes images besides the files."""

    def log(self, name: str, image: Tensor, step: int) -> None:
        """Take an image (H, W, 3) in [0, 1]."""


@dataclass(frozen=True)
class TensorBoardLogger:
    """Logs to TensorBoard.

    Attributes:
        writer: A ``torch.utils.tensorboard.SummaryWriter``.
    """

    writer: Any

    def log(self, name: str, image: Tensor, step: int) -> None:
        """Take an image (H, W, 3) in [0, 1]."""
        self.writer.add_image(name, to_uint8(image), step, dataformats="HWC")


@dataclass(frozen=True)
class WandbLogger:
    """Logs to Weights & Biases.

    Attributes:
        run: What ``wandb.init`` returned.
    """

    run: Any

    def log(self, name: str, image: Tensor, step: int) -> None:
        """Take an image (H, W, 3) in [0, 1]."""
        import wandb

        self.run.log({name: wandb.Image(to_uint8(image).numpy())}, step=step)


@dataclass
class Validation:
    """A callback for a training loop: ``validation(step)`` samples when it is due.

    Attributes:
        student: What is trained; its own weights are used as they are at that step.
        vae: What decodes.
        prompts: Caption -> token embeddings (l, d).
        folder: Where the images go.
        every: Steps between two validations.
        contract: How to sample; None is the student's own.
        seed: Of the first sample; sample i uses seed + i, at every step the same.
        name: Of the model, in the names of the files; empty is the student's source.
        loggers: What else takes the images.
    """

    student: Student
    vae: WanVAE
    prompts: Mapping[str, Tensor]
    folder: Path
    every: int = 500
    contract: SamplingContract | None = None
    seed: int = 0
    name: str = ""
    loggers: list[ImageLogger] = field(default_factory=list)

    def __call__(self, step: int) -> list[Path]:
        """Sample at every ``every``-th step; return the files that were written.

        Raises:
            ValueError: There is no contract, or the VAE is of another kind.
            NonFiniteError: The student's images are not finite any more.
        """
        return [] if step % self.every else self.run(step)

    def run(self, step: int) -> list[Path]:
        """Sample every prompt now; return the files that were written."""
        network, contract = self.student.network, self.contract or self.student.contract
        modes = {module: module.training for module in network.modules()}
        network.eval()
        try:
            images = generate(
                self.student,
                self.vae,
                list(self.prompts.values()),
                contract=contract,
                seed=self.seed,
                batch=len(self.prompts),
            )
        finally:
            for module, mode in modes.items():
                module.training = mode
        assert contract is not None  # generate has refused it
        return [
            self._save(step, index, caption, image, contract)
            for index, (caption, image) in enumerate(zip(self.prompts, images, strict=True))
        ]

    def _save(self, step: int, index: int, caption: str, image: Tensor, contract: SamplingContract) -> Path:
        model = make_file_name(self.name or Path(self.student.source).stem)
        path = self.folder / f"{model}_step_{step}_sample_{index}_{make_file_name(caption)}.png"
        notes = {
            CONTRACT_KEY: json.loads(contract.to_json()),
            "wan_lite.seed": self.seed + index,
            "wan_lite.caption": caption,
        }
        save_png(image, path, notes, choose_rounding(contract))
        for logger in self.loggers:
            logger.log(f"validation/{index}: {caption}", image, step)
        return path


def validate(
    student: Student, vae: WanVAE, prompts: Mapping[str, Tensor], step: int, out: Path, **settings: Any
) -> list[Path]:
    """Sample every prompt once, into files named ``{model}_step_{step}_sample_{i}_{prompt}.png``.

    Args:
        student: What is trained.
        vae: What decodes.
        prompts: Caption -> token embeddings (l, d).
        step: Of the training.
        out: Folder of the images.
        **settings: Further fields of :class:`Validation`.

    Returns:
        The files.
    """
    return Validation(student, vae, prompts, out, **settings).run(step)
