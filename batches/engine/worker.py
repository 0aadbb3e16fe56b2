"""A worker: keeps the models of its last group, runs groups, writes their files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from einops import rearrange
from torch import Tensor

from ...file_parts import split_name
from ...models import load_student, load_wan_vae, load_world, merge_lora, read_contract
from ...models.finite import NonFiniteError
from ...models.student import Student, fit_contract
from ...models.text_embeds import select_text_embeds
from ...models.wan_vae.vae import WanVAE
from ...models.world import World, fit_frames, parse_actions, rollout
from ...pipeline.contracts import resolve_contract
from ...pipeline.generation import Prompts, check_vae, choose_rounding, decode_images, sample_latents, save_png
from ...pipeline.pictures.convert import to_unit
from ...pipeline.text_encoder import encode_with, open_text_encoder
from ...pipeline.videos.reading import Excerpt, open_video, read_frames
from ...pipeline.videos.writing import write_video
from ...printable import make_file_name, make_line
from ...samplers.contract import CONTRACT_KEY
from ..manifest import DONE, FAILED, Record, describe_file
from .groups import Group
from .jobs import ImageJob, ImageModels, WorldJob

__all__ = ["Worker"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MOST_TEXTS = 1000  # that are kept encoded
FPS = 8.0

Loaded = TypeVar("Loaded")


@dataclass
class Worker:
    """Runs groups on one device; the models of the last group stay loaded.

    Attributes:
        folder: Where files go.
        device: Where networks work.
        threads: Of torch on the CPU; the last digits depend on it, so it is part of a plan.
    """

    folder: Path
    device: str = "cpu"
    threads: int = 1
    _loaded: dict[object, Any] = field(default_factory=dict)
    _texts: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    _encoder: tuple[str, Any, Any] | None = None

    def run(self, group: Group) -> list[Record]:
        """Run a group, write its files, and say what became of each row: a failure is a record, too."""
        torch.set_num_threads(self.threads)
        started = time.monotonic()
        records = list(self._run_rows(group))
        each = round((time.monotonic() - started) / len(records), 4)
        return [replace(record, about={**record.about, "seconds": each}) for record in records]

    def _run_rows(self, group: Group) -> Iterator[Record]:
        work = self._roll_out if isinstance(group.rows[0][1], WorldJob) else self._sample
        try:
            results = list(work(group))
        except (ValueError, NonFiniteError, FileNotFoundError) as error:
            if len(group.rows) > 1:  # one of them is to blame, and the others do not fail with it
                for item in group.rows:
                    yield from self._run_rows(replace(group, rows=(item,)))
                return
            for row, _, key in group.rows:
                yield Record(row.index, key, FAILED, (), dict(row.values), make_line(str(error)))
            return
        for (row, _, key), (name, about) in zip(group.rows, results, strict=True):
            yield Record(row.index, key, DONE, (describe_file(self.folder, name),), dict(row.values), "", about)

    def _sample(self, group: Group) -> Iterator[tuple[str, dict[str, Any]]]:
        """Write an image for each row; yield the names of the files and what is worth keeping."""
        jobs = [job for _, job, _ in group.rows if isinstance(job, ImageJob)]
        student, vae = self._load(jobs[0].models, self._load_images)
        contract = resolve_contract(student, jobs[0].overrides, on_mismatch=jobs[0].on_mismatch)
        prompts = Prompts(
            [self._find_text(job, job.embeds or job.prompt or "") for job in jobs],
            [self._find_text(job, job.negative) for job in jobs if job.negative is not None],
        )
        seeds = [job.seed for job in jobs]
        latent = sample_latents(student, prompts, contract=contract, seed=seeds, batch=len(jobs))
        record = json.loads(contract.to_json())
        for (row, _, _), job, image in zip(group.rows, jobs, decode_images(student, vae, latent), strict=True):
            notes = {"student": student.source, "seed": job.seed, "caption": job.caption}
            texts = {CONTRACT_KEY: record} | {f"wan_lite.{key}": value for key, value in notes.items()}
            name = f"{make_file_name(row.name)}.png"
            save_png(image, self.folder / name, texts, choose_rounding(contract))
            yield name, {"seed": job.seed, "contract": record}

    def _load_images(self, models: ImageModels) -> tuple[Student, WanVAE]:
        dtype = DTYPES[models.precision]
        student = load_student(models.student, dtype=dtype, device=self.device)
        if models.lora is not None:
            merge_lora(student.network, models.lora, models.strength)
            contract = read_contract(models.lora)
            if contract is not None:
                student.contract = fit_contract(contract, student.config, student.vae_channels)
        vae = load_wan_vae(models.vae, dtype=dtype, device=self.device, video=False)
        check_vae(student, vae)
        return student, vae

    def _find_text(self, job: ImageJob, text: str) -> Tensor:
        """Return the embeddings of words, or of ``FILE:NAME``."""
        source = job.models.text_encoder if job.embeds is None else None
        key = (source or "", text)
        if key not in self._texts:
            if len(self._texts) >= MOST_TEXTS:
                self._texts.clear()
            self._texts[key] = _select_text(text) if source is None else self._encode(source, text)
        return self._texts[key].to(self.device)

    def _encode(self, source: str, text: str) -> Tensor:
        """Encode words with the encoder that stays open, on the CPU."""
        if self._encoder is None or self._encoder[0] != source:
            self._encoder = (source, *open_text_encoder(Path(source), torch.bfloat16))
        _, tokenize, encoder = self._encoder
        return encode_with(tokenize, encoder, [text])[0]

    def _roll_out(self, group: Group) -> Iterator[tuple[str, dict[str, Any]]]:
        """Write a video for each row; yield the names of the files and what is worth keeping."""
        jobs = [job for _, job, _ in group.rows if isinstance(job, WorldJob)]
        first = jobs[0]
        world, context = self._load((first.world, first.clip, first.precision, first.config), self._load_world)
        rows = [row for row in (parse_actions(job.actions) for job in jobs) if isinstance(row, list)]
        result = rollout(
            world,
            context,
            steps=first.frames,
            actions=rows or parse_actions(first.actions),
            seed=[job.seed for job in jobs],
            batch=len(jobs),
            config=first.config,
        )
        frames = to_unit(rearrange(result.frames.clamp(-1, 1), "b t c h w -> b t h w c"))
        chosen = [None] * len(jobs) if result.actions is None else result.actions.tolist()
        for (row, _, _), job, video, actions in zip(group.rows, jobs, frames, chosen, strict=True):
            name = f"{make_file_name(row.name)}.webp"
            write_video(video, self.folder / name, FPS)
            yield name, {"seed": job.seed, "actions": actions}

    def _load_world(self, key: Any) -> tuple[World, Tensor]:
        path, clip, precision, config = key
        world = load_world(path, dtype=DTYPES[precision], device=self.device)
        file, number = split_name(clip)
        video = open_video(file, None if number is None else int(number))
        excerpt = Excerpt(limit=config.context_window or None)
        return world, read_frames(video, excerpt, lambda frames: fit_frames(frames, world.frame_size))

    def _load(self, key: Any, load: Callable[[Any], Loaded]) -> Loaded:
        """Return what ``load(key)`` gives, which is kept until something else is asked for."""
        if key not in self._loaded:
            self._loaded.clear()
            self._loaded[key] = load(key)
        found: Loaded = self._loaded[key]
        return found


def _select_text(text: str) -> Tensor:
    file, name = split_name(text)
    return select_text_embeds(file, name)[0][1]
