"""Runs: samplers that continue each other's latents without new noise, as one descent from noise to image."""

from __future__ import annotations

from dataclasses import dataclass

from .samplers import SamplerUse

__all__ = ["Run", "find_runs", "previous_of"]


@dataclass(frozen=True)
class Run:
    """Samplers in the order in which they sample."""

    samplers: tuple[SamplerUse, ...]

    @property
    def levels(self) -> list[float] | None:
        """The levels at which networks are called, or None where one sampler's cannot be told."""
        found = [use.levels for use in self.samplers]
        return None if None in found else [level for levels in found if levels for level in levels]


def find_runs(samplers: tuple[SamplerUse, ...]) -> list[Run]:
    """Return the runs of a graph; a sampler that two others continue is in both."""
    by_node = {use.node.id: use for use in samplers}
    continued = {before.node.id for use in samplers if (before := previous_of(use, by_node)) and not _is_start(use)}
    return [Run(_list_chain(use, by_node)) for use in samplers if use.node.id not in continued]


def previous_of(use: SamplerUse, by_node: dict[str, SamplerUse]) -> SamplerUse | None:
    """Return the sampler whose latents another one takes unchanged, or None."""
    source = use.latent
    if not source.is_sampled or source.node is None or source.via:
        return None
    return by_node.get(source.node.id)


def _is_start(use: SamplerUse) -> bool:
    return use.adds_noise is not False


def _list_chain(use: SamplerUse, by_node: dict[str, SamplerUse]) -> tuple[SamplerUse, ...]:
    chain = [use]
    while not _is_start(chain[0]):
        before = previous_of(chain[0], by_node)
        if before is None or before in chain:
            break
        chain.insert(0, before)
    return tuple(chain)
