"""Measure the student's forward beside the same network as the training repository writes it.

The peer is rebuilt here from its description: ``nn.MultiheadAttention`` fed three separately normalised copies and
asked for its attention weights, text and time added one after the other, embeddings made anew at each call. Both get
the same weights, and their outputs are compared before anything is timed. To time the original itself, give the
folder of a checkout of kat3ri/WanDistiller with ``--original``.

    python -m wan_lite.benchmarks.student [--hidden 1024] [--depth 4] [--rounds 5] [--original FOLDER]
"""

from __future__ import annotations

import argparse
import json
import sys

import torch
from torch import Tensor, nn

from ..models.student import StudentConfig, StudentNetwork
from ..models.student.loading import to_file_names
from .timing import Call, take_turns


class PeerBlock(nn.Module):
    """A block as the training repository computes it."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attn = nn.MultiheadAttention(size, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.SiLU(), nn.Linear(4 * size, size))

    def forward(self, x: Tensor, time_vector: Tensor, text_vector: Tensor) -> Tensor:
        """Apply the block to tokens (b, n, d)."""
        x = x + text_vector[:, None]
        x = x + time_vector[:, None]
        mixed, _ = self.attn(self.norm1(x), self.norm1(x), self.norm1(x))
        x = x + mixed
        return x + self.mlp(self.norm2(x))


class Peer(nn.Module):
    """The network as the training repository computes it."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.text_proj = nn.Linear(config.text_encoder_output_dim, size)
        self.time_embed = nn.Sequential(nn.Linear(size, 4 * size), nn.SiLU(), nn.Linear(4 * size, size))
        self.conv_in = nn.Conv2d(config.num_channels, size, 3, padding=1)
        self.conv_out = nn.Conv2d(size, config.num_channels, 3, padding=1)
        self.blocks = nn.ModuleList(PeerBlock(size, config.num_heads) for _ in range(config.depth))

    def forward(self, latent: Tensor, _: None, timestep: Tensor, text: Tensor) -> Tensor:
        """Predict (b, C, h, w) from a latent of that shape; the second argument is the training repository's own."""
        half = self.text_proj.out_features // 2
        frequency = torch.exp(torch.arange(half) * -(torch.log(torch.tensor(10000.0)) / (half - 1)))
        angles = timestep.float()[:, None] * frequency[None]
        time_vector = self.time_embed(torch.cat([angles.sin(), angles.cos()], dim=-1))
        text_vector = self.text_proj(text.mean(dim=1))
        x = self.conv_in(latent)
        shape = x.shape
        x = x.flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x, time_vector, text_vector)
        return self.conv_out(x.transpose(1, 2).reshape(shape))


def original(folder: str, config: StudentConfig) -> nn.Module:
    """Build the training repository's own class from a checkout."""
    sys.path.insert(0, folder)
    from train_distillation import WanLiteStudent

    return WanLiteStudent(
        hidden_size=config.hidden_size,
        depth=config.depth,
        num_heads=config.num_heads,
        num_channels=config.num_channels,
        image_size=config.image_size,
        patch_size=config.patch_size,
        text_max_length=77,
        text_encoder_output_dim=config.text_encoder_output_dim,
    )


def main() -> None:
    """Time both in turn and print the medians and the median of the paired ratios as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--latent", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--original", help="a checkout of the training repository to time instead of the rebuilt peer")
    options = parser.parse_args()
    config = StudentConfig(options.hidden, options.depth, options.heads, 4, 16 * options.latent, 16, 4096)
    torch.manual_seed(0)
    ours = StudentNetwork(config).eval()
    peer = (original(options.original, config) if options.original else Peer(config)).eval()
    peer.load_state_dict(to_file_names(ours.state_dict()))
    latent, timestep = torch.randn(1, 4, options.latent, options.latent), torch.tensor([500])
    text = torch.randn(1, 40, 4096)
    calls = {
        "ours": Call(lambda: ours(latent, timestep, text)),
        "peer": Call(lambda: peer(latent, None, timestep, text)),
    }
    found = take_turns(calls, options.rounds, warm_up=1)
    report = {
        "peer": "original" if options.original else "rebuilt",
        "max_difference": (found.results["ours"] - found.results["peer"]).abs().max().item(),
        "ours_s": found.median("ours").wall,
        "peer_s": found.median("peer").wall,
        "peer_over_ours": found.ratio("peer", to="ours").wall,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
