"""A world of the legacy format: which settings it has, and how its networks belong together."""

from __future__ import annotations

from typing import ClassVar

from ..predictor import Predictor
from ..rollout_config import RolloutConfig
from ..world import World, check_same_sizes
from .networks import LegacyActionModel, LegacyDynamics, LegacyTokenizer
from .predictor import LegacyPredictor

__all__ = ["LegacyWorld"]


class LegacyWorld(World):
    """The three networks of the legacy format; the action model is needed, as it holds the actions' vectors."""

    # Other networks under the same names: everything that a rollout asks of them is answered by this class.
    tokenizer: LegacyTokenizer  # type: ignore[assignment]
    latent_actions: LegacyActionModel | None  # type: ignore[assignment]
    dynamics: LegacyDynamics  # type: ignore[assignment]
    generation: ClassVar[str] = "legacy"
    title: ClassVar[str] = "the legacy format of July 2025"
    saved_generation: ClassVar[str] = "july"
    grows_window: ClassVar[bool] = True

    @property
    def n_actions(self) -> int:
        """How many different actions there are: the entries of the action model's codebook."""
        return 0 if self.latent_actions is None else self.latent_actions.config.n_actions

    def make_predictor(self, config: RolloutConfig) -> Predictor:
        """Return what predicts the next frame."""
        return LegacyPredictor(self.tokenizer, self.latent_actions, self.dynamics, config)

    def count_decoding_steps(self, config: RolloutConfig) -> int:
        """Return 1: a frame is regressed at once."""
        return 1

    def check_config(self, config: RolloutConfig) -> None:
        """Refuse settings that only the current format has.

        Raises:
            ValueError: There is such a setting.
        """
        if config.temperature:
            raise ValueError(
                f"temperature: {config.temperature} given, but the legacy format (July 2025) predicts no "
                "probabilities; what its program called temperature T is latent_noise = (T - 1) * 0.1."
            )
        if config.horizon != 1 or config.action_guidance != 1.0:
            raise ValueError(
                "horizon, action_guidance: the legacy format (July 2025) predicts one frame at a time, always with its "
                "action; leave both at 1."
            )

    def _check_networks(self) -> None:
        if self.latent_actions is None:
            raise ValueError(
                "world: the legacy format (July 2025) keeps its action vectors in the action model; give that file too."
            )
        tokenizer, actions, dynamics = self.tokenizer.config, self.latent_actions.config, self.dynamics.config
        check_same_sizes("tokenizer", tokenizer, "dynamics model", dynamics, ["frame_size", "latent_dim"])
        check_same_sizes("tokenizer", tokenizer, "action model", actions, ["frame_size"])
        check_same_sizes("dynamics model", dynamics, "action model", actions, ["latent_dim"])
