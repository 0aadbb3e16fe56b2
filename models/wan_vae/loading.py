"""Reading and writing Wan VAEs in every layout in circulation, keeping in memory only what images need."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...atomic import replacing
from ..checkpoint import WEIGHT_NAMES, CheckpointError, TensorFile, copy_tensor, write_tensors
from ..finite import is_finite
from ..fitting import check_fit, load_into
from ..model_kind import identify_model
from ..precision import choose_dtype
from ..text_files import read_text
from .config import WanVAEConfig
from .family import Member, name_member
from .key_map import build_diffusers_config, infer_config, is_diffusers, map_official_names, to_diffusers
from .vae import WanVAE

__all__ = ["VAEFile", "load_wan_vae", "official_state_dict", "save_wan_vae"]

_WEIGHTS = WEIGHT_NAMES[0]


class VAEFile:
    """A Wan VAE on disk, seen through the official names; tensors are read one by one where the format allows.

    Args:
        path: Official ``.pth`` or ``.safetensors``, diffusers' single file, or diffusers' folder (itself, or the
            pipeline's folder that has it as ``vae``).

    Raises:
        CheckpointError: There is no such file, it is damaged, or it is not a Wan VAE.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _find_weights(Path(path))
        self._file = TensorFile(self.path)
        self.metadata = self._file.metadata
        shapes = {name: tuple(spec.shape) for name, spec in self._file.specs.items()}
        self.layout = "diffusers" if is_diffusers(shapes) else "official"
        self._names = map_official_names(list(shapes))
        if len(self._names) != len(shapes):
            twice = sorted(set(shapes) - set(self._names.values()))[0]
            raise CheckpointError(
                f"{self.path.name}: {twice} and another tensor are the same one of a Wan VAE; the file was put "
                "together from several, take the original."
            )
        self.shapes = {name: shapes[inside] for name, inside in self._names.items()}
        self.class_name = ""
        self.config = self._read_config()

    def _read_config(self) -> WanVAEConfig:
        try:
            config = infer_config(self.shapes)
        except ValueError as error:
            raise CheckpointError(
                f"{self.path.name}: is not a usable Wan VAE: {error} The file is damaged or was changed; copy it again."
            ) from error
        if config is None:
            kind = identify_model(self._names.values())
            found = f"it looks like {kind.value}" if kind else f"{len(self.shapes)} tensors of an unknown model"
            raise CheckpointError(
                f"{self.path.name}: is not a Wan VAE: {found}. Choose Wan2.1_VAE.pth, wan_2.1_vae.safetensors, "
                "wan2.2_vae.safetensors or the vae folder of a Wan diffusers repository."
            )
        sidecar = self.path.parent / "config.json"
        if self.layout == "diffusers" and self.path.name == _WEIGHTS and sidecar.is_file():
            content = _read_sidecar(sidecar)
            self.class_name = str(content.get("_class_name", ""))
            config = _replace_statistics(config, content, f"{sidecar.parent.name}/{sidecar.name}")
        return config

    @property
    def member(self) -> Member:
        """Which member of the family it is."""
        return name_member(self.config, self.path.name, self.class_name)

    @property
    def dtype(self) -> torch.dtype:
        """The precision on disk."""
        return self._file.specs[self._names["conv2.weight"]].dtype

    def read(self, names: Iterable[str], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Return tensors by their names in :class:`WanVAE`'s state dict; those that the file lacks are left out.

        A causal kernel is cut while it is read, so that only the slices that are asked for stay in memory.

        Args:
            names: Of the tensors.
            dtype: To read them in; None keeps that of the file.
        """
        wanted = self._group(names)
        return {
            name: copy_tensor(_cut(name, tensor), dtype)
            for inside, tensor in self._file.stream(wanted)
            for name in wanted[inside]
        }

    def describe_tensors(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return what :meth:`read` would, without memory."""
        wanted = self._group(names)
        return {name: _cut(name, self._file.specs[inside]) for inside in wanted for name in wanted[inside]}

    def _group(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Return the tensors of the file, and which of the names each holds."""
        wanted: dict[str, list[str]] = {}
        for name in names:
            inside = self._names.get(_find_official(name))
            if inside is not None:
                wanted.setdefault(inside, []).append(name)
        return wanted


_SIDECAR_REMEDY = "take the config.json of the same repository as the weights, or remove it."


def _read_sidecar(sidecar: Path) -> dict[str, object]:
    """Return what a diffusers ``config.json`` holds.

    Raises:
        CheckpointError: It is not a JSON object.
    """
    name, remedy = f"{sidecar.parent.name}/{sidecar.name}", _SIDECAR_REMEDY
    try:
        content = json.loads(read_text(sidecar))
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name}: is not valid JSON ({error}); {remedy}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{name}: holds a {type(content).__name__}, not a mapping; {remedy}")
    return content


def _replace_statistics(config: WanVAEConfig, content: Mapping[str, object], name: str) -> WanVAEConfig:
    """Return the configuration with the mean and std of a diffusers ``config.json``, where that has them.

    Args:
        config: As the tensors show it.
        content: Of the ``config.json``.
        name: Of that file, for the message.

    Raises:
        CheckpointError: They are not finite numbers, one for each channel.
    """
    remedy = _SIDECAR_REMEDY
    found: dict[str, Any] = {
        key: content[key] for key in ("latents_mean", "latents_std") if content.get(key) is not None
    }
    for key, values in found.items():
        if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
            raise CheckpointError(f"{name}: {key} is not a list of numbers; {remedy}")
        if len(values) != config.z_dim:
            raise CheckpointError(f"{name}: {key} has {len(values)} values for {config.z_dim} channels; {remedy}")
    try:
        statistics = {key: tuple(map(float, values)) for key, values in found.items()}
        return replace(
            config,
            latents_mean=statistics.get("latents_mean", config.latents_mean),
            latents_std=statistics.get("latents_std", config.latents_std),
        )
    except (ValueError, OverflowError) as error:
        raise CheckpointError(f"{name}: {str(error).rstrip('.')}; {remedy}") from error


def _find_official(name: str) -> str:
    """Return which official tensor holds the one of this name in :class:`WanVAE`'s state dict."""
    return name.removesuffix(".past") + ".weight" if name.endswith(".past") else name


def _cut(name: str, tensor: Tensor) -> Tensor:
    """Return ours from an official tensor: gamma as a vector, a kernel's last temporal slice or the two before it."""
    if name.endswith(".gamma"):
        return tensor.reshape(-1)
    if tensor.ndim != 5 or not tensor.shape[2] or ".time_conv." in name:
        return tensor
    if name.endswith(".past"):
        return tensor[:, :, :-1].movedim(2, 0)
    return tensor[:, :, -1] if name.endswith(".weight") else tensor


def load_wan_vae(
    path: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
    *,
    video: bool | None = None,
) -> WanVAE:
    """Load a Wan VAE from any layout in circulation.

    Args:
        path: Official ``.pth`` or ``.safetensors`` (also ComfyUI's), a diffusers file, or a diffusers folder.
        dtype: Precision of weights and arithmetic; None: see :func:`choose_dtype`.
        device: Where the VAE goes.
        video: True loads the weights that only videos need, too; None loads them when a video is first given; False
            never (a video is then refused).

    Returns:
        The VAE, without gradients, in evaluation mode.

    Raises:
        CheckpointError: The file is missing, damaged, not a Wan VAE, incomplete, or holds NaN.
    """
    file = VAEFile(path)
    with torch.device("meta"):
        vae = WanVAE(file.config, video=bool(video))
    _fill(vae, file, choose_dtype(dtype, file.dtype, device))
    vae.latents_mean = torch.tensor(file.config.latents_mean)
    vae.latents_std = torch.tensor(file.config.latents_std)
    if video is None:
        vae.video_weights = partial(_read_video_weights, file)
    vae.requires_grad_(False).eval()
    vae.to(device)
    return vae if vae.conv1.weight.device.type == "cpu" else vae.use_channels_last()


def _fill(vae: WanVAE, file: VAEFile, dtype: torch.dtype) -> None:
    """Fill a VAE that lies on the meta device from a file, strictly; that it fits is checked before it is read.

    Raises:
        CheckpointError: A tensor is missing, left over, of another shape, or holds NaN or infinity.
    """
    names = list(vae.state_dict())
    known = {_find_official(name) for name in names} | {n for n in file.shapes if ".time_conv." in n}
    left_over = {name: torch.empty(0) for name in file.shapes if name not in known}
    source, what = file.path.name, f"a {vae.config.variant} VAE"
    check_fit(vae, file.describe_tensors(names) | left_over, source=source, what=what)
    load_into(vae, file.read(names, dtype), source=source, what=what)


def _read_video_weights(file: VAEFile, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read what only videos need (earlier temporal slices, convolutions over frames).

    Args:
        file: Where they are.
        expected: Tensors of these names and shapes; their values do not matter.

    Raises:
        CheckpointError: A tensor is missing, of another shape, or holds NaN or infinity.
    """
    tensors = file.read(list(expected))
    for name, value in expected.items():
        tensor = tensors.get(name)
        if tensor is None or tensor.shape != value.shape or not is_finite(tensor):
            found = "missing" if tensor is None else f"of shape {list(tensor.shape)}, or holds NaN"
            raise CheckpointError(
                f"{file.path.name}: {_find_official(name)} is {found}, and a video needs it finite for a kernel of "
                f"shape {list(value.shape)}; this file is good for images only. Use the original VAE for videos."
            )
    return tensors


def official_state_dict(vae: WanVAE) -> dict[str, Tensor]:
    """Return all tensors under the official names and shapes, as ComfyUI and the official code load them.

    A VAE that holds only the weights for images is written with zeros in the earlier temporal slices and in the
    convolutions over frames: the same images everywhere, and videos whose frames do not depend on each other.

    Source:
        Wan-Video/Wan2.2 ``vae2_1.py`` and ``vae2_2.py``, the names of their state dicts.
    """
    own = vae.state_dict()
    result: dict[str, Tensor] = {}
    for name, value in own.items():
        if name.endswith(".gamma"):
            ones = 2 if name.endswith(".middle.1.norm.gamma") else 3
            result[name] = value.reshape(-1, *[1] * ones).clone()
        elif name.endswith(".weight") and value.ndim == 4 and _is_3d(name):
            past = own.get(name.removesuffix("weight") + "past")
            if past is None:
                past = value.new_zeros(2 if value.shape[-1] == 3 else 0, *value.shape)
            result[name] = torch.cat([past, value.unsqueeze(0)]).movedim(0, 2).contiguous()
        elif not name.endswith(".past"):
            result[name] = value.clone().contiguous()
    return result | _make_missing_time_convs(vae, own)


def _is_3d(name: str) -> bool:
    return not any(part in name for part in (".resample.", ".to_qkv.", ".proj."))


def _make_missing_time_convs(vae: WanVAE, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    for name, module in vae.named_time_resamplers():
        if f"{name}.time_conv.weight" not in own:
            layer = module.make_time_conv()
            result |= {f"{name}.time_conv.{key}": value for key, value in layer.state_dict().items()}
    return result


def save_wan_vae(
    vae: WanVAE, path: str | os.PathLike[str], layout: str = "official", metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a Wan VAE so that the official code, ComfyUI (``official``) or diffusers (``diffusers``) loads it.

    Each file appears whole or not at all: an interrupted save leaves the old one.

    Args:
        vae: What to write.
        path: ``.safetensors``, ``.pth`` or ``.pt``; for ``diffusers`` also a folder (no suffix), which gets a
            ``config.json``.
        layout: ``official`` or ``diffusers``.
        metadata: For the header of a ``.safetensors`` file.

    Returns:
        The file that holds the weights.

    Raises:
        ValueError: ``layout`` is neither of the two, or nothing reads a VAE under a name with this ending.
        OSError: A file cannot be written; what was there stays.
    """
    if layout not in ("official", "diffusers"):
        raise ValueError(f"layout is {layout!r}; it must be 'official' or 'diffusers'.")
    if vae.video_weights is not None and not vae.has_video_weights:
        vae.add_video_weights()
    path = Path(path)
    folder = path if layout == "diffusers" and not path.suffix else None
    path = path if folder is None else folder / _WEIGHTS
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise ValueError(
            f"path is {path.name}; a VAE is written as .safetensors, .pth or .pt, and in the diffusers layout also as "
            "a folder, named without an ending."
        )
    tensors = {name: value.cpu() for name, value in official_state_dict(vae).items()}
    if layout == "diffusers":
        tensors = {to_diffusers(name, vae.config): value for name, value in tensors.items()}
    if path.suffix == ".safetensors":
        write_tensors(path, tensors, {"format": "pt", **(metadata or {})})
    else:
        with replacing(path) as part:
            torch.save(tensors, part)
    if folder is not None:
        with replacing(folder / "config.json") as part:
            part.write_text(json.dumps(build_diffusers_config(vae.config), indent=2))
    return path


def _find_weights(path: Path) -> Path:
    """Return the file that holds the weights, where a folder is given."""
    if not path.is_dir():
        return path
    for folder in (path, path / "vae"):
        if (folder / _WEIGHTS).is_file():
            return folder / _WEIGHTS
    raise CheckpointError(
        f"{path}: is a folder without {_WEIGHTS} (also looked in vae/); give the vae folder of a Wan diffusers "
        "repository, or a .safetensors or .pth file."
    )
