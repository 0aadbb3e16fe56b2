"""Measure the Wan 2.1 VAE beside its peers, at full size with random weights: time, memory, accuracy.

All implementations hold the same weights and take turns in one process; the figures are medians of the paired ratios,
with the processor time beside the time on the clock, because a busy machine lengthens only the second. Memory is the
peak above the loaded weights, each in a process of its own.

    python -m wan_lite.benchmarks.vae [--rounds 5] [--threads 2] [--size 512] [--comfyui PATH] [--official PATH]
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import resource
import statistics
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

from ..models.wan_vae import Tiling, WanVAE, load_wan_vae, save_wan_vae

Codec = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
"""decode(raw latent), encode(pixels)."""


def make_weights(path: Path) -> None:
    """Write a full-size file of random weights whose activations stay near unit size."""
    torch.manual_seed(0)
    vae = WanVAE(clips=True).requires_grad_(False)
    for name, p in vae.named_parameters():
        if name.endswith("gamma"):
            continue
        inputs = p[0].numel() if not name.endswith(".past") else 3 * p[0, 0].numel()
        p.copy_(torch.randn_like(p) / max(1.0, inputs**0.5) if p.ndim > 1 else torch.zeros_like(p))
    save_wan_vae(vae, path)


def ours(path: Path, dtype: torch.dtype = torch.float32, tiling: Tiling | None = None) -> Codec:
    """This package."""
    vae = load_wan_vae(path, dtype)
    return (
        lambda z: vae.decode_raw(z, clamp=False, tiling=tiling),
        lambda x: vae.encode_raw(x, tiling=tiling),
    )


def diffusers(path: Path) -> Codec:
    """diffusers' AutoencoderKLWan with the same weights."""
    from diffusers import AutoencoderKLWan

    folder = path.with_suffix("")
    if not folder.is_dir():
        save_wan_vae(load_wan_vae(path, clips=True), folder, "diffusers")
    vae = AutoencoderKLWan.from_pretrained(folder).eval()
    return lambda z: vae.decode(z).sample, lambda x: vae.encode(x).latent_dist.mean


def comfyui(path: Path, root: Path) -> Codec:
    """ComfyUI's own VAE: the class that its VAE loader builds, without the loader."""
    sys.path.insert(0, str(root))
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


def inputs(options: argparse.Namespace, frames: int = 1) -> tuple[Tensor, Tensor]:
    """A latent and pixels of the size asked for."""
    torch.manual_seed(1)
    z = torch.randn(1, 16, 1 + (frames - 1) // 4, options.size // 8, options.size // 8)
    return z, torch.rand(1, 3, frames, options.size, options.size) * 2 - 1


def timed(work: Callable[[], Tensor]) -> tuple[float, float, Tensor]:
    """Seconds on the clock, seconds of processors, result."""
    gc.collect()
    clock, used = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        result = work()
    return time.perf_counter() - clock, time.process_time() - used, result


def compare(names: list[str], path: Path, options: argparse.Namespace) -> None:
    """Print the table of times; the first name is ours, against which the others are set."""
    codecs = {name: build(name, path, options) for name in names}
    z, pixels = inputs(options, options.frames)
    for index, (action, given) in enumerate((("decode", z), ("encode", pixels))):
        if action not in options.actions:
            continue
        rows: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        results: dict[str, Tensor] = {}
        for _ in range(options.rounds):
            for name in names:
                clock, used, results[name] = timed(partial(codecs[name][index], given))
                rows[name].append((clock, used))
        base = results[names[0]]
        for name in names:
            clock, used = (statistics.median(column) for column in zip(*rows[name], strict=True))
            ratios = [
                statistics.median(theirs[i] / mine[i] for theirs, mine in zip(rows[name], rows[names[0]], strict=True))
                for i in (0, 1)
            ]
            apart = (results[name].float().clamp(-1e9, 1e9) - base).abs() if name != "diffusers" else None
            worst = f"{apart.max():.1e} rms {apart.square().mean().sqrt():.1e}" if apart is not None else "(clamps)"
            print(
                f"{action} {name:13s} {clock:7.2f} s  cpu {used:7.2f} s   time/ours {ratios[0]:5.2f}  "
                f"cpu/ours {ratios[1]:5.2f}   apart {worst}",
                flush=True,
            )
            if name.startswith("ours") and options.frames == 1:
                gmac = {"decode": 550.1, "encode": 317.8}[action] * (options.size / 512) ** 2
                print(f"       {name}: {2 * gmac / used:.0f} GFLOP/s of direct arithmetic a processor-second")


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


def measure_memory(name: str, action: str, path: Path, options: argparse.Namespace) -> None:
    """Print, as JSON, the peak above the loaded weights in megabytes; meant for a process of its own."""
    decode, encode = build(name, path, options)
    z, pixels = inputs(options, options.frames)
    work = (lambda: decode(z)) if action == "decode" else (lambda: encode(pixels))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # start the peak anew
    before = _resident("VmRSS")
    timed(work)
    print(json.dumps({"mb": _resident("VmHWM") - before}))


def _resident(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_table(names: list[str], path: Path, arguments: list[str], options: argparse.Namespace) -> None:
    """Print the peak of each implementation, each run in its own process."""
    for action in options.actions:
        found = {}
        for name in names:
            what = ["--memory-of", name, action, str(path)]
            command = [sys.executable, "-m", "wan_lite.benchmarks.vae", *arguments, *what]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found[name] = json.loads(done.stdout.splitlines()[-1])["mb"] if done.returncode == 0 else float("nan")
            against = f"   ours/this {found[names[0]] / found[name]:.2f}"
            print(f"memory {action} {name:13s} {found[name]:7.0f} MB above the weights{against}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, default=512, help="pixels, height and width")
    parser.add_argument("--frames", type=int, default=1, help="1, or 4n+1 for a clip")
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI checkout whose requirements are installed here")
    parser.add_argument("--official", type=Path, help="a checkout of Wan-Video/Wan2.2")
    parser.add_argument("--actions", nargs="+", default=["decode", "encode"], choices=["decode", "encode"])
    parser.add_argument("--only", nargs="+", help="implementations; default: all there are")
    parser.add_argument("--skip", nargs="*", default=[], choices=["time", "memory", "rate"])
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        name, action, path = options.memory_of
        measure_memory(name, action, Path(path), options)
        return
    peers = [name for name in ("comfyui", "official") if getattr(options, name)]
    names = options.only or ["ours", *(["ours bf16"] if options.frames == 1 else []), "diffusers", *peers]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wan21_random.safetensors"
        make_weights(path)
        if "rate" not in options.skip:
            print(f"best direct fp32 convolution: {convolution_rate():.0f} GFLOP a processor-second")
        if "time" not in options.skip:
            compare(names, path, options)
        if "memory" not in options.skip:
            diffusers(path)  # writes its folder once
            memory_table(names, path, sys.argv[1:], options)


if __name__ == "__main__":
    main()
