"""Inputs that several nodes of worlds have, in the order in which saved workflows store them."""

from __future__ import annotations

from typing import Any, NamedTuple

from comfy_api.latest import io

from ..host.schema import choice_input, float_input, int_input, switch_input


def resize_input() -> io.Combo.Input:
    """Return the input that says what to do with images that do not have the world's frame size."""
    return choice_input(
        "resize",
        ["error", "fit"],
        "Images of another size than the world's frames: stop and say so, or crop to a square and resize.",
        default="error",
        advanced=True,
    )


def decoding_inputs() -> list[Any]:
    """Return the inputs that decide how one frame is predicted; a diagnosis has them too."""
    return [*token_inputs(), *guidance_inputs()]


def token_inputs() -> list[Any]:
    """Return the inputs that decide how a frame's tokens are drawn."""
    return [
        float_input(
            "temperature",
            0.0,
            (0.0, 10.0),
            "0 takes the likeliest token every time; 1 draws as the model was trained; the original's default is 0.5.",
            step=0.05,
            round=0.001,
        ),
        int_input(
            "maskgit_steps",
            10,
            (1, 1000),
            "Steps in which the tokens of a frame are decoded, the most confident first. 10 is the original's.",
            advanced=True,
        ),
        float_input(
            "schedule_k",
            5.0,
            (0.01, 50.0),
            "Steepness of the unmasking schedule; with 10 steps it changes little.",
            step=0.1,
            advanced=True,
        ),
        int_input("top_k", 0, (0, 65536), "Draw among the k likeliest tokens; 0 is all.", advanced=True),
        float_input(
            "top_p",
            1.0,
            (0.0, 1.0),
            "Draw among the likeliest tokens that together reach this probability; 1 is all.",
            step=0.01,
            advanced=True,
        ),
    ]


def guidance_inputs() -> list[Any]:
    """Return the inputs that decide what the action counts, what is limited, and which random numbers are drawn."""
    return [
        float_input(
            "action_guidance",
            1.0,
            (0.0, 10.0),
            "Above 1 the action counts for more than the model thinks; doubles the work. 1 is off.",
            step=0.1,
            advanced=True,
        ),
        switch_input("clamp", True, "Limit frames to the valid range before they go back in.", advanced=True),
        float_input(
            "latent_noise",
            0.0,
            (-10.0, 10.0),
            "July 2025 format only: what its program called temperature T is (T - 1) * 0.1 here; its 0.8 is -0.02.",
            step=0.01,
            round=0.0001,
            advanced=True,
        ),
        choice_input(
            "draw",
            ["masked", "all"],
            "all draws random numbers for every token of the window, as the original: its samples, seed for seed.",
            default="masked",
            advanced=True,
        ),
    ]


class Decoding(NamedTuple):
    """The values of :func:`decoding_inputs`, by the names that a :class:`RolloutConfig` has for them."""

    temperature: float
    maskgit_steps: int
    schedule_k: float
    top_k: int
    top_p: float
    action_guidance: float
    clamp: bool
    latent_noise: float
    draw: Any
