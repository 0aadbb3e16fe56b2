"""The probe: which contract fits a MODEL that says nothing about how it wants to be sampled."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...pipeline.contracts import parse_candidates
from ...pipeline.pictures.convert import from_pil
from ...pipeline.pictures.probe import draw_probe_chart, draw_probe_grid
from ...samplers.contract import PRESETS, SamplingContract
from ..host.contracts import load_students
from ..host.probe_run import ProbeInputs, complete_contract, make_decoder, make_latents, run_probe
from ..host.progress import show_text
from ..host.schema import CATEGORY, Node, int_input, make_schema, seed_input, text_input
from ..host.validation.links import check_conditioning, check_latent
from ..student.loader import Contract

ALL_PRESETS = "\n".join(PRESETS)
MOST_CALLS = 500


class WanLiteSamplingProbe(Node):
    """MODEL without a contract -> the contract that fits it best, and the evidence."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteSamplingProbe",
            display_name="Wan Lite Sampling Probe",
            category=f"{CATEGORY}/sampling",
            description="Finds out how a checkpoint wants to be sampled when nobody wrote it down: runs every "
            "candidate from the same noise, measures the latents against what Wan's look like, and ranks them. Look "
            "at the grid too.",
            search_aliases=["which sampler", "prediction type", "garbage images", "debug sampling", "find shift"],
            inputs=[
                io.Model.Input("model", tooltip="A student (another MODEL needs a latent for its size)."),
                io.Conditioning.Input("positive", tooltip="A prompt from the training data is the fairest."),
                io.Vae.Input(
                    "vae",
                    tooltip="To show what each candidate samples; the ranking does not look at images.",
                ),
                seed_input("seed", "Of the noise that every candidate starts from."),
                text_input(
                    "candidates",
                    ALL_PRESETS,
                    "Presets to try, one a line, or known students (wan2.2-ti2v-5b-turbo): each with its alternatives.",
                    multiline=True,
                ),
                Contract.Input("contract", optional=True, tooltip="One more candidate."),
                int_input(
                    "pictures",
                    4,
                    (1, 64),
                    "How many latents each candidate makes; more is steadier evidence.",
                    advanced=True,
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="Its height and width are probed instead of the student's own.",
                ),
                int_input("cell", 256, (32, 2048), "Size of an image on the grid.", step=8, advanced=True),
                int_input(
                    "max_calls",
                    MOST_CALLS,
                    (1, 100_000),
                    "How many calls of the network all candidates together may take; more is refused before the first.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.Image.Output(display_name="grid", tooltip="What each candidate samples, the best first."),
                io.Image.Output(display_name="chart", tooltip="Size of the latent along each run; 1 is right."),
                io.String.Output(display_name="report", tooltip="The verdict in a sentence, then every number."),
                Contract.Output(display_name="best", tooltip="For Wan Lite Contract Sampling or Save Student."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: list[Any],
        vae: Any,
        seed: int = 0,
        candidates: str = ALL_PRESETS,
        contract: SamplingContract | None = None,
        pictures: int = 4,
        latent: dict[str, Any] | None = None,
        cell: int = 256,
        max_calls: int = MOST_CALLS,
    ) -> io.NodeOutput:
        check_conditioning(positive, "positive")
        if latent is not None:
            check_latent(latent, "latent")
        zeros = make_latents(model, latent, pictures)
        tried = parse_candidates(candidates, contract, load_students())
        report = run_probe(ProbeInputs(model, positive, zeros, seed, max_calls), tried)
        show_text(cls.hidden, report.sentence)
        grid = draw_probe_grid(report, make_decoder(model, vae, zeros.ndim), cell=cell)
        chart, best = draw_probe_chart(report), complete_contract(model, report.best.contract)
        return io.NodeOutput(from_pil(grid)[None], from_pil(chart)[None], str(report), best)


NODES = [WanLiteSamplingProbe]
