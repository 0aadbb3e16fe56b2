"""What each kind of finding means, for people."""

from __future__ import annotations

__all__ = ["EXPLANATIONS", "explain"]

EXPLANATIONS = {
    "levels-differ": (
        "A few-step student is sampled at levels that it never saw. Such a student was trained at a handful of exact "
        "noise levels and knows nothing of those between. Steps, scheduler and shift decide which levels are visited. "
        "A level off by more than 0.05 is wrong, by less (but more than 0.002) doubtful."
    ),
    "schedule-spacing": (
        "The scheduler spaces the levels differently from training. Core's `normal` spends its last call near level "
        "0.02, `ddim_uniform` starts below 1, `beta` bends the spacing: with few steps all of these are levels that "
        "a student never saw. `simple` takes evenly spaced entries of the shifted table."
    ),
    "denoise-below-one": (
        "With denoise below 1 a sampler runs the last part of a longer schedule: levels between those that a few-step "
        "student was trained at."
    ),
    "integer-timesteps": (
        "The levels are right, but training fed the network integers (or numbers rounded to bfloat16), and core feeds "
        "1000 times the level. The difference is small."
    ),
    "another-solver": (
        "The update from one level to the next is not the one of training. A student trained to predict the image at "
        "once wants fresh noise after every step but the last (core's `lcm`); one trained along its own trajectory "
        "wants Euler steps."
    ),
    "causal-student": "A student that generates blocks of frames one after another is sampled on all frames at once.",
    "cannot-run": "No network in ComfyUI's core can run this student.",
    "unknown-student": "A few-step file of which nothing is known, so nothing is compared.",
    "several-students": "Two few-step students are on one model; each was trained alone.",
    "cfg-differs": (
        "Guidance differs from training. Most few-step students have the teacher's guidance built in: any cfg but 1 "
        "adds a second pass to every call of the network and leaves what the student was trained for."
    ),
    "strength-differs": "A LoRA is added with another strength than it was trained for.",
    "expert-boundary": (
        "Wan 2.2's two experts were trained on either side of a level (0.875 for text, 0.9 for image to video). A step "
        "that is right for one number of steps and shift is wrong for another."
    ),
    "experts-swapped": "The high-noise expert, or its LoRA, stands where the low-noise one belongs, or the reverse.",
    "shift-ineffective": (
        "A node that sets the shift sits on the sampler's branch alone. The levels are made by the scheduler from the "
        "MODEL on its own input, and the timestep follows from the level: the shift on the other branch does nothing."
    ),
    "shift-twice": "Two nodes set the shift of one model. They do not multiply: the last one counts.",
    "wrong-multiplier": (
        "ModelSamplingSD3 feeds the network 1000 times the level, ModelSamplingAuraFlow the level itself. Each model "
        "was trained with one of these."
    ),
    "another-process": "A flow model is sampled with the levels or the formulas of another noise process.",
    "noise-doubled": "A sampler adds noise to a latent in which the sampler before has left some.",
    "noise-lost": "A sampler expects the noise that the one before has taken out.",
    "noise-decoded": "A latent that still holds noise is decoded.",
    "level-gap": "One sampler stops at another level than the next one starts from.",
    "same-noise": (
        "Two stochastic samplers in a row have the same seed. Each draws its noises from a generator that starts from "
        "the seed, so the second stage repeats the first one's noise."
    ),
    "vae-mismatch": "A VAE is used with a model whose latents it does not know, or whose decoder is another one's.",
    "latent-mismatch": "A latent is made in the geometry of another family of models.",
    "frames": "A video has a number of frames that the VAE cannot make; it makes fewer.",
    "sides": "An image's side is not a multiple of what the model works in.",
    "text-encoder": "The prompt is encoded with the text encoder of another family.",
    "sigmas-ignored": "A sampler takes only the ends of the SIGMAS it is given and makes the rest by itself.",
    "cannot-tell": "The file alone does not say what a sampler will visit. Nothing is compared; nothing is guessed.",
}
"""Kind of finding -> explanation."""


def explain(id: str) -> str:
    """Return what a kind of finding means; "all" lists the kinds.

    Raises:
        ValueError: There is none of that name.
    """
    if id == "all":
        return "\n".join(EXPLANATIONS)
    if id not in EXPLANATIONS:
        raise ValueError(f"{id!r} is no kind of finding; there are {', '.join(EXPLANATIONS)}.")
    return f"{id}: {EXPLANATIONS[id]}"
