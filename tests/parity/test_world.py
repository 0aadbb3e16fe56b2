"""World models against tensors that TinyWorlds itself made (tests/vectors): ids exact, floats within 1e-4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Generator, Tensor

from wan_lite.models.world import DynamicsConfig, DynamicsModel, RolloutState, World, load_world, rollout
from wan_lite.models.world.actions import choose_action
from wan_lite.models.world.maskgit import MaskgitConfig, decode
from wan_lite.models.world.networks.fsq import FiniteScalarQuantizer
from wan_lite.models.world.networks.latent_actions import to_action_vectors
from wan_lite.models.world.predictor import Window

HERE = Path(__file__).parent.parent / "vectors" / "tinyworlds"
CURRENT = HERE / "current"
CASES = json.loads((CURRENT / "config.json").read_text())
ROLLOUTS = {tag: case for tag, case in CASES["rollouts"].items() if case["error"] is None}


@pytest.fixture(scope="module")
def world() -> World:
    return load_world(CURRENT / "checkpoints_current")


@pytest.fixture(scope="module")
def experts() -> DynamicsModel:
    model = DynamicsModel(DynamicsConfig(32, 8, 24, 4, 48, 2, 3, 4, action_dim=2, num_experts=4, top_k_experts=2))
    model.load_state_dict(load_file(CURRENT / "dynamics_moe.weights.safetensors"))
    return model.requires_grad_(False)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_quantiser() -> None:
    io = load_file(CURRENT / "fsq.io.safetensors")
    quantizer = FiniteScalarQuantizer(3, 4)
    assert torch.equal(quantizer.to_codes(torch.arange(64)), io["codebook_table"])
    close(quantizer(io["fsq_in"]), io["fsq_out"])
    assert torch.equal(quantizer.to_tokens(io["fsq_in"]), io["fsq_idx"])
    assert torch.equal(to_action_vectors(torch.arange(4), 2), io["action_table"])


def test_tokenizer(world: World) -> None:
    io = load_file(CURRENT / "video_tokenizer.io.safetensors")
    embedded = world.tokenizer.encoder.patch_embed(io["frames"])
    close(embedded, io["patch_embed_out"])
    block = world.tokenizer.encoder.transformer.blocks[0]
    modulation = block.compute_modulation(None, 4)
    close(block.spatial_attn(io["enc_block0_in"], None), io["enc_block0_after_spatial"])
    close(block.temporal_attn(io["enc_block0_after_spatial"], None, None)[0], io["enc_block0_after_temporal"])
    close(block(io["enc_block0_in"], modulation)[0], io["enc_block0_after_ffn"])
    close(world.tokenizer.encoder(io["frames"]), io["encoder_latents_prequant"])
    assert torch.equal(world.tokenizer.tokenize(io["frames"]), io["indices"])
    close(world.tokenizer(io["frames"]), io["recon_forward"])
    close(world.tokenizer.detokenize(io["indices"]), io["recon_from_indices"])
    close(world.tokenizer.detokenize(io["indices"], last=1), io["recon_from_indices"][:, -1:])


@pytest.mark.parametrize("clip", ["", "_long"])
def test_latent_actions(world: World, clip: str) -> None:
    io = load_file(CURRENT / "latent_actions.io.safetensors")
    close(world.latent_actions.encoder(io[f"frames{clip}"]), io[f"action_latents_prequant{clip}"])
    assert torch.equal(world.latent_actions.infer(io[f"frames{clip}"]), io[f"action_indices{clip}"])


def test_latent_action_decoder(world: World) -> None:
    io = load_file(CURRENT / "latent_actions.io.safetensors")
    close(world.latent_actions(io["frames"])[0], io["decoder_pred_frames"])


@pytest.mark.parametrize("actions", ["condT", "condTm1", "none"])
@pytest.mark.parametrize("name", ["dyn", "moe"])
def test_dynamics(world: World, experts: DynamicsModel, name: str, actions: str) -> None:
    io = load_file(CURRENT / "dynamics.io.safetensors")
    dynamics = experts if name == "moe" else world.dynamics
    close(dynamics(io["latents"], io.get(actions)), io[f"{name}.logits.{actions}"])


@pytest.mark.parametrize("name", ["dyn", "moe"])
def test_dynamics_with_masked_latents(world: World, experts: DynamicsModel, name: str) -> None:
    io = load_file(CURRENT / "dynamics.io.safetensors")
    dynamics = experts if name == "moe" else world.dynamics
    close(dynamics(io["latents_masked"], io["condTm1"]), io[f"{name}.logits_masked.condTm1"])


@pytest.mark.parametrize("case", CASES["maskgit"], ids=lambda case: case["tag"])
def test_maskgit(world: World, experts: DynamicsModel, case: dict[str, Any]) -> None:
    io = load_file(CURRENT / "maskgit.io.safetensors")
    tag, horizon = case["tag"], case["horizon"]
    context = io[f"{tag}.context_latents"]
    with torch.no_grad():
        decoded = decode(
            experts if tag.startswith("moe") else world.dynamics,
            context,
            io.get(f"{tag}.conditioning"),
            MaskgitConfig(
                horizon=horizon, maskgit_steps=case["num_steps"], temperature=case["temperature"], draw="all"
            ),
            to_latents=world.tokenizer.to_latents,
            generators=[Generator().manual_seed(case["torch_manual_seed"] or 0) for _ in context],
        )
    assert torch.equal(decoded.tokens, io[f"{tag}.out_indices"][:, -horizon:])
    assert torch.equal(decoded.unmask_step, io[f"{tag}.unmask_step"])


@pytest.mark.parametrize("tag", ROLLOUTS)
def test_rollout(world: World, tag: str) -> None:
    io, case = load_file(CURRENT / "rollout.io.safetensors"), ROLLOUTS[tag]
    options = case["overrides"]
    window, teacher = options["context_window"], options["teacher_forced"] == "true"
    truth = io["ground_truth_frames"]
    if options["use_interactive_mode"] == "true":
        actions: Any = case["actions"]
    else:
        actions = "random" if "true" in (options["use_gt_actions"], options["use_actions"]) else None
    context: Any = truth if teacher else truth[:, :window]
    if case["torch_manual_seed"] is not None:
        context = _seeded_like_the_program(world, truth[:, :window], case["torch_manual_seed"])
    result = rollout(
        world,
        context,
        steps=options["generation_steps"],
        actions=actions,
        context_window=window,
        horizon=options["prediction_horizon"],
        temperature=options["temperature"],
        context_actions="inferred" if options["use_gt_actions"] == "true" else "history",
        teacher_forced=teacher,
        clamp=False,
        draw="all",
    )
    close(result.frames, io[f"{tag}.generated_frames"])
    assert torch.equal(result.tokens[0], io[f"{tag}.next_indices"].flatten(0, 1))
    assert actions is None or result.actions[0].tolist() == case["actions"]


def _seeded_like_the_program(world: World, frames: Tensor, seed: int) -> RolloutState:
    """The original seeds one generator and then builds its three networks, whose first weights use up numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for part in (world.tokenizer, world.latent_actions, world.dynamics):
            type(part)(part.config)
        state = torch.get_rng_state()
    return RolloutState(Window(frames), ((),), ((state, state),))


def test_diversity_rule() -> None:
    for case in json.loads((HERE / "legacy" / "diversity_cases.json").read_text()):
        generator = Generator().manual_seed(case["torch_manual_seed"])
        history = list(case["history"])
        for _ in range(8):
            weight = case["diversity_weight"]
            history.append(choose_action("diversity", history, case["n_actions"], generator, weight))
        assert history[len(case["history"]) :] == case["next8"]
