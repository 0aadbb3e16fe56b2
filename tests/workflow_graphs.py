"""Small workflow graphs for the tests of the check, in the API format and in the page's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wan_lite.check.graph.node_table import find_type

Graph = dict[str, dict[str, Any]]

WAN_T2V = "wan2.1_t2v_14B_fp16.safetensors"
LIGHTX2V = "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors"
HIGH, LOW = (f"wan2.2_t2v_{part}_noise_14B_fp8_scaled.safetensors" for part in ("high", "low"))
HIGH_LORA, LOW_LORA = (f"wan2.2_t2v_lightx2v_4steps_lora_v1.1_{part}_noise.safetensors" for part in ("high", "low"))
FASTWAN = "Wan2_2-TI2V-5B-FastWanFullAttn_bf16.safetensors"
ADVANCED = {"cfg": 1, "sampler_name": "euler", "scheduler": "simple", "steps": 4, "noise_seed": 1}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node in the API format."""
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


def lightx2v(**sampler: Any) -> Graph:
    """Text to video with Wan 2.1 and the LightX2V LoRA, sampled as it was trained."""
    settings = {"seed": 1, "steps": 4, "cfg": 1, "sampler_name": "lcm", "scheduler": "simple", "denoise": 1} | sampler
    return {
        "1": node("UNETLoader", unet_name=WAN_T2V, weight_dtype="default"),
        "2": node("LoraLoaderModelOnly", model=["1", 0], lora_name=LIGHTX2V, strength_model=1),
        "3": node("ModelSamplingSD3", model=["2", 0], shift=5),
        "4": node("CLIPLoader", clip_name="umt5_xxl_fp16.safetensors", type="wan", device="default"),
        "5": node("CLIPTextEncode", clip=["4", 0], text="a fox"),
        "6": node("EmptyHunyuanLatentVideo", width=832, height=480, length=81, batch_size=1),
        "7": node(
            "KSampler", model=["3", 0], positive=["5", 0], negative=["5", 0], latent_image=["6", 0], **settings
        ),
        "8": node("VAELoader", vae_name="wan_2.1_vae.safetensors"),
        "9": node("VAEDecode", samples=["7", 0], vae=["8", 0]),
    }  # fmt: skip


def custom(**scheduler: Any) -> Graph:
    """The same with SamplerCustom and a scheduler of its own, linked to the shifted model."""
    graph = lightx2v()
    settings = {"scheduler": "simple", "steps": 4, "denoise": 1} | scheduler
    graph["10"] = node("BasicScheduler", model=["3", 0], **settings)
    graph["11"] = node("KSamplerSelect", sampler_name="lcm")
    graph["7"] = node(
        "SamplerCustom", model=["3", 0], positive=["5", 0], negative=["5", 0], latent_image=["6", 0],
        sampler=["11", 0], sigmas=["10", 0], add_noise=True, noise_seed=1, cfg=1,
    )  # fmt: skip
    return graph


def two_experts(high: Mapping[str, Any] = {}, low: Mapping[str, Any] = {}, shift: float = 5) -> Graph:
    """Text to video with both experts of Wan 2.2 and the Lightning LoRAs, sampled as they were trained."""
    graph = lightx2v()
    graph["1"] = node("UNETLoader", unet_name=HIGH, weight_dtype="default")
    graph["2"] = node("LoraLoaderModelOnly", model=["1", 0], lora_name=HIGH_LORA, strength_model=1)
    graph["3"]["inputs"]["shift"] = shift
    graph["21"] = node("UNETLoader", unet_name=LOW, weight_dtype="default")
    graph["22"] = node("LoraLoaderModelOnly", model=["21", 0], lora_name=LOW_LORA, strength_model=1)
    graph["23"] = node("ModelSamplingSD3", model=["22", 0], shift=shift)
    texts = {"positive": ["5", 0], "negative": ["5", 0]}
    first = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 2, "return_with_leftover_noise": "enable"}
    second = {"add_noise": "disable", "start_at_step": 2, "end_at_step": 10000, "return_with_leftover_noise": "disable"}
    graph["7"] = node(
        "KSamplerAdvanced", model=["3", 0], latent_image=["6", 0], **texts, **{**ADVANCED, **first, **high}
    )
    graph["27"] = node(
        "KSamplerAdvanced", model=["23", 0], latent_image=["7", 0], **texts, **{**ADVANCED, **second, **low}
    )
    graph["9"]["inputs"]["samples"] = ["27", 0]
    return graph


def set_values(graph: Graph, **values: Any) -> Graph:
    """Set inputs, given as ``n7_steps=4`` for the input ``steps`` of node 7."""
    for name, value in values.items():
        number, _, field = name.removeprefix("n").partition("_")
        graph[number]["inputs"][field] = value
    return graph


def to_page(graph: Graph) -> dict[str, Any]:
    """The same graph in the page's own format."""
    nodes, links = [], []
    for key, entry in graph.items():
        kind = find_type(entry["class_type"])
        assert kind is not None, entry["class_type"]
        slots = [slot for slot in kind.inputs if isinstance(entry["inputs"].get(slot.name), list)]
        values: list[Any] = []
        for slot in kind.inputs:
            if slot.widgets:
                values += [entry["inputs"].get(slot.name), *["fixed"] * (slot.widgets - 1)]
        inputs = []
        for index, slot in enumerate(slots):
            origin, output = entry["inputs"][slot.name]
            links.append([len(links) + 1, int(origin), output, int(key), index, slot.type])
            inputs.append({"name": slot.name, "type": slot.type, "link": len(links)})
        outputs = [{"name": name, "type": name} for name in kind.outputs]
        nodes.append(
            {"id": int(key), "type": entry["class_type"], "mode": 0, "inputs": inputs, "outputs": outputs,
             "widgets_values": values}
        )  # fmt: skip
    return {"last_node_id": 99, "nodes": nodes, "links": links, "version": 0.4}
