"""Find out from evidence how a checkpoint wants to be sampled.

Every candidate contract is run from the same noise. Three things tell the right prediction type from a wrong one,
whatever the images show:

- **RMS ratio**: on the path of training, a latent at sigma has the root mean square sqrt(alpha^2 + sigma^2), because
  Wan's latents are normalised. With the wrong type it drifts off: an epsilon network taken for velocity fades, a
  velocity network taken for epsilon blows up.
- **Spread**: the final latent's channels have mean near 0 and standard deviation near 1.
- **Denoising**: the final latent, noised again to known sigmas, must be denoised better than by a network that knows
  nothing but the spread (a Wiener filter). With the wrong type it is worse than that.

And a result that cannot be told from white noise is not an image. Each of these adds to a score; 0 is perfect.

Steps and shift leave no such mark: they are a matter of accuracy. So candidates of one prediction type stay together,
and among them the cheapest comes first whose result is that of the finest run, to 6 %. A few-step student knows only
the sigmas of its training: such contracts are denoised at their own sigmas, and the score alone decides among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from einops import reduce
from torch import Tensor

from ..samplers.contract import SamplingContract
from ..samplers.noise import per_item_noise
from ..samplers.prediction import Prediction, to_x0
from ..samplers.process import NoiseProcess
from ..samplers.solver import Network, sample

__all__ = ["Evidence", "LatentStatistics", "ProbeReport", "count_calls", "measure_latent", "probe"]

RENOISE_TIMESTEPS = (50, 150, 300, 500, 700)
_RENOISE_SEED = 0x5EED  # away from the seeds that the images start from
_NOISE_ALONE = 0.999  # from this sigma on there is nothing in the input to denoise
_CAP = 3.0  # no single measure decides alone
CLEAR = 0.3  # a lead over the best other prediction type that leaves no doubt
CONVERGED = 0.06  # a result this near the finest run's is the same
GOOD = 2.5  # the wrong prediction types of all networks tried score above this, the right ones below


@dataclass(frozen=True)
class LatentStatistics:
    """What a finished latent looks like.

    Attributes:
        mean: By channel.
        std: By channel.
        high_frequency: Share of the energy above a quarter of the sampling rate in either direction; 0.72 to 0.75 for
            white noise.
        autocorrelation: Of neighbours, -1 to 1; 0 for white noise.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    high_frequency: float
    autocorrelation: float


@dataclass(frozen=True)
class Evidence:
    """One candidate: its run and what speaks against it.

    Attributes:
        name: What to call it.
        contract: How it was sampled.
        latent: The result (b, c, h, w), the network's own.
        statistics: Of the result as the VAE gets it.
        rms_ratio: The latent's root mean square over what it should be, after each step.
        denoising: Mean squared error of denoising the result over a Wiener filter's, at each timestep of
            ``RENOISE_TIMESTEPS``, or at a few-step student's own below 1000.
        penalties: What each measure adds to :attr:`score`.
        distance: How far the result is from that of the finest run of the same prediction type, relative to its size;
            among few-step contracts from that of the best score.
    """

    name: str
    contract: SamplingContract
    latent: Tensor
    statistics: LatentStatistics
    rms_ratio: tuple[float, ...]
    denoising: tuple[float, ...]
    penalties: Mapping[str, float]
    distance: float = 0.0

    @property
    def score(self) -> float:
        """The sum of the penalties; 0 is perfect, infinite where the run is not finite."""
        return sum(self.penalties.values())

    @property
    def is_converged(self) -> bool:
        """Whether more steps would give the same result."""
        return self.distance <= CONVERGED

    def equals(self, other: Evidence) -> bool:
        """Whether it and ``other`` are one result of one prediction type, so that neither is the better one."""
        return self.prediction == other.prediction and self.is_converged and other.is_converged

    @property
    def prediction(self) -> str:
        """The prediction type that the candidate assumes: candidates of one type differ only in steps and shift."""
        return self.contract.prediction

    def __str__(self) -> str:
        against = ", ".join(f"{name} {value:.2f}" for name, value in self.penalties.items())
        mean_std = sum(self.statistics.std) / len(self.statistics.std)
        return (
            f"{self.name}: score {self.score:.2f} ({against}); channel std {mean_std:.2f}, high-frequency share "
            f"{self.statistics.high_frequency:.2f}, neighbour correlation {self.statistics.autocorrelation:+.2f}, "
            f"largest RMS ratio along the run {max(self.rms_ratio):.2f} of 1, {self.distance:.0%} from the finest run"
        )


@dataclass(frozen=True)
class ProbeReport:
    """All candidates, the most plausible first, and what that means in a sentence."""

    ranking: tuple[Evidence, ...]
    sentence: str

    @property
    def best(self) -> Evidence:
        """The most plausible candidate; of several that give the same result the cheapest."""
        return self.ranking[0]

    @property
    def is_usable(self) -> bool:
        """Whether any candidate gave a finite result."""
        return self.best.score < math.inf

    def fits_as_well(self, name: str) -> bool:
        """Whether the candidate ``name`` is no worse than the best: the same result, or of a score that is as good."""
        item = next(item for item in self.ranking if item.name == name)
        return item.equals(self.best) or item.score <= self.best.score

    def __str__(self) -> str:
        return "\n".join([self.sentence, *(f"{n}. {item}" for n, item in enumerate(self.ranking, 1))])


def probe(
    network: Network,
    candidates: Mapping[str, SamplingContract],
    shape: Sequence[int],
    *,
    seed: int = 0,
    finish: Callable[[Tensor], Tensor] = lambda latent: latent,
    on_run: Callable[[int, int], None] | None = None,
    max_calls: int | None = None,
) -> ProbeReport:
    """Run every candidate from the same noise and rank them by how far each is from what a right sampling gives.

    Args:
        network: ``network(x, timestep) -> output``, with text and device taken care of.
        candidates: Contracts by the names to call them.
        shape: (b, c, h, w) of the network's own latents; a batch of 4 or more is steadier evidence than one.
        seed: Of the starting noise, item i using seed + i.
        finish: From the network's own latents to the VAE's, normalised (a student's ``to_vae_latent``).
        on_run: Called as ``on_run(done, total)`` after each candidate.
        max_calls: How many calls of the network are allowed for all candidates together; None allows any number.

    Raises:
        ValueError: There are no candidates, they need more calls than allowed, or shape is not (b, c, h, w).
    """
    if not candidates:
        raise ValueError("candidates is empty; give at least one contract, for example those of PRESETS.")
    if len(shape) != 4 or min(shape) < 1 or min(shape[2:]) < 2:
        raise ValueError(f"shape is {tuple(shape)}; give (batch, channels, height, width), 2 or more high and wide.")
    calls = sum(map(count_calls, candidates.values()))
    if max_calls is not None and calls > max_calls:
        raise ValueError(
            f"the {len(candidates)} candidates need {calls} calls of the network, and max_calls is {max_calls}; name "
            "fewer candidates, or allow more."
        )
    noise = per_item_noise(shape, seed)
    found = []
    with torch.no_grad():
        for done, (name, contract) in enumerate(candidates.items(), 1):
            found.append(_examine(network, name, contract, noise, seed, finish))
            if on_run is not None:
                on_run(done, len(candidates))
    ranking = _rank(found)
    return ProbeReport(ranking, _summarise(ranking))


def count_calls(contract: SamplingContract) -> int:
    """Return how many times the network is called for a candidate: its steps, and its result denoised again."""
    return contract.schedule().steps + len(_choose_levels(contract))


def _choose_levels(contract: SamplingContract) -> list[tuple[float, float]]:
    """Return (timestep, sigma) at which a result is denoised: of a few-step student those of its training, below 1."""
    if not contract.has_fixed_sigmas:
        return [(t, contract.process.from_time(t / 1000)) for t in RENOISE_TIMESTEPS]
    schedule = contract.schedule()
    return [(schedule.timestep_at(sigma), sigma) for sigma in schedule.sigma_values[:-1] if sigma < _NOISE_ALONE]


def measure_latent(latent: Tensor) -> LatentStatistics:
    """Measure finished, normalised latents (b, c, h, w)."""
    latent = latent.float()
    mean = reduce(latent, "b c h w -> c", "mean")
    std = reduce((latent - mean[:, None, None]).square(), "b c h w -> c", "mean").sqrt()
    centred = latent - reduce(latent, "b c h w -> b c 1 1", "mean")
    energy = centred.square().sum()
    across, down = centred[..., 1:] * centred[..., :-1], centred[..., 1:, :] * centred[..., :-1, :]
    # each neighbour sum over the share of values that have such a neighbour
    pairs = across.sum() * latent.shape[-1] / (latent.shape[-1] - 1) + down.sum() * latent.shape[-2] / (
        latent.shape[-2] - 1
    )
    spectrum = torch.fft.fft2(centred).abs().square()
    share = spectrum[..., _select_high(latent.shape[-2:])].sum() / spectrum.sum()
    return LatentStatistics(
        tuple(mean.tolist()), tuple(std.tolist()), float(share), float(pairs / (2 * energy.clamp_min(1e-12)))
    )


def _examine(
    network: Network,
    name: str,
    contract: SamplingContract,
    noise: Tensor,
    seed: int,
    finish: Callable[[Tensor], Tensor],
) -> Evidence:
    schedule, ratios = contract.schedule(), []

    def watch(i: int, x: Tensor, x0: Tensor) -> None:
        ratios.append(_measure_rms(x) / _compute_expected_rms(schedule.process, schedule.sigma_values[i + 1]))

    latent = sample(
        network, noise, schedule, contract.make_solver(), prediction=Prediction(contract.prediction), on_step=watch
    )
    denoising = tuple(
        _measure_denoising(network, contract, latent, level, seed + n)
        for n, level in enumerate(_choose_levels(contract))
    )
    statistics = measure_latent(finish(latent))
    penalties = _compute_penalties(statistics, ratios, denoising, latent.shape[-2:])
    return Evidence(name, contract, latent, statistics, tuple(ratios), denoising, penalties)


def _measure_denoising(
    network: Network, contract: SamplingContract, latent: Tensor, level: tuple[float, float], seed: int
) -> float:
    """Return the error of denoising ``latent`` at (timestep, sigma) over that of a Wiener filter of its variance."""
    (timestep, sigma), process = level, contract.process
    alpha = process.alpha(sigma)
    noise = per_item_noise(latent.shape, seed + _RENOISE_SEED).to(latent)
    x = process.add_noise(latent, noise, sigma)
    kind = torch.int64 if float(timestep).is_integer() else torch.float32
    fed = torch.full((len(x),), timestep, dtype=kind, device=x.device)
    x0 = to_x0(network(x, fed), x, sigma, Prediction(contract.prediction), process)
    variance = float(latent.float().var())
    filtered = sigma**2 * variance / (alpha**2 * variance + sigma**2)
    return float((x0 - latent).float().square().mean()) / max(filtered, 1e-12)


def _compute_penalties(
    statistics: LatentStatistics, ratios: Sequence[float], denoising: Sequence[float], size: Sequence[int]
) -> dict[str, float]:
    """Return what speaks against a run, in natural logarithms of at most ``_CAP``; infinite where it is not finite."""
    values = [*ratios, *denoising, *statistics.std, *statistics.mean]
    if not all(map(math.isfinite, values)):
        return {"not finite": math.inf}
    logs = {
        "RMS ratio": max(abs(_log(value)) for value in ratios),
        "spread": sum(abs(_log(value)) for value in statistics.std) / len(statistics.std),
        "offset": max(0.0, sum(map(abs, statistics.mean)) / len(statistics.mean) - 0.5),
        "denoising": max(0.0, 1.0 + 0.5 * sum(map(_log, denoising)) / max(len(denoising), 1)),
        "white noise": 1.0 if _is_white(statistics, size) else 0.0,
    }
    return {name: min(value, _CAP) for name, value in logs.items()}


def _is_white(statistics: LatentStatistics, size: Sequence[int]) -> bool:
    white_share = float(_select_high(size).float().mean())
    return abs(statistics.autocorrelation) < 0.1 and abs(statistics.high_frequency / white_share - 1) < 0.1


def _select_high(size: Sequence[int]) -> Tensor:
    """Return which bins of a 2-D spectrum of this (h, w) lie above a quarter of the sampling rate."""
    down, across = (torch.fft.fftfreq(side).abs() > 0.25 for side in size)
    return down[:, None] | across[None, :]


def _rank(found: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """Sort prediction types by their best score, and within one first the runs equal to its finest, cheapest first."""
    groups: dict[str, list[Evidence]] = {}
    for item in sorted(found, key=lambda item: item.score):
        groups.setdefault(item.prediction, []).append(item)
    return tuple(item for group in groups.values() for item in _rank_by_accuracy(group))


def _rank_by_accuracy(group: Sequence[Evidence]) -> list[Evidence]:
    """Place the runs of one prediction type, which come sorted by score."""
    has_few_steps = any(item.contract.has_fixed_sigmas for item in group)
    finest = (
        group[0] if has_few_steps else max(group, key=lambda item: (math.isfinite(item.score), item.contract.steps))
    )
    size = max(_measure_rms(finest.latent), 1e-12)
    placed = [replace(item, distance=_measure_rms(item.latent - finest.latent) / size) for item in group]
    if has_few_steps:  # more steps are not nearer to anything that was trained
        return placed
    # a stable sort: what is not equal to the finest run stays in the order of scores
    return sorted(placed, key=lambda item: (not item.is_converged, item.contract.steps if item.is_converged else 0))


def _summarise(ranking: Sequence[Evidence]) -> str:
    best = ranking[0]
    if not best.score < math.inf:
        return "Every candidate ran off to infinity: the weights are damaged or none of these samplings is right."
    doubt = "" if best.score < GOOD else " None of them gives latents like Wan's, so do not trust this ranking much."
    kind = f"{best.prediction} in {best.contract.process.label}"
    return f"The output looks like {kind}, {_compare(ranking)}. {_choose(ranking)}{doubt}"


def _compare(ranking: Sequence[Evidence]) -> str:
    """Say how sure the prediction type is."""
    best = min((item for item in ranking if item.prediction == ranking[0].prediction), key=lambda item: item.score)
    rival = next((item for item in ranking if item.prediction != best.prediction), None)
    if rival is None:
        return "but no candidate of another prediction type was tried"
    if rival.score - best.score > CLEAR:
        return f"clearly ahead (score {best.score:.2f}) of '{rival.name}' ({rival.score:.2f}), which {_explain(rival)}"
    return f"but '{rival.name}' ({rival.score:.2f}) is so near that the images must decide"


def _choose(ranking: Sequence[Evidence]) -> str:
    """Say which of its samplings to take: those that give the same result are a matter of time."""
    best, equal = ranking[0], [f"'{item.name}'" for item in ranking[1:] if item.equals(ranking[0])]
    if not equal:
        return f"Of its samplings '{best.name}' fits best."
    return f"Its samplings '{best.name}' and {', '.join(equal)} are equal within {CONVERGED:.0%}, the cheapest first."


def _explain(evidence: Evidence) -> str:
    """Say the strongest thing against a candidate."""
    worst = max(evidence.penalties, key=lambda name: evidence.penalties[name])
    last = evidence.rms_ratio[-1]
    change = "blows up to" if max(evidence.rms_ratio) > 1.5 else "fades to"
    words = {
        "RMS ratio": f"{change} {last:.2g} times the right size",
        "spread": f"ends with channels {'wider' if last > 1 else 'narrower'} than Wan's",
        "offset": "ends with channels off their mean",
        "denoising": "cannot denoise its own result",
        "white noise": "ends in white noise",
        "not finite": "runs off to infinity",
    }
    return words[worst]


def _compute_expected_rms(process: NoiseProcess, sigma: float) -> float:
    return math.sqrt(process.alpha(sigma) ** 2 + sigma**2)


def _measure_rms(x: Tensor) -> float:
    return float(x.float().square().mean().sqrt())


def _log(value: float) -> float:
    return math.log(max(value, 1e-6))
