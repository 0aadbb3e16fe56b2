"""Text embeddings as files: encode once, sample many times without the text encoder."""

from __future__ import annotations

from comfy_api.latest import io

from ..host.conditioning import ALL, load_conditioning, save_conditioning
from ..host.folders import find_model, fingerprint, list_models, make_save_path
from ..host.progress import show_list
from ..host.schema import CATEGORY, Node, choice_input, int_input, make_schema, text_input

KIND = "wan_lite_embeds"


class WanLiteTextEmbedsLoad(Node):
    """A file of text embeddings -> CONDITIONING."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteTextEmbedsLoad",
            display_name="Wan Lite Load Text Embeds (Prompts)",
            category=f"{CATEGORY}/text",
            description="Text that was encoded before, from models/wan_lite_embeds: the same as CLIPTextEncode with "
            "Wan's umT5 text encoder, without loading its 11 GB. A file can hold several prompts.",
            search_aliases=["prompt", "prompt embeds", "text embeddings", "load conditioning", "umt5", "captions"],
            inputs=[
                choice_input(
                    "name",
                    list_models(KIND),
                    "A file in models/wan_lite_embeds, or one saved by Wan Lite Save Text Embeds.",
                ),
                int_input(
                    "index",
                    ALL,
                    (ALL, 9999),
                    "Which prompt of the file, from 0. -1 takes all: image i of a batch gets prompt i. Does not count "
                    "where captions are given.",
                ),
                text_input(
                    "captions",
                    "",
                    "Which prompts, by their words: a caption a line, or words that only one caption has; image i of a "
                    "batch gets line i. Empty: as index says. What was taken is shown on the node.",
                    multiline=True,
                ),
            ],
            outputs=[io.Conditioning.Output(tooltip="For the positive or negative input of a sampler.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, name: str, index: int = ALL, captions: str = "") -> str:
        return f"{fingerprint(find_model(KIND, name, 'name'))} {index} {captions}"

    @classmethod
    def execute(cls, name: str, index: int = ALL, captions: str = "") -> io.NodeOutput:
        conditioning, taken = load_conditioning(find_model(KIND, name, "name"), index, captions)
        show_list(cls.hidden, taken)
        return io.NodeOutput(conditioning)


class WanLiteTextEmbedsSave(Node):
    """CONDITIONING -> a file of text embeddings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteTextEmbedsSave",
            display_name="Wan Lite Save Text Embeds",
            category=f"{CATEGORY}/text",
            description="Writes encoded text to output/wan_lite_embeds, where Wan Lite Load Text Embeds finds it. "
            "Padding is left out, so a file has a few hundred kilobytes at most for each prompt.",
            search_aliases=["save conditioning", "text embeddings", "prompt embeds"],
            is_output_node=True,
            inputs=[
                io.Conditioning.Input("conditioning", tooltip="From CLIPTextEncode with Wan's umT5 text encoder."),
                text_input(
                    "filename_prefix",
                    f"{KIND}/prompt",
                    "Folder and beginning of the name, inside the output folder; a number is added.",
                ),
                text_input(
                    "captions",
                    "",
                    "The words, one line for each prompt, kept in the file so that you know later what it is.",
                    multiline=True,
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, conditioning: list, filename_prefix: str = f"{KIND}/prompt", captions: str = "") -> io.NodeOutput:
        path, file, subfolder = make_save_path(filename_prefix, ".safetensors")
        save_conditioning(path, conditioning, captions)
        return io.NodeOutput(ui={"files": [{"filename": file, "subfolder": subfolder, "type": "output"}]})


NODES = [WanLiteTextEmbedsLoad, WanLiteTextEmbedsSave]
