"""What LATENT, VAE, CLIP and CONDITIONING links carry, as far as families and sizes go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..graph.graph import Node
from ..graph.node_table import find_type
from .families import find_family, find_vae
from .follow import CannotTell, Follower, Origin, Value
from .models import LOADERS

__all__ = ["ClipTrace", "LatentTrace", "LatentTracer", "VaeTrace"]

VAE_LOADERS = ("VAELoader", "WanLiteVAELoader")
CLIP_LOADERS = ("CLIPLoader", "DualCLIPLoader", "TripleCLIPLoader", "CLIPLoaderGGUF", "DualCLIPLoaderGGUF")
SAMPLERS = (
    *("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"),
    *("WanLiteFlowUniPCSampler", "WanLiteDDIMSampler"),
)
"""Nodes whose LATENT output was sampled."""


@dataclass(frozen=True)
class VaeTrace:
    """The VAE of a link: ``vae`` is its name as families have it, or None where it cannot be told."""

    vae: str | None
    file: str = ""
    node: Node | None = None


@dataclass(frozen=True)
class ClipTrace:
    """The text encoder of a link: ``type`` is that of its loader, or None where it cannot be told."""

    type: str | None
    node: Node
    value: Value | None = None


@dataclass(frozen=True)
class LatentTrace:
    """Where a LATENT comes from.

    Attributes:
        node: The sampler, the VAE's encoder, or the node that made it; None where the path ended.
        slot: The number of its output.
        via: The nodes in between that changed it.
        unknown: Why the path ended.
    """

    node: Node | None = None
    slot: int = 0
    via: tuple[Node, ...] = ()
    unknown: str = ""

    @property
    def is_sampled(self) -> bool:
        """Whether a sampler made it."""
        return self.node is not None and self.node.type in SAMPLERS

    @property
    def is_encoded(self) -> bool:
        """Whether a VAE made it from images."""
        return self.node is not None and ("Encode" in self.node.type or self.node.type == "InpaintModelConditioning")


class LatentTracer:
    """Follows LATENT, VAE, CLIP and CONDITIONING links."""

    def __init__(self, follow: Follower) -> None:
        self.follow = follow

    def latent(self, node: Node, name: str) -> LatentTrace:
        """Return where the latent of an input comes from."""
        via: list[Node] = []
        for _ in range(1000):
            origin = self.follow.origin(node, name)
            if origin is None:
                return LatentTrace(unknown=f"nothing is linked to {name} of node {node.id}")
            if isinstance(origin, CannotTell):
                return LatentTrace(unknown=origin.reason)
            node, slot = origin
            known = find_type(node.type)
            if known is None:
                return LatentTrace(via=tuple(via), unknown=f"node {node.id} ({node.type}) is not known here")
            sockets = [entry for entry in known.sockets("LATENT") if node.link(entry)]
            if node.type in SAMPLERS or not sockets:
                return LatentTrace(node, slot, tuple(via))
            if len(sockets) > 1:
                return LatentTrace(via=tuple(via), unknown=f"node {node.id} ({node.type}) joins latents")
            via.append(node)
            name = sockets[0]
        return LatentTrace(unknown="links run in a circle")

    def vae(self, node: Node, name: str = "vae") -> VaeTrace:
        """Return the VAE of an input."""
        origin = self._follow_through(node, name, "VAE")
        if origin is None:
            return VaeTrace(None)
        loader, slot = origin
        if loader.type in VAE_LOADERS:
            file = self.follow.value(loader, "vae_name")
            return (
                VaeTrace(None, "", loader) if isinstance(file, CannotTell) else _trace_vae_file(str(file.value), loader)
            )
        if loader.type in LOADERS and slot == 2:
            file = self.follow.value(loader, LOADERS[loader.type])
            family = None if isinstance(file, CannotTell) else find_family(str(file.value))
            return VaeTrace(family.vae[0] if family and family.vae else None, "", loader)
        return VaeTrace(None, "", loader)

    def clips(self, node: Node, name: str) -> Iterator[ClipTrace]:
        """Yield the text encoders behind a CONDITIONING input."""
        for maker in self.conditioning(node, name):
            for socket in _list_sockets(maker, "CLIP"):
                origin = self._follow_through(maker, socket, "CLIP")
                if origin and origin[0].type in CLIP_LOADERS:
                    kind = self.follow.value(origin[0], "type")
                    value = kind if isinstance(kind, Value) else None
                    yield ClipTrace(str(value.value) if value else None, origin[0], value)

    def conditioning(self, node: Node, name: str) -> list[Node]:
        """Return every node that a CONDITIONING input depends on through CONDITIONING links."""
        waiting, found = [(node, name)], {}
        while waiting:
            origin = self.follow.origin(*waiting.pop())
            if origin is None or isinstance(origin, CannotTell) or origin[0].id in found:
                continue
            found[origin[0].id] = origin[0]
            waiting += [(origin[0], socket) for socket in _list_sockets(origin[0], "CONDITIONING")]
        return list(found.values())

    def _follow_through(self, node: Node, name: str, kind: str) -> Origin | None:
        """Follow a link through nodes that take and give the same type."""
        for _ in range(1000):
            origin = self.follow.origin(node, name)
            if origin is None or isinstance(origin, CannotTell):
                return None
            sockets = _list_sockets(origin[0], kind)
            if not sockets:
                return origin
            if len(sockets) > 1:
                return None
            node, name = origin[0], sockets[0]
        return None


def _trace_vae_file(file: str, loader: Node) -> VaeTrace:
    return VaeTrace(find_vae(file), file, loader)


def _list_sockets(node: Node, kind: str) -> list[str]:
    known = find_type(node.type)
    return known.sockets(kind) if known else []
