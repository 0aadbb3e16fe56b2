"""Measure the Wan VAE beside its peers, at full size with random weights: time, memory, accuracy, seams, videos.

All implementations hold the same weights and take turns in one process; the figures are medians of the paired ratios,
with the processor time beside the time on the clock, because a busy machine lengthens only the second. Memory is the
peak above the loaded weights, each in a process of its own.

    python -m wan_lite.benchmarks.vae [--rounds 5] [--threads 2] [--size 512] [--comfyui PATH] [--official PATH]

What a ComfyUI checkout needs besides and is not installed here is taken from its own ``.venv``; torch stays ours.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.wan_vae import WAN21, WAN22, Tiling, WanVAE, WanVAEConfig, load_wan_vae, save_wan_vae
from .timing import Call, Rounds, take_turns, time_call

Codec = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
"""decode(raw latent), encode(pixels)."""

PARTS = ("rate", "time", "memory", "seams", "video", "large", "wan22")
VIDEO_FRAMES = 17
GMAC = {"decode": 550.1, "encode": 317.8}
"""Multiplications (10^9) of a direct 2-D Wan 2.1 at 512x512."""


def make_weights(path: Path, config: WanVAEConfig = WAN21) -> None:
    """Write a full-size file of random weights whose activations stay near unit size."""
    torch.manual_seed(0)
    vae = WanVAE(config, video=True).requires_grad_(False)
    for name, p in vae.named_parameters():
        if name.endswith("gamma"):
            continue
        inputs = p[0].numel() if not name.endswith(".past") else 3 * p[0, 0].numel()
        p.copy_(torch.randn_like(p) / max(1.0, inputs**0.5) if p.ndim > 1 else torch.zeros_like(p))
    save_wan_vae(vae, path)


def ours(path: Path, dtype: torch.dtype = torch.float32, tiling: Tiling | None = None) -> Codec:
    """Return this package's."""
    vae = load_wan_vae(path, dtype)
    return partial(vae.decode_raw, clamp=False, tiling=tiling), partial(vae.encode_raw, tiling=tiling)


def diffusers(path: Path) -> Codec:
    """Diffusers' AutoencoderKLWan with the same weights."""
    from diffusers import AutoencoderKLWan

    folder = path.with_suffix("")
    if not folder.is_dir():
        save_wan_vae(load_wan_vae(path, video=True), folder, "diffusers")
    vae = AutoencoderKLWan.from_pretrained(folder).eval()
    return lambda z: vae.decode(z).sample, lambda x: vae.encode(x).latent_dist.mean


def comfyui(path: Path, root: Path) -> Codec:
    """ComfyUI's own VAE: the class that its VAE loader builds, without the loader."""
    sys.path.insert(0, str(root))
    sys.path += [str(folder) for folder in root.glob(".venv/lib/python*/site-packages")]
    argv, sys.argv = sys.argv, ["", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    from comfy.ldm.wan.vae import WanVAE as Theirs

    sys.argv = argv
    vae = Theirs(dim=96, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, temperal_downsample=[False, True, True])
    _load(vae, path)
    return vae.decode, vae.encode


def official(path: Path, root: Path) -> Codec:
    """The VAE of Wan-Video/Wan2.2."""
    spec = importlib.util.spec_from_file_location("official_vae2_1", root / "wan" / "modules" / "vae2_1.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"--official is {root}; it must be a checkout of Wan-Video/Wan2.2.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vae = module.WanVAE_(dim=96, z_dim=16, temperal_downsample=[False, True, True])
    _load(vae, path)
    return lambda z: vae.decode(z, [0, 1]), lambda x: vae.encode(x, [0, 1])


def _load(vae: nn.Module, path: Path) -> None:
    from safetensors.torch import load_file

    vae.load_state_dict(load_file(path), strict=True)
    vae.eval().requires_grad_(False)


def build(name: str, path: Path, options: argparse.Namespace) -> Codec:
    """The codec of this name."""
    makers: dict[str, Callable[[], Codec]] = {
        "ours": lambda: ours(path),
        "ours bf16": lambda: ours(path, torch.bfloat16),
        "ours untiled": lambda: ours(path, tiling=Tiling("off")),
        "diffusers": lambda: diffusers(path),
        "comfyui": lambda: comfyui(path, options.comfyui),
        "official": lambda: official(path, options.official),
    }
    return makers[name]()


def inputs(size: int, frames: int = 1) -> tuple[Tensor, Tensor]:
    """A latent and pixels of this size."""
    torch.manual_seed(1)
    z = torch.randn(1, 16, 1 + (frames - 1) // 4, size // 8, size // 8)
    return z, torch.rand(1, 3, frames, size, size) * 2 - 1


def compare(names: list[str], path: Path, options: argparse.Namespace, size: int, frames: int, rounds: int) -> None:
    """Print the table of times; the first name is ours, against which the others are set."""
    codecs = {name: build(name, path, options) for name in names}
    given = dict(zip(("decode", "encode"), inputs(size, frames), strict=True))
    for action in options.actions:
        calls = {name: Call(partial(codecs[name][action == "encode"], given[action])) for name in names}
        found = take_turns(calls, rounds)
        for name in names:
            print(f"{action} {size}x{size}x{frames} {describe_row(name, found)}", flush=True)
            if name.startswith("ours") and frames == 1:
                rate = 2 * GMAC[action] * (size / 512) ** 2 / found.median(name).cpu
                print(f"    {name}: {rate:.0f} GFLOP of direct arithmetic a processor-second")


def describe_row(name: str, found: Rounds[Tensor]) -> str:
    """Return one implementation's medians, its paired ratios to the first one, and how far apart the results are."""
    first = next(iter(found.seconds))
    taken, ratio = found.median(name), found.ratio(name, to=first)
    base, own = found.results[first], found.results[name].float()
    if name == "diffusers":  # it clamps its images
        base, own = base.clamp(-1, 1), own.clamp(-1, 1)
    apart = (own - base).abs()
    worst = f"{apart.max():.1e} rms {apart.square().mean().sqrt():.1e}"
    return (
        f"{name:13s} {taken.wall:7.2f} s  cpu {taken.cpu:7.2f} s   time/ours {ratio.wall:5.2f}  "
        f"cpu/ours {ratio.cpu:5.2f}   apart {worst}"
    )


def seams(path: Path, size: int) -> None:
    """Print the largest difference between an image done in small chunks and the same one done whole."""
    z, pixels = inputs(size)
    whole, chunked = ours(path, tiling=Tiling("off")), ours(path, tiling=Tiling("budget", 100))
    for index, (action, given) in enumerate((("decode", z), ("encode", pixels))):
        (_, a), (_, b) = (time_call(Call(partial(codec[index], given))) for codec in (whole, chunked))
        print(f"seams {action} {size}x{size}: whole against 100 MB apart {(a - b).abs().max():.1e}", flush=True)


def larger_latents(path: Path, size: int) -> None:
    """Print the times of Wan 2.2's VAE."""
    make_weights(path, WAN22)
    torch.manual_seed(1)
    z, pixels = torch.randn(1, 48, 1, size // 16, size // 16), torch.rand(1, 3, 1, size, size) * 2 - 1
    for dtype in (torch.float32, torch.bfloat16):
        for action, work, given in zip(("decode", "encode"), ours(path, dtype), (z, pixels), strict=True):
            taken, _ = time_call(Call(partial(work, given)))
            print(f"Wan 2.2 {action} {size}x{size} {dtype} {taken.wall:.2f} s  cpu {taken.cpu:.2f} s", flush=True)


def convolution_rate() -> float:
    """GFLOP a processor-second of the best direct fp32 3x3 convolution of this network's own shapes."""
    best = 0.0
    with torch.inference_mode():
        for channels, rows, width in ((384, 16, 64), (384, 16, 128), (192, 16, 256), (96, 16, 512), (96, 512, 512)):
            x = torch.randn(1, channels, rows, width).to(memory_format=torch.channels_last)
            weight = torch.randn(channels, channels, 3, 3).to(memory_format=torch.channels_last)
            for _ in range(5):
                used = time.process_time()
                for _ in range(4):
                    F.conv2d(x, weight, padding=1)
                spent = (time.process_time() - used) / 4
                best = max(best, 18 * channels**2 * rows * width / spent / 1e9)
    return best


def measure_memory(name: str, action: str, path: Path, size: int, frames: int, options: argparse.Namespace) -> None:
    """Print, as JSON, the peak above the loaded weights in megabytes; meant for a process of its own."""
    codec = build(name, path, options)
    given = inputs(size, frames)[action == "encode"]
    if frames > 1 and name == "ours":  # the weights for videos come with the first one
        codec[action == "encode"](inputs(16, 5)[action == "encode"])
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # start the peak anew
    before = _resident("VmRSS")
    time_call(Call(partial(codec[action == "encode"], given)))
    print(json.dumps({"mb": _resident("VmHWM") - before}))


def _resident(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_table(names: list[str], path: Path, options: argparse.Namespace, size: int, frames: int = 1) -> None:
    """Print the peak of each implementation, each run in its own process."""
    peers = [f"--{peer}={getattr(options, peer)}" for peer in ("comfyui", "official") if getattr(options, peer)]
    for action in options.actions:
        found = {}
        for name in names:
            what = [*peers, f"--threads={options.threads}", "--memory-of", name, action, str(path), str(size)]
            command = [sys.executable, "-m", "wan_lite.benchmarks.vae", *what, str(frames)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found[name] = json.loads(done.stdout.splitlines()[-1])["mb"] if done.returncode == 0 else float("nan")
            against = f"   ours/this {found[names[0]] / found[name]:.2f}"
            print(f"memory {action} {size}x{size}x{frames} {name:13s} {found[name]:7.0f} MB{against}", flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, default=512, help="pixels, height and width")
    parser.add_argument("--video-size", type=int, default=128, help="the same for the video")
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI checkout")
    parser.add_argument("--official", type=Path, help="a checkout of Wan-Video/Wan2.2")
    parser.add_argument("--actions", nargs="+", default=["decode", "encode"], choices=["decode", "encode"])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--memory-of", nargs=5, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    options = parse()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        name, action, path, size, frames = options.memory_of
        measure_memory(name, action, Path(path), int(size), int(frames), options)
        return
    peers = ["diffusers", *(name for name in ("comfyui", "official") if getattr(options, name))]
    with tempfile.TemporaryDirectory() as folder:
        report(Path(folder) / "wan21_random.safetensors", peers, options)


def report(path: Path, peers: list[str], options: argparse.Namespace) -> None:
    """Print the parts that were asked for."""
    make_weights(path)
    diffusers(path)  # writes its folder once
    size, video = options.size, options.video_size
    resident = sum(p.numel() for p in load_wan_vae(path).parameters())
    print(f"weights in memory for images: {resident / 1e6:.1f} M of 126.9 M")
    if "rate" in options.parts:
        print(f"best direct fp32 convolution: {convolution_rate():.0f} GFLOP a processor-second", flush=True)
    if "time" in options.parts:
        compare(["ours", "ours bf16", *peers], path, options, size, 1, options.rounds)
    if "memory" in options.parts:
        memory_table(["ours", "ours bf16", *peers], path, options, size)
    if "video" in options.parts:
        compare(["ours", *peers], path, options, video, VIDEO_FRAMES, min(options.rounds, 3))
        memory_table(["ours", *peers], path, options, video, VIDEO_FRAMES)
    if "seams" in options.parts:
        seams(path, 2 * size)
    if "large" in options.parts:
        memory_table(["ours"], path, options, 4 * size)
    if "wan22" in options.parts:
        larger_latents(path.with_name("wan22_random.safetensors"), size)


if __name__ == "__main__":
    main()
