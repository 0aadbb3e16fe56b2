"""The demo's training scripts run, are seeded, log their losses, and write files that the library opens."""

from __future__ import annotations

import csv
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Generator, nn

from wan_lite.demo import demo_file
from wan_lite.demo.captions import embed
from wan_lite.demo.game import play
from wan_lite.demo.patterns import draw, list_captions
from wan_lite.demo.train import __main__ as command
from wan_lite.demo.train import captions, dynamics, few_step, students, vae, world
from wan_lite.demo.train.loop import EMA, Log, make_optimizer, schedule_steps
from wan_lite.models import load_student, load_wan_vae, load_world
from wan_lite.models.wan_vae.vae import WanVAE, WanVAEConfig
from wan_lite.samplers import flow_schedule


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(vae, "DIM", 4)
    monkeypatch.setattr(vae, "STATISTICS", 16)
    return tmp_path / "demo" / "models"


def rows(models: Path, name: str) -> list[dict[str, str]]:
    with (models.parent / "train" / "logs" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_vae_then_its_decoder_then_students(models: Path) -> None:
    common = ["--models", str(models), "--steps", "2"]
    vae.main(common)
    before = load_file(demo_file("vae", models))
    vae.main([*common, "--decoder"])
    after = load_file(demo_file("vae", models))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed <= {"decoder", "conv2"}  # the latents stayed as they were
    assert "decoder" in changed
    assert load_wan_vae(demo_file("vae", models), video=False).config.dim == 4
    students.main([*common, "--images", "8", "flow", "ddim", "4ch"])
    student = load_student(demo_file("student_4ch", models))
    assert student.contract is not None
    assert student.contract.latent == (4, 8, 8)
    assert student.contract.output_projection
    assert student.to_vae_latent(torch.zeros(1, 4, 8, 8)).shape == (1, 16, 8, 8)
    students.main([*common, "--images", "8", "ddim", "--resume"])
    assert len(rows(models, "student_ddim_resumed")) == 1
    ddim = load_student(demo_file("student_ddim", models))
    assert ddim.contract is not None
    assert (ddim.contract.solver, ddim.contract.prediction, ddim.contract.source) == ("ddim", "epsilon", "declared")
    assert rows(models, "student_ddim")[-1]["step"] == "2"
    assert float(rows(models, "vae")[-1]["loss"]) > 0


def test_four_steps_are_learned_from_where_the_teacher_ends(models: Path) -> None:
    vae.main(["--models", str(models), "--steps", "2"])
    students.main(["--models", str(models), "--steps", "2", "--images", "8", "flow"])
    few_step.main(["--models", str(models), "--steps", "2", "--images", "4"])
    student = load_student(demo_file("student_4step", models))
    assert student.contract is not None
    assert (student.contract.solver, student.contract.denoising_steps) == ("renoise", (1000, 750, 500, 250))
    assert len(rows(models, "student_4step")) == 1


def test_the_rest_of_the_teachers_schedule_begins_at_the_students_sigma() -> None:
    own = flow_schedule(20, shift=5.0).sigma_values
    assert few_step.schedule_from(1.0).sigma_values == own
    rest = few_step.schedule_from(0.625).sigma_values
    assert rest[0] == 0.625
    assert list(rest[1:]) == [sigma for sigma in own if sigma < 0.625]


def test_a_world_and_one_that_keeps_its_tokens(models: Path) -> None:
    common = ["--models", str(models), "--steps", "2", "2", "3"]
    first = models.parent / "first.safetensors"
    world.main([*common, "--output", str(first)])
    world.main([*common, "--keep", str(first)])
    one, two = load_world(first), load_world(demo_file("world", models))
    assert one.n_actions == 4
    assert torch.equal(one.tokenizer.encoder.latent_head[1].weight, two.tokenizer.encoder.latent_head[1].weight)
    assert float(rows(models, "world_dynamics")[-1]["loss"]) > 0
    clip = load_file(demo_file("world_clip", models))
    assert clip["frames"].shape[1] == clip["actions"].shape[1] + 1


def test_own_predictions_come_in_slowly() -> None:
    plan = dynamics.Plan(100, 0)
    assert [plan.share(i) for i in (0, 20, 40, 60, 100)] == [0, 0, 0.5, 1, 1]


@pytest.fixture(scope="module")
def tokenizer() -> world.VideoTokenizer:
    shipped = load_world(demo_file("world")).tokenizer
    assert isinstance(shipped, world.VideoTokenizer)
    return shipped


def make_games(tokenizer: world.VideoTokenizer) -> dynamics.Games:
    return dynamics.Games(tokenizer, 32, Generator().manual_seed(0))


def test_games_go_on_as_the_game_does(tokenizer: world.VideoTokenizer) -> None:
    games, rows = make_games(tokenizer), torch.arange(32)
    before, state = games.tokens.clone(), games.state[rows]
    truth = games.advance(rows)
    state.advance(games.actions[:, -1])  # a push against a wall may be called staying
    assert torch.equal(games.state.paddle, state.paddle) and torch.equal(games.state.y, state.y)
    games.store(rows, truth, truth)
    assert torch.equal(games.tokens[:, :-1], before[:, 1:]) and torch.equal(games.tokens[:, -1], truth)


def test_a_lost_ball_comes_in_at_the_top(tokenizer: world.VideoTokenizer) -> None:
    games, rows = make_games(tokenizer), torch.arange(32)
    truth = games.advance(rows)
    empty = games.state[rows]
    empty.lose_ball(torch.ones(32, dtype=torch.bool))
    games.store(rows, games._tokenize(empty), truth)
    games.advance(rows)
    assert (games.state.y == 0).all() and (games.state.x == 14).all() and (games.state.dy == 1).all()


def test_frames_have_the_same_tokens_wherever_they_stand(tokenizer: world.VideoTokenizer) -> None:
    frames = play(8, 20, Generator().manual_seed(5)).frames[:, 16:]
    alone = torch.cat([tokenizer.tokenize(frames[:, i : i + 1]) for i in range(4)], 1)
    assert float((tokenizer.tokenize(frames) == alone).float().mean()) > 0.999


def test_training_is_seeded(tmp_path: Path) -> None:
    one, two = (world.train_actions(2, 3, tmp_path / str(i)).state_dict() for i in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_captions_are_written_with_their_texts(models: Path) -> None:
    captions.main(["--models", str(models)])
    rows = load_file(demo_file("captions", models))
    assert torch.equal(rows["text.7"], embed(list_captions()[7]))


def test_folding_the_statistics_changes_latents_only() -> None:
    torch.manual_seed(0)
    model = WanVAE(WanVAEConfig(dim=4))
    vae.initialise(model)
    pixels = draw(torch.arange(24), Generator().manual_seed(0)).pixels.unsqueeze(2)
    with torch.no_grad():
        before = model.decode(model.encode(pixels), clamp=False)
        vae.fold_statistics(model, pixels.squeeze(2))
        z = model.encode(pixels)
        after = model.decode(z, clamp=False)
    torch.testing.assert_close(after, before, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(z.mean((0, 2, 3, 4)), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.transpose(0, 1).flatten(1).std(1), torch.ones(16), atol=1e-3, rtol=0)


def test_ddim_batches_begin_where_sampling_begins() -> None:
    x0 = torch.randn(60, 16, 8, 8, generator=Generator().manual_seed(0))
    shown = students.make_ddim_batch(x0, Generator().manual_seed(1))
    assert (shown.timestep[:8] == 999).all()
    assert (shown.timestep[8:30] > 900).any() and (shown.timestep[30:] < 500).any()
    assert shown.weight.max() <= 50 and shown.weight.min() >= 1
    signal = (1 - shown.timestep / 1000).clamp(1e-3, 0.999).view(-1, 1, 1, 1)
    torch.testing.assert_close(shown.latent, signal.sqrt() * x0 + (1 - signal).sqrt() * shown.target)


def test_a_teacher_that_knows_the_picture_teaches_the_true_noise() -> None:
    x0 = torch.randn(40, 16, 8, 8, generator=Generator().manual_seed(0))
    shown = students.make_ddim_batch(x0, Generator().manual_seed(1))

    def knows(x: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        signal = (1 - shown.timestep / 1000).clamp(1e-3, 0.999).view(-1, 1, 1, 1)
        sigma = (1 - signal).sqrt() / (signal.sqrt() + (1 - signal).sqrt())
        assert (timestep == (sigma.flatten().double() * 1000).long()).all()
        return (x - x0) / sigma

    noise = students.predict_teacher_noise(shown, torch.zeros(40, 64), knows)  # type: ignore[arg-type]
    torch.testing.assert_close(noise, shown.target, atol=2e-3, rtol=1e-3)


def test_flow_batches_are_truncated_timesteps() -> None:
    x0 = torch.randn(200, 4, 2, 2, generator=Generator().manual_seed(0))
    shown = students.make_flow_batch(x0, Generator().manual_seed(1))
    assert shown.timestep.dtype == torch.int64
    assert shown.timestep.min() >= 0 and shown.timestep.max() <= 999
    # latent = x0 + s * velocity, so s can be read back: its thousandfold, truncated, is the timestep
    sigma = ((shown.latent - x0) / shown.target).flatten(1).median(1).values
    assert ((sigma * 1000 - shown.timestep) > -0.1).all() and ((sigma * 1000 - shown.timestep) < 1.1).all()


def test_a_projection_finds_an_affine_map() -> None:
    generator = Generator().manual_seed(0)
    known = torch.randn(5, 4, 8, 8, generator=generator)
    mixing = torch.randn(12, 4, generator=generator)
    latents = torch.cat([known, torch.einsum("oc,bchw->bohw", mixing, known) + 0.5], dim=1)
    torch.testing.assert_close(students.fit_projection(latents)(known), latents, atol=1e-3, rtol=1e-3)


def test_the_rate_rises_and_falls(tmp_path: Path) -> None:
    optimizer = make_optimizer(nn.Linear(2, 2), 1.0)
    rates = [optimizer.param_groups[0]["lr"] for _ in schedule_steps(200, optimizer)]
    assert rates[0] < 0.02 and max(rates) > 0.5 and rates[-1] < 0.03


def test_an_average_follows_its_module() -> None:
    module = nn.Linear(1, 1)
    ema = EMA(module, decay=0.5)
    with torch.no_grad():
        module.weight.fill_(8.0)
    for _ in range(50):
        ema.update()
    ema.write_back()
    assert module.weight.item() == pytest.approx(8.0, abs=1e-3)


def test_a_log_keeps_means_and_leaves_no_bar_in_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = Log("x", 4, tmp_path / "models", every=2)
    for i in range(4):
        log.add(i, loss=float(i))
    assert [row["loss"] for row in rows(tmp_path / "models", "x")] == ["0.5", "2.5"]
    assert capfd.readouterr().err == ""


def test_one_command_trains_in_an_order_that_can_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Students need a VAE, the epsilon student its teacher, and the decoder is not trained while the VAE is."""
    done: list[str] = []

    def run(module: str, *arguments: str) -> None:
        if module == "vae" and "--decoder" not in arguments:
            time.sleep(0.2)  # the other chain has nothing else to do by then and must wait
        done.append(" ".join([module, *(a for a in arguments if a in ("--decoder", "flow", "ddim", "4ch", "--keep"))]))

    monkeypatch.setattr(command, "_run", run)
    command.main([str(tmp_path)])
    assert sorted(done) == [
        "captions",
        "few_step",
        "students 4ch",
        "students flow ddim",
        "vae",
        "vae --decoder",
        "world",
    ]
    assert done.index("students flow ddim") < done.index("few_step")
    assert all(
        done.index("vae") < done.index(later) for later in ("students flow ddim", "vae --decoder", "students 4ch")
    )


def test_a_training_that_fails_is_said_and_ends_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(module: str, *arguments: str) -> None:
        if module == "vae":
            raise subprocess.CalledProcessError(1, [module])

    monkeypatch.setattr(command, "_run", run)
    with pytest.raises(SystemExit, match="a training failed"):
        command.main([str(tmp_path)])
