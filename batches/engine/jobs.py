"""What a row asks for: an image from a student, or a rollout of a world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from ...file_parts import split_name
from ...models.world import RolloutConfig
from ...pipeline.contracts import Overrides
from ..rows import NAME, Row, RowsError

__all__ = ["ImageJob", "ImageModels", "Job", "WorldJob", "parse_job"]

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class ImageModels:
    """The files that images are made with.

    Attributes:
        student: Folder or file.
        vae: File or folder.
        text_encoder: For prompts in words; None where all text comes from files.
        lora: A LoRA to merge.
        strength: Of the LoRA.
        precision: fp32, bf16 or fp16.
    """

    student: str
    vae: str
    text_encoder: str | None = None
    lora: str | None = None
    strength: float = 1.0
    precision: str = "fp32"


@dataclass(frozen=True)
class ImageJob:
    """One image.

    Attributes:
        models: What it is made with.
        overrides: How it is sampled, where that is not the student's own contract.
        on_mismatch: error, warn or ignore.
        seed: Of its noise.
        prompt: Words, or
        embeds: ``FILE:NAME`` of encoded text; NAME is a caption or its number.
        negative: What to steer away from, given like the prompt.
    """

    models: ImageModels
    overrides: Overrides
    on_mismatch: str
    seed: int
    prompt: str | None
    embeds: str | None
    negative: str | None

    @property
    def caption(self) -> str:
        """The prompt in words, or the name of its embeddings."""
        return self.prompt or (self.embeds or "").rpartition(":")[2]

    @property
    def group(self) -> tuple[object, ...]:
        """What rows that run together have in common."""
        return (self.models, self.overrides, self.on_mismatch, self.negative is None)

    @property
    def files(self) -> list[str]:
        """The files that must be there."""
        models = self.models
        named = (models.student, models.vae, models.text_encoder, models.lora)
        texts = [self.embeds, self.negative] if self.embeds is not None else []
        return [path for path in named if path is not None] + [str(split_name(t)[0]) for t in texts if t is not None]


@dataclass(frozen=True)
class WorldJob:
    """One rollout.

    Attributes:
        world: File or folder.
        clip: ``FILE[:N]`` with the frames to start from.
        precision: fp32, bf16 or fp16.
        actions: Ids such as ``0,3,3x4``, or a rule.
        frames: Predictions.
        config: How each is made.
        seed: Of the draws.
    """

    world: str
    clip: str
    precision: str
    actions: str
    frames: int
    config: RolloutConfig
    seed: int

    @property
    def group(self) -> tuple[object, ...]:
        """What rows that run together have in common: explicit actions may differ, rules may not."""
        rule = "" if self.actions[:1].isdigit() else self.actions
        return (self.world, self.clip, self.precision, rule, self.frames, self.config)

    @property
    def files(self) -> list[str]:
        """The files that must be there."""
        return [self.world, str(split_name(self.clip)[0])]


Job: TypeAlias = ImageJob | WorldJob


def parse_job(row: Row) -> Job:
    """Return what a row asks for.

    Raises:
        RowsError: A column is unknown, missing, or holds what it cannot.
    """
    cells = _Cells(row)
    job = _parse_world(cells) if "world" in row.values else _parse_image(cells)
    cells.check_unused()
    return job


@dataclass
class _Cells:
    """The values of a row, each taken once."""

    row: Row
    taken: set[str] = field(default_factory=lambda: {NAME})

    def text(self, name: str) -> str | None:
        self.taken.add(name)
        value = self.row.values.get(name)
        return None if value is None or str(value).strip() == "" else str(value)

    def required(self, name: str) -> str:
        text = self.text(name)
        if text is None:
            raise self.refuse(f"has no {name}; add a column, or --set {name}=... for all rows")
        return text

    def number(
        self, name: str, kind: type[int] | type[float], least: float, most: float, default: float | None = None
    ) -> Any:
        text = self.text(name)
        if text is None:
            return default
        try:
            value = kind(text)
        except ValueError:
            value = kind(least) - 1
        if not least <= value <= most:
            what = "a whole number" if kind is int else "a number"
            raise self.refuse(f"{name} is {text!r}; give {what} from {least:g} to {most:g}")
        return value

    def choice(self, name: str, known: tuple[str, ...]) -> str:
        text = self.text(name) or known[0]
        if text not in known:
            raise self.refuse(f"{name} is {text!r}; choose one of {', '.join(known)}")
        return text

    def refuse(self, reason: str) -> RowsError:
        return RowsError(f"line {self.row.line}: {reason}.")

    def check_unused(self) -> None:
        unknown = [name for name in self.row.values if name not in self.taken]
        if unknown:
            known = ", ".join(sorted(self.taken))
            raise self.refuse(f"has a column {unknown[0]!r}, which nothing reads; there are {known}")


PRECISIONS = ("fp32", "bf16", "fp16")


def _parse_image(cells: _Cells) -> ImageJob:
    models = ImageModels(
        cells.required("student"),
        cells.required("vae"),
        cells.text("text_encoder"),
        cells.text("lora"),
        cells.number("lora_strength", float, -100, 100, 1.0),
        cells.choice("precision", PRECISIONS),
    )
    prompt, embeds = cells.text("prompt"), cells.text("embeds")
    if (prompt is None) == (embeds is None):
        raise cells.refuse("needs either a prompt (words) or embeds (FILE:NAME)")
    if prompt is not None and models.text_encoder is None:
        raise cells.refuse("has a prompt in words, which needs a text_encoder")
    overrides = Overrides(
        cells.text("contract"),
        cells.text("sampler"),
        cells.number("steps", int, 1, 10_000),
        cells.number("shift", float, 1e-6, 1e6),
        cells.number("cfg", float, 0, 1000),
        cells.text("size"),
    )
    return ImageJob(
        models,
        overrides,
        cells.choice("on_mismatch", ("error", "warn", "ignore")),
        cells.number("seed", int, 0, LARGEST_SEED, 0),
        prompt,
        embeds,
        cells.text("negative"),
    )


def _parse_world(cells: _Cells) -> WorldJob:
    settings = {f.name: _parse_setting(cells, f.name, type(f.default)) for f in fields(RolloutConfig)}
    try:
        config = RolloutConfig(**{name: value for name, value in settings.items() if value is not None})
    except ValueError as error:
        raise cells.refuse(str(error).rstrip(".")) from None
    return WorldJob(
        cells.required("world"),
        cells.required("clip"),
        cells.choice("precision", PRECISIONS),
        cells.text("actions") or "diversity",
        cells.number("frames", int, 1, 100_000, 10),
        config,
        cells.number("seed", int, 0, LARGEST_SEED, 0),
    )


def _parse_setting(cells: _Cells, name: str, kind: type) -> Any:
    if kind is str:
        return cells.text(name)
    if kind is bool:
        text = cells.text(name)
        words: Mapping[str, bool] = {"true": True, "false": False, "1": True, "0": False}
        if text is not None and text.lower() not in words:
            raise cells.refuse(f"{name} is {text!r}; give true or false")
        return None if text is None else words[text.lower()]
    parse: Callable[..., Any] = cells.number
    return parse(name, kind, -1e6, 1e6)
