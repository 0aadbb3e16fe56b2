"""Text embeddings as files: written, read, padded, chosen; and the same picture as from the text encoder."""

import torch

from harness import base, node, raises, run, submodule


def padded(rows, length=512):
    out = torch.zeros(1, length, rows.shape[-1])
    out[0, : len(rows)] = rows
    return out


def check_round_trip_through_the_nodes():
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(length, 24, generator=generator) for length in (12, 60)]
    conditioning = [[padded(rows[0]), {"pooled_output": None}], [padded(rows[1]), {}]]
    prefix = "wan_lite_embeds/two"
    saved = run("WanLiteTextEmbedsSave", conditioning=conditioning, filename_prefix=prefix, captions="one\ntwo")
    file = saved.ui["files"][0]["filename"]
    assert file in node("WanLiteTextEmbedsLoad").INPUT_TYPES()["required"]["name"][1]["options"]
    texts, captions = submodule("models.text_embeds").read_text_embeds(base() / "output" / "wan_lite_embeds" / file)
    assert captions == ["one", "two"] and all(torch.equal(a, b) for a, b in zip(texts, rows))  # noqa: B905
    ((both, _),) = run("WanLiteTextEmbedsLoad", name=file)[0]
    assert both.shape == (2, 60, 24) and torch.equal(both[0, :12], rows[0]) and not both[0, 12:].any()
    ((second, _),) = run("WanLiteTextEmbedsLoad", name=file, index=1)[0]
    assert torch.equal(second[0], rows[1])
    message = raises(ValueError, run, "WanLiteTextEmbedsLoad", name=file, index=2)
    assert "index is 2" in message and "2 prompts" in message, message


def check_bad_files():
    import shutil

    folder = base() / "models" / "wan_lite_embeds"
    shutil.copy(base() / "models" / "vae" / "wan21_tiny.safetensors", folder / "vae.safetensors")
    try:
        message = raises(ValueError, run, "WanLiteTextEmbedsLoad", name="vae.safetensors")
    finally:
        (folder / "vae.safetensors").unlink()
    assert "vae.safetensors" in message and "text embeddings" in message, message
    message = raises(ValueError, run, "WanLiteTextEmbedsLoad", name="../vae/wan21_tiny.safetensors")
    assert "models/wan_lite_embeds" in message, message
    message = raises(ValueError, run, "WanLiteTextEmbedsSave", conditioning=[[None, {}]], filename_prefix="x")
    assert "conditioning is NoneType" in message, message


def check_cores_text_encoder_gives_the_same_picture():
    """CLIPTextEncode with Wan's umT5 (512 rows, zeros behind the prompt) and the file made from it."""
    import tiny_text_encoder

    clip = tiny_text_encoder.clip()
    (conditioning,) = run("CLIPTextEncode", clip=clip, text="a small red boat")
    rows = conditioning[0][0]
    assert rows.shape == (1, 512, tiny_text_encoder.WIDTH) and rows[0, 0].any() and not rows[0, 40:].any()
    saved = run("WanLiteTextEmbedsSave", conditioning=conditioning, filename_prefix="wan_lite_embeds/boat")
    (loaded,) = run("WanLiteTextEmbedsLoad", name=saved.ui["files"][0]["filename"])
    assert loaded[0][0].shape[1] < 40
    for sampler, preset, shift in (
        ("WanLiteFlowUniPCSampler", "flow_unipc-20 shift 5", 5.0),
        ("WanLiteDDIMSampler", "ddim-10 training preview", 1.0),
    ):
        (model, _) = run("WanLiteStudentLoader", student_name="student_16ch", contract_preset=preset)
        (latent,) = run("WanLiteEmptyLatent", model=model)
        given = {"model": model, "latent_image": latent, "steps": 4, "shift": shift, "seed": 1}
        ours = run(sampler, positive=loaded, **given)[0]["samples"]
        cores = run(sampler, positive=conditioning, **given)[0]["samples"]
        other = run(sampler, positive=run("CLIPTextEncode", clip=clip, text="two birds")[0], **given)[0]["samples"]
        assert (ours - cores).abs().max() <= 1e-5 * cores.abs().max()
        assert (other - cores).abs().max() > 1e-2 * cores.abs().max(), "the text must matter"


def check_joined_prompts_do_not_count_the_padding_between_them():
    """Core's ConditioningConcat puts one prompt's 512 rows behind the other's: zeros stay in between."""
    pool, move = (
        submodule("models.student").pool_text,
        submodule("models.text_embeds").move_padding_last,
    )
    a, b = torch.randn(1, 5, 24), torch.randn(1, 7, 24)
    links = {"conditioning_to": [[padded(a[0]), {}]], "conditioning_from": [[padded(b[0]), {}]]}
    ((joined, _),) = run("ConditioningConcat", **links)[0]
    assert joined.shape[1] == 1024
    expected = pool(torch.cat([a, b], dim=1))
    assert torch.equal(move(padded(a[0])), padded(a[0]))
    assert (pool(move(joined)) - expected).abs().max() <= 1e-6


def check_prompts_by_caption():
    rows = [torch.full((length, 24), float(length)) for length in (3, 5, 7)]
    conditioning = [[row[None], {}] for row in rows]
    names = {"filename_prefix": "wan_lite_embeds/three", "captions": "red dots\nblue dots\ngreen stripes"}
    file = run("WanLiteTextEmbedsSave", conditioning=conditioning, **names).ui["files"][0]["filename"]

    def lengths(**given):
        ((both, _),) = run("WanLiteTextEmbedsLoad", name=file, **given)[0]
        return [int((row != 0).any(1).sum()) for row in both]

    assert lengths(captions="green stripes\n\nred") == [7, 3]
    assert lengths(captions="blue", index=0) == [5]
    assert lengths(index=2) == [7] and lengths() == [3, 5, 7]
    message = raises(ValueError, lengths, captions="dots")
    assert "2 prompts" in message and "'red dots', 'blue dots'" in message, message


def check_text_of_another_encoder_on_cores_wan():
    check = submodule("nodes.host.conditioning").check_text_width
    wan = torch.nn.Module()
    wan.text_embedding = torch.nn.Sequential(torch.nn.Linear(4096, 8), torch.nn.GELU())
    check(wan, {"positive": [{"cross_attn": torch.zeros(1, 4, 4096)}], "negative": None})
    message = raises(ValueError, check, wan, {"positive": [{"cross_attn": torch.zeros(1, 4, 64)}]})
    assert "positive" in message and "64" in message and "4096" in message, message
    check(torch.nn.Module(), {"positive": [{"cross_attn": torch.zeros(1, 4, 64)}]})
