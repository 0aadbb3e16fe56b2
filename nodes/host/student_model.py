"""A student as a MODEL of the host: its network in the host's layers, its latent format, its memory management.

The host samples in the student's own channels. A LATENT that leaves is always the VAE's (16 channels, un-normalised),
so a student of 4 channels carries its output projection in its latent format. See docs/notes/0004-student-as-model.md.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, ClassVar

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.supported_models_base
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...models.fitting import load_into
from ...models.model_kind import ModelKind
from ...models.student import (
    PreviewColours,
    Student,
    StudentCheckpoint,
    StudentConfig,
    StudentNetwork,
    build_projection,
    fit_contract,
    invert_projection,
    pool_text,
)
from ...models.student.student import VAES
from ...models.text_embeds import move_padding_last
from ...samplers.contract import SamplingContract
from .card.attention import choose_attention
from .card.float32 import full_float32
from .checks import CONTRACT_ATTACHMENT
from .cpu.threads import count_network, fit_threads
from .guard.guard import attach_contract
from .model_sampling import make_model_sampling

STUDENT_ATTACHMENT = "wan_lite.student"
SIZE_WITHOUT_MODEL = 512
_KEY = "wan_lite"


@dataclass(frozen=True)
class StudentInfo:
    """What a MODEL that is a student remembers of its checkpoint."""

    config: StudentConfig
    output_proj: nn.Conv2d | None
    source: str
    preview: PreviewColours | None = None

    @property
    def vae_channels(self) -> int:
        """The channels of the LATENT that leaves: 16 (Wan 2.1 VAE) or 48 (Wan 2.2 VAE)."""
        return self.config.num_channels if self.output_proj is None else self.output_proj.out_channels

    @property
    def pixel_size(self) -> int:
        """The true side in pixels of the images that the student was trained on."""
        return self.config.latent_size * VAES[self.vae_channels].spatial_factor


class HostNetwork(StudentNetwork):
    """The student's network as the host calls it: latents with a frame axis in, latents with a frame axis out."""

    def __init__(
        self,
        student_config: StudentConfig,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        operations: Any = nn,
    ) -> None:
        super().__init__(student_config, dtype=dtype, device=device, operations=operations)
        self.dtype = dtype

    def forward(  # type: ignore[override] # the host's call
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **_: Any,
    ) -> Tensor:
        """Predict for (b, C, 1, h, w) with pooled text (b, d), with the attention that the host was told to use."""
        if x.shape[2] != 1:
            raise ValueError(
                f"latent_image holds {x.shape[2]} latent frames, but a student samples single images; use "
                "WanLiteEmptyLatent, or WanLiteVAEEncode, which makes one latent of each image."
            )
        if context is None:
            raise ValueError("positive holds no text; connect a CLIPTextEncode or WanLiteTextEmbedsLoad.")
        attend = choose_attention(transformer_options)
        out = super().forward(rearrange(x, "b c 1 h w -> b c h w"), timestep, context, attend)
        return rearrange(out, "b c h w -> b c 1 h w")


class ProjectedLatent(comfy.latent_formats.LatentFormat):
    """The latent of a student with fewer channels than the VAE: projected on the way out, least squares on the way in.

    Previews are drawn straight from the student's channels, with the projection folded into the VAE's colour factors.
    """

    latent_dimensions = 3

    def __init__(self, vae_format: comfy.latent_formats.LatentFormat, projection: nn.Conv2d) -> None:
        if projection.bias is None:
            raise ValueError("projection has no bias; give the 1x1 convolution that a student was saved with.")
        self.vae_format = vae_format
        self.weight, self.bias = projection.weight, projection.bias
        self.latent_channels = projection.in_channels
        self.spacial_downscale_ratio = vae_format.spacial_downscale_ratio
        self.temporal_downscale_ratio = getattr(vae_format, "temporal_downscale_ratio", 1)
        factors = torch.tensor(vae_format.latent_rgb_factors)
        matrix = rearrange(self.weight.cpu(), "vae own 1 1 -> vae own")
        self.latent_rgb_factors = (matrix.T @ factors).tolist()
        bias = torch.tensor(vae_format.latent_rgb_factors_bias) + self.bias.cpu() @ factors
        self.latent_rgb_factors_bias = bias.tolist()

    def process_in(self, latent: Tensor) -> Tensor:
        """Turn a LATENT (b, 16, t, h, w) into the student's nearest (b, C, t, h, w); its own stays as it is."""
        if latent.shape[1] == self.latent_channels:
            return latent
        return invert_projection(self.vae_format.process_in(latent), self.weight, self.bias)

    def process_out(self, latent: Tensor) -> Tensor:
        """Turn the student's (b, C, t, h, w) into a LATENT (b, 16, t, h, w), once, at the end."""
        frames = rearrange(latent, "b c t h w -> (b t) c h w")
        weight, bias = self.weight.to(frames), self.bias.to(frames)
        projected = rearrange(F.conv2d(frames, weight, bias), "(b t) c h w -> b c t h w", b=latent.shape[0])
        return self.vae_format.process_out(projected)


def make_latent_format(info: StudentInfo) -> comfy.latent_formats.LatentFormat:
    """Return the host's latent format of a student: Wan 2.1's or 2.2's own, or a projected one; with its colours."""
    vae_format = comfy.latent_formats.Wan22() if info.vae_channels == 48 else comfy.latent_formats.Wan21()
    if info.preview is not None:
        vae_format.latent_rgb_factors = [list(row) for row in info.preview.factors]
        vae_format.latent_rgb_factors_bias = list(info.preview.bias)
        vae_format.taesd_decoder_name = None  # made for the published VAE, as the host's own colours are
    return vae_format if info.output_proj is None else ProjectedLatent(vae_format, info.output_proj)


class StudentSettings(comfy.supported_models_base.BASE):
    """What the host asks about an architecture."""

    unet_extra_config: ClassVar[dict[str, Any]] = {}
    supported_inference_dtypes: ClassVar[list[torch.dtype]] = [torch.bfloat16, torch.float16, torch.float32]

    def __init__(self, info: StudentInfo) -> None:
        super().__init__({"student_config": info.config})
        self.latent_format = make_latent_format(info)
        # Activations of one block at hidden 1024 are about this share of what the host assumes for its own unit.
        self.memory_usage_factor = max(0.1, info.config.hidden_size / 512)


class StudentModel(comfy.model_base.BaseModel):
    """A student in the host's sampling: text is averaged once, before the first step."""

    def __init__(
        self, settings: StudentSettings, contract: SamplingContract, device: torch.device | None = None
    ) -> None:
        super().__init__(settings, comfy.model_base.ModelType.FLOW, device=device, unet_model=HostNetwork)
        self.model_sampling = make_model_sampling(contract)
        self.text_length = contract.text_length
        self.text_width = settings.unet_config["student_config"].text_encoder_output_dim

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """Pool the text per item here: cond and uncond then have one shape, and no step carries 512 rows."""
        conds = super().extra_conds(**kwargs)
        rows = kwargs.get("cross_attn")
        check_text(rows, kwargs.get("prompt_type") or "conditioning", self.text_width)
        if rows is not None:
            conds["c_crossattn"] = comfy.conds.CONDRegular(pool_text(move_padding_last(rows), self.text_length))
        return conds


def check_text(rows: Any, name: str, width: int) -> None:
    """Check that a prompt is encoded text (b, l, width) as the student reads it.

    Raises:
        ValueError: It is not.
    """
    if isinstance(rows, Tensor) and rows.ndim == 3 and rows.shape[-1] == width and rows.shape[1]:
        return
    found = f"text of shape {list(rows.shape)}" if isinstance(rows, Tensor) else "no text"
    raise ValueError(
        f"{name} holds {found}, and this student reads [batch, tokens, {width}]; connect a CLIPTextEncode with the "
        "text encoder of its training (Wan's umT5 has 4096), or WanLiteTextEmbedsLoad."
    )


def narrow_outer_sample(
    executor: Any, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    """Let core's sampler nodes start a 4-channel student from an image: bring latent and noise to its channels.

    The host draws noise in the shape of the LATENT that comes in, which has the VAE's 16 channels.
    """
    model = executor.class_obj.model_patcher.model
    own = model.latent_format
    if isinstance(own, ProjectedLatent) and latent_image.shape[1] != own.latent_channels:
        # Empty stays empty: the nearest to zeros is not zeros, and samplers tell an empty latent by its zeros.
        empty = not torch.count_nonzero(latent_image)
        latent_image = latent_image[:, : own.latent_channels] if empty else own.process_in(latent_image)
        noise = noise[:, : own.latent_channels]
        kwargs = {key: _narrow(value, own.latent_channels) for key, value in kwargs.items()}
        args = tuple(_narrow(value, own.latent_channels) for value in args)
    batch, (height, width) = len(latent_image), latent_image.shape[-2:]
    threads = fit_threads(count_network(model.diffusion_model, batch * height * width))
    with threads, full_float32(model.manual_cast_dtype or model.get_dtype()):
        return executor(noise, latent_image, sampler, sigmas, *args, **kwargs)


def _narrow(value: Any, channels: int) -> Any:
    """Cut a denoise mask to the student's channels; leave everything else alone."""
    return value[:, :channels] if isinstance(value, Tensor) and value.ndim == 5 else value


def describe_student(model: Any) -> str:
    """Describe a MODEL that is a student, one fact a line: its size, its images, how it wants to be sampled."""
    info: StudentInfo = model.get_attachment(STUDENT_ATTACHMENT)
    contract: SamplingContract = model.get_attachment(CONTRACT_ATTACHMENT)
    side, config = info.config.latent_size, info.config
    return "\n".join(
        [
            info.source,
            f"{config.depth} blocks, width {config.hidden_size}, {config.num_channels} channels",
            f"latent {side}x{side}, image {info.pixel_size}x{info.pixel_size}",
            f"contract ({contract.source}): {contract.solver}, {contract.prediction}",
            f"{contract.steps} steps, shift {contract.shift:g}, cfg {contract.cfg:g}",
        ]
    )


def fit_to_student(contract: SamplingContract, model: Any) -> SamplingContract:
    """Return the contract with the latent of a MODEL that is a student; of another, or of None, as it is."""
    info: StudentInfo | None = model.get_attachment(STUDENT_ATTACHMENT) if model else None
    return fit_contract(contract, info.config, info.vae_channels) if info else contract


def make_empty_latent(model: Any, width: int, height: int, batch_size: int) -> dict[str, Any]:
    """Return an empty LATENT of one frame in the channels of ``model`` (None: those of Wan 2.1).

    Args:
        model: A MODEL or None.
        width: In pixels; 0 takes the size that the student was trained at, or 512.
        height: As width.
        batch_size: Number of images.

    Raises:
        ValueError: A side is not a whole number of latent cells.
    """
    latent_format = model.get_model_object("latent_format") if model else None
    cell = getattr(latent_format, "spacial_downscale_ratio", 8)
    own = get_trained_size(model) or SIZE_WITHOUT_MODEL
    sides = [height or own, width or own]
    if any(side % cell for side in sides):
        raise ValueError(f"width x height is {sides[1]}x{sides[0]}; both must be multiples of {cell} for this MODEL.")
    shape = (batch_size, getattr(latent_format, "latent_channels", 16), 1, *(side // cell for side in sides))
    return {"samples": torch.zeros(shape, device=comfy.model_management.intermediate_device())}


def get_trained_size(model: Any) -> int | None:
    """Return the side in pixels of the images that a student was trained on; None where ``model`` is not a student."""
    info: StudentInfo | None = model.get_attachment(STUDENT_ATTACHMENT) if model else None
    return info.pixel_size if info else None


def build_model(checkpoint: StudentCheckpoint, on_mismatch: str = "error") -> Any:
    """Make the host's MODEL from a student as it was read, in the types of its tensors; they become its weights.

    Args:
        checkpoint: As :func:`read_student` returns it; the host decides what to compute in.
        on_mismatch: What its guard does where a sampler of core's deviates from its contract.

    Raises:
        CheckpointError: Tensors are missing, left over, of another shape, or NaN.
        ValueError: Nothing says how to sample it.
    """
    # The host's own loading only warns about a wrong file: check on a network without memory first.
    network = StudentNetwork(checkpoint.config, device="meta")
    load_into(network, checkpoint.tensors, source=checkpoint.source, what=ModelKind.STUDENT.value)
    info = StudentInfo(checkpoint.config, build_projection(checkpoint), checkpoint.source, checkpoint.preview)
    contract = checkpoint.contract
    if contract is None:
        raise ValueError(f"{checkpoint.source}: has no sampling contract; choose a contract_preset for it.")
    device = comfy.model_management.get_torch_device()
    settings = make_settings(info, network.conv_in.weight.dtype, device)
    model = StudentModel(settings, contract, device=comfy.model_management.unet_offload_device())
    patcher_class = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    patcher = patcher_class(model, load_device=device, offload_device=comfy.model_management.unet_offload_device())
    # Hosts before 0.13 only copy, and hold everything twice meanwhile.
    assign = {"assign": True} if "assign" in inspect.signature(model.load_model_weights).parameters else {}
    model.load_model_weights(network.state_dict(), "", **assign)
    attach_contract(patcher, contract, on_mismatch)
    patcher.set_attachments(STUDENT_ATTACHMENT, info)
    patcher.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, _KEY, narrow_outer_sample)
    return patcher


def make_settings(info: StudentInfo, dtype: torch.dtype, device: torch.device) -> StudentSettings:
    """Return what the host asks about a student whose weights are kept in ``dtype``."""
    settings = StudentSettings(info)
    cast = comfy.model_management.unet_manual_cast(dtype, device, settings.supported_inference_dtypes)
    settings.set_inference_dtype(dtype, cast)
    return settings


def to_student(model: Any) -> Student:
    """Take a student back out of a MODEL, with its patches (LoRA) merged into the weights.

    Raises:
        ValueError: The MODEL is not a student.
    """
    info: StudentInfo | None = model.get_attachment(STUDENT_ATTACHMENT)
    if info is None:
        raise ValueError(
            f"model is {type(model.model).__name__}, not a student; connect the MODEL of WanLiteStudentLoader."
        )
    is_dynamic = getattr(model, "is_dynamic", None)  # such a patcher merges each weight when it is fetched
    merging = {} if is_dynamic and is_dynamic() else {"force_patch_weights": True}
    comfy.model_management.load_models_gpu([model], **merging)
    prefix = "model.diffusion_model."
    holder = model if hasattr(model, "state_dict_for_saving") else model.model  # where older hosts have it
    # nothing but ``to`` fetches such a weight with its patches: ``detach`` would give it without
    tensors = {key.removeprefix(prefix): value.to("cpu") for key, value in holder.state_dict_for_saving().items()}
    network = StudentNetwork(info.config, device="meta").requires_grad_(False)
    network.load_state_dict(tensors, strict=True, assign=True)
    return Student(
        network,
        output_proj=info.output_proj,
        contract=model.get_attachment(CONTRACT_ATTACHMENT),
        source=info.source,
        preview=info.preview,
    )
