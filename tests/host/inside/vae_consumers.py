"""The nodes to which ComfyUI's own templates give a VAE of the Wan family, and inputs on which each can be run.

A use is one node of one template: its type, which inputs are linked, and the VAE's file. Inputs are random and small;
what a template writes into widgets is taken over but for sizes and lengths.
"""

import contextlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, SimpleNamespace

import comfy.clip_vision
import comfy.controlnet
import comfy.latent_formats
import comfy.model_patcher
import comfy.sd
import torch
from tiny_models import formula, text

from harness import submodule

FAMILY = ("wan_2.1_vae", "wan2_1_vae", "wan2.2_vae", "qwen_image_vae", "qwen_image_layered_vae", "wan_alpha_2.1_vae")
"""Beginnings of the names of the family's files in the templates, in small letters."""

SIZES = {"width": 48, "height": 32, "length": 9, "batch_size": 1}
"""Widgets that the tests set themselves."""

LENGTHS = {"ref_motion": 9, "previous_frames": 13, "continue_motion": 5}
FRAMES = ("video", "masks", "pose", *LENGTHS)
"""Parts of the names of inputs that take the frames of a video."""


@dataclass(frozen=True)
class Use:
    """A node that takes the VAE.

    Attributes:
        node: Its type.
        linked: Names of its other inputs that have a link.
        file: The VAE's file in the template.
        widgets: Names and values of the widgets, sizes left out.
    """

    node: str
    linked: tuple[str, ...]
    file: str
    widgets: tuple[tuple[str, object], ...] = field(compare=False)


def takes_video(use: Use) -> bool:
    """Whether one of a use's inputs takes the frames of a video."""
    return any(part in name for name in use.linked for part in FRAMES)


def find_templates() -> list[Path]:
    """The workflow files that are installed with this ComfyUI."""
    found = Path(sys.prefix).glob("**/comfyui_workflow_templates_json/templates/*.json")
    return sorted(path for path in found if not path.name.startswith(("index", "fuse_options")))


def find_uses() -> dict[Use, list[str]]:
    """Every way in which a template uses a VAE of the family -> the templates' names.

    Nodes that a template has switched off (muted or bypassed) count as well: somebody will switch them on.
    """
    found: dict[Use, list[str]] = {}
    for path in find_templates():
        content = path.read_text("utf-8")
        if any(name in content.lower() for name in FAMILY):
            for use in read_uses(switch_on(json.loads(content))):
                found.setdefault(use, []).append(path.stem)
    return found


def switch_on(document):
    """Set every node of a workflow, subgraphs included, to run."""
    for graph in (document, *document.get("definitions", {}).get("subgraphs", [])):
        for node in graph["nodes"]:
            node["mode"] = 0
    return document


def read_uses(document) -> list[Use]:
    """The nodes of one workflow that take a VAE of the family."""
    graph = submodule("check.graph.read").read_graph(document)
    link = submodule("check.graph.graph").Link
    files = {node.id: str(node.inputs["vae_name"]) for node in graph if node.type == "VAELoader"}
    files = {key: name for key, name in files.items() if name.lower().startswith(FAMILY)}
    uses = []
    for node in graph:
        links = {name: value for name, value in node.inputs.items() if isinstance(value, link)}
        taken = {files[value.node] for name, value in links.items() if value.node in files}
        widgets = {k: v for k, v in node.inputs.items() if not isinstance(v, link) and k not in SIZES and v is not None}
        linked = tuple(sorted(name for name, value in links.items() if value.node not in files and name not in SIZES))
        uses += [Use(node.type, linked, file, tuple(widgets.items())) for file in taken]
    return uses


class Inputs:
    """Makes a value for each input of a node, the same ones for the same seed.

    Args:
        kinds: Input name -> ComfyUI's type, of one node.
        channels: Of the VAE's latents.
        cut: Frames that a video has less than the node asks for.
    """

    def __init__(self, kinds, channels: int, cut: int = 0) -> None:
        self.kinds, self.channels, self.cut = kinds, channels, cut
        self.generator = torch.Generator().manual_seed(0)

    def make(self, name: str):
        """A value for one input."""
        kind = self.kinds.get(name) or guess_kind(name)
        if name.startswith("tracks") and kind == "STRING":
            return json.dumps([[{"x": 4 + i, "y": 5 + i} for i in range(121)]])
        makers = {
            "IMAGE": self.image, "MASK": self.mask, "LATENT": self.latent, "CONDITIONING": lambda _: text(),
            "CLIP": lambda _: Clip(), "CLIP_VISION_OUTPUT": self.vision, "MODEL": lambda _: formula(channels=16),
            "MODEL_PATCH": lambda _: make_patch(), "CONTROL_NET": lambda _: make_control_net(),
            "AUDIO_ENCODER_OUTPUT": self.audio, "TRACKS": self.tracks, "STRING": lambda _: "words",
            "BOOLEAN": lambda _: True, "INT": lambda _: 0,
            "WAN_CAMERA_EMBEDDING": lambda _: self.random(1, 24, 3, 4, 6),
        }  # fmt: skip
        return makers[kind](name)

    def random(self, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=self.generator)

    def count_frames(self, name: str) -> int:
        if not any(part in name for part in FRAMES):
            return 1
        return LENGTHS.get(name, SIZES["length"]) - self.cut

    def image(self, name: str) -> torch.Tensor:
        return self.random(self.count_frames(name), 40, 56, 3)

    def mask(self, name: str) -> torch.Tensor:
        return self.random(self.count_frames(name), 40, 56).round()

    def latent(self, name: str) -> dict:
        return {"samples": 2 * self.random(1, self.channels, 3 if self.channels == 16 else 2, 4, 6) - 1}

    def vision(self, name: str):
        output = comfy.clip_vision.Output()
        output.penultimate_hidden_states = self.random(1, 5, 8)
        return output

    def audio(self, name: str) -> dict:
        layers = [self.random(1, 60, 16) for _ in range(33)]
        return {"encoded_audio_all_layers": layers, "audio_samples": 24000, "audio_feature": layers[0], "fps": 30.0}

    def tracks(self, name: str) -> dict:
        return {"track_path": 30 * self.random(9, 2, 2), "track_visibility": torch.ones(9, 2, dtype=torch.bool)}


def guess_kind(name: str) -> str:
    """The type of an input that the node declares inside another one."""
    return next((kind for part, kind in (("mask", "MASK"), ("audio", "AUDIO_ENCODER_OUTPUT")) if part in name), "IMAGE")


class Clip:
    """A text encoder that shows which images it was given."""

    def tokenize(self, prompt, images=(), **_):
        return list(images)

    def encode_from_tokens_scheduled(self, tokens):
        return [[torch.zeros(1, 3, 8), {"images": tokens}]]


class ControlModel(SimpleNamespace):
    """Where a control network would run: the test wants only what it would be given."""

    dtype = torch.float32


def make_control_net():
    net = comfy.controlnet.ControlNet(None, compression_ratio=1, latent_format=comfy.latent_formats.Wan21())
    net.control_model, net.control_model_wrapped, net.concat_mask = ControlModel(), None, True
    return net


def make_patch():
    """What Infinite Talk and DiffSynth's control nets ask of a model patch."""

    class Projection(SimpleNamespace):
        seq_len = 5

        def __call__(self, first, latter):
            return torch.cat([first.flatten(1).mean(1), latter.flatten(1).mean(1)])[:, None, None]

    model = SimpleNamespace(audio_proj=Projection(), additional_in_dim=4, process_input_latent_image=lambda x: x)
    return SimpleNamespace(model=model)


def finish(outputs):
    """Make what a node only prepares: a control net encodes its image when it samples."""
    conditionings = [value for value in outputs if isinstance(value, list)]
    nets = [entry[1]["control"] for value in conditionings for entry in value if "control" in entry[1]]
    for net in nets:
        net.model_sampling_current = formula().model.model_sampling
        # what is suppressed: the control network itself is not there
        with torch.inference_mode(), contextlib.suppress(TypeError, AttributeError):
            net.get_control(torch.zeros(1, 16, 4, 6), torch.ones(1), {"c_crossattn": None}, 1, {})
        assert net.cond_hint is not None
    return outputs


def collect(value, path: str = "", seen: frozenset = frozenset()) -> dict[str, torch.Tensor]:
    """Every tensor that can be reached from a node's outputs, by where it was found; weights and VAEs are left out."""
    if isinstance(value, torch.Tensor):
        return {path: value}
    if id(value) in seen or isinstance(value, torch.nn.Module | comfy.sd.VAE | type | FunctionType):
        return {}
    if isinstance(value, comfy.model_patcher.ModelPatcher):
        value = value.model_options
    elif isinstance(value, list | tuple):
        value = dict(enumerate(value))
    elif not isinstance(value, dict):
        value = getattr(value, "__dict__", {})
    seen = seen | {id(value)}
    found = {}
    for key, part in value.items():
        found |= collect(part, f"{path}.{key}", seen)
    return found
