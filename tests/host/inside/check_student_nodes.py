"""The student as the host's MODEL: trajectories, text, channels, previews, LoRA, precisions."""

import json

import comfy.latent_formats
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from students import STUDENTS, ddim, flow, golden, raw, record_timesteps, relative, sample, text

from harness import base, raises, run, submodule


def check_trajectories_of_the_vectors():
    worst = 0.0
    for name in STUDENTS:
        vector = golden(name)
        runs = [("WanLiteFlowUniPCSampler", flow, "unipc20_shift5", {"steps": 20, "shift": 5.0})]
        runs += [("WanLiteFlowUniPCSampler", flow, "unipc4_shift3", {"steps": 4, "shift": 3.0})]
        runs += [("WanLiteDDIMSampler", ddim, f"ddim{n}", {"steps": n, "shift": 1.0}) for n in (7, 10, 20)]
        for node_id, loader, key, numbers in runs:
            model = loader(name)
            seen = record_timesteps(model)
            latent, denoised = sample(node_id, model, name, vector["noise"], on_mismatch="ignore", **numbers)
            assert torch.stack(seen).long().tolist() == [[t] for t in vector[f"{key}.timesteps"].tolist()], key
            if f"{key}.vae_input" in vector:
                expected = raw(model, vector[f"{key}.vae_input"])
            else:
                expected = model.get_model_object("latent_format").process_out(vector[f"{key}.traj"][-1].unsqueeze(2))
            worst = max(worst, relative(latent["samples"], expected))
            assert latent["samples"].shape[1] == 16 and torch.equal(latent["samples"], denoised["samples"])
    assert worst <= 1e-5, worst


def check_same_digits_as_the_library():
    """Not only close: the same bits as the library's own loop, so that a PNG is the same everywhere."""
    models, samplers = submodule("models.student"), submodule("samplers.solver")
    schedules, noise = submodule("samplers.schedule"), submodule("samplers.noise")
    unipc, ddim_module = submodule("samplers.solvers.unipc"), submodule("samplers.solvers.ddim")
    for name in STUDENTS:
        student = models.load_student(base() / "models" / "wan_students" / name, preset="ddim-20 run_inference")
        rows = golden(name)["text"][None]
        x = noise.per_item_noise((1, student.config.num_channels, 4, 4), 7)
        cases = [
            ("WanLiteFlowUniPCSampler", schedules.flow_schedule(6, shift=5.0), unipc.FlowUniPC(), "velocity", 5.0),
            ("WanLiteDDIMSampler", schedules.ddim_schedule(6, shift=1.0), ddim_module.DDIM(), "epsilon", 1.0),
        ]
        for node_id, schedule, solver, prediction, shift in cases:
            kind = submodule("samplers.prediction").Prediction(prediction)
            own = samplers.sample(
                lambda z, t, student=student, rows=rows: student.network(z, t, rows),
                x,
                schedule,
                solver,
                prediction=kind,
            )
            model = flow(name) if prediction == "velocity" else ddim(name)
            latent, _ = sample(node_id, model, name, seed=7, steps=6, shift=shift, on_mismatch="ignore")
            expected = raw(model, student.to_vae_latent(own))
            assert torch.equal(latent["samples"], expected), (name, node_id, relative(latent["samples"], expected))


def check_text_alone_padded_and_in_a_batch():
    generator = torch.Generator().manual_seed(0)
    for name in STUDENTS:
        model = flow(name)
        width = golden(name)["text"].shape[-1]
        short, long = torch.randn(12, width, generator=generator), torch.randn(60, width, generator=generator)
        batch = torch.zeros(2, 60, width)
        batch[0, :12], batch[1] = short, long
        padded = torch.zeros(1, 512, width)
        padded[:, :12] = short
        for node_id, given in (("WanLiteFlowUniPCSampler", flow(name)), ("WanLiteDDIMSampler", ddim(name))):
            settings = {"seed": 3, "steps": 4, "shift": 1.0, "on_mismatch": "ignore"}
            alone, _ = sample(node_id, given, name, positive=[[short[None], {}]], **settings)
            with_padding, _ = sample(node_id, given, name, positive=[[padded, {}]], **settings)
            together, _ = sample(node_id, given, name, positive=[[batch, {}]], batch_size=2, **settings)
            assert relative(with_padding["samples"], alone["samples"]) <= 1e-5
            assert relative(together["samples"][:1], alone["samples"]) <= 1e-5
            assert relative(together["samples"][1:], alone["samples"]) > 1e-2, "another prompt, another picture"
        assert model.model.latent_format is not None


def check_a_batch_is_its_items():
    for name in STUDENTS:
        model = ddim(name)
        settings = {"steps": 5, "shift": 1.0, "on_mismatch": "ignore"}
        together, _ = sample("WanLiteDDIMSampler", model, name, seed=5, batch_size=3, **settings)
        for index in range(3):
            alone, _ = sample("WanLiteDDIMSampler", model, name, seed=5 + index, **settings)
            assert relative(together["samples"][index : index + 1], alone["samples"]) <= 1e-5


def check_guidance_is_cores():
    """Cfg 3 is x0 of the negative plus 3 times the difference, through core's guider; 4 channels and 16."""
    for name in STUDENTS:
        model = flow(name)
        negative = [[torch.randn(1, 9, 24, generator=torch.Generator().manual_seed(4)), {}]]
        numbers = {"steps": 1, "shift": 5.0, "seed": 1, "on_mismatch": "ignore"}
        sampler = "WanLiteFlowUniPCSampler"
        own = model.get_model_object("latent_format")
        plus = sample(sampler, model, name, cfg=1.0, **numbers)[0]["samples"]
        minus = sample(sampler, model, name, cfg=1.0, positive=negative, **numbers)[0]["samples"]
        guided = sample(sampler, model, name, cfg=3.0, negative=negative, **numbers)[0]["samples"]
        assert relative(guided, minus + 3.0 * (plus - minus)) <= 1e-4, own
        message = raises(ValueError, sample, sampler, model, name, cfg=3.0, **numbers)
        assert "cfg is 3" in message and "negative" in message, message


def check_image_to_image_and_masks():
    for name in STUDENTS:
        model = flow(name)
        own = model.get_model_object("latent_format")
        picture = own.process_out(
            torch.randn(1, own.latent_channels, 1, 4, 4, generator=torch.Generator().manual_seed(5))
        )
        numbers = {"steps": 4, "shift": 5.0, "seed": 1, "on_mismatch": "ignore"}
        barely = sample(
            "WanLiteFlowUniPCSampler", model, name, latent_image={"samples": picture}, denoise=0.01, **numbers
        )[0]["samples"]
        full = sample("WanLiteFlowUniPCSampler", model, name, latent_image={"samples": picture}, denoise=1.0, **numbers)
        empty = sample("WanLiteFlowUniPCSampler", model, name, **numbers)
        assert relative(barely, picture) < 0.35 < relative(full[0]["samples"], picture)
        assert torch.equal(full[0]["samples"], empty[0]["samples"]), "denoise 1 is pure noise, whatever the latent"
        mask = torch.zeros(1, 4, 4)
        mask[:, :, 2:] = 1.0
        masked = sample(
            "WanLiteFlowUniPCSampler", model, name, latent_image={"samples": picture, "noise_mask": mask}, **numbers
        )[0]["samples"]
        assert relative(masked[..., :2], picture[..., :2]) <= 1e-4, "outside the mask nothing changes"
        assert relative(masked[..., 2:], picture[..., 2:]) > 1e-2


def check_cores_samplers_take_the_model():
    """Core's KSampler with a student, in its contract's process; from a picture too, which has the VAE's channels."""
    for name in STUDENTS:
        for model, scheduler in ((flow(name), "simple"), (ddim(name), "normal")):
            (empty,) = run("WanLiteEmptyLatent", model=model)
            given = {"model": model, "positive": text(name), "negative": text(name), "cfg": 1.0, "seed": 1, "steps": 4}
            (latent,) = run("KSampler", latent_image=empty, sampler_name="euler", scheduler=scheduler, **given)
            assert latent["samples"].shape == (1, 16, 1, 4, 4) and torch.isfinite(latent["samples"]).all()
            (again,) = run(
                "KSampler", latent_image=latent, sampler_name="euler", scheduler=scheduler, denoise=0.5, **given
            )
            assert again["samples"].shape == (1, 16, 1, 4, 4) and torch.isfinite(again["samples"]).all()


def check_cores_euler_is_ddim_for_an_epsilon_student():
    """Euler in the host's sigmas is DDIM in ours: the MODEL alone, without our sampler nodes, is the right process."""
    name = "student_16ch"
    model = ddim(name)
    (empty,) = run("WanLiteEmptyLatent", model=model)
    ours, _ = sample("WanLiteDDIMSampler", model, name, seed=2, steps=10, shift=1.0, on_mismatch="ignore")
    levels = model.get_model_object("model_sampling").sigmas[torch.linspace(999, 0, 10, dtype=torch.long)]
    sigmas = torch.cat([levels, torch.zeros(1)])
    (noise,) = run("RandomNoise", noise_seed=2)
    (guider,) = run("BasicGuider", model=model, conditioning=text(name))
    (euler,) = run("KSamplerSelect", sampler_name="euler")
    core, _ = run("SamplerCustomAdvanced", noise=noise, guider=guider, sampler=euler, sigmas=sigmas, latent_image=empty)
    assert relative(core["samples"], ours["samples"]) <= 1e-4


def check_projection_both_ways():
    model = flow("student_4ch")
    own = model.get_model_object("latent_format")
    z = torch.randn(2, 4, 1, 3, 5, generator=torch.Generator().manual_seed(6))
    outside = own.process_out(z)
    assert outside.shape == (2, 16, 1, 3, 5)
    assert relative(own.process_in(outside), z) <= 1e-4
    assert torch.equal(own.process_in(z), z)
    student = submodule("models.student").load_student(
        base() / "models" / "wan_students" / "student_4ch", preset="ddim-20 run_inference"
    )
    expected = own.vae_format.process_out(student.to_vae_latent(z[:, :, 0]).unsqueeze(2))
    assert torch.equal(outside, expected)


def check_an_empty_latent_of_the_vae_stays_empty_in_a_student_of_fewer_channels():
    """Whoever calls the host's guider without core's nodes: the projection of zeros is no picture to start from."""
    import comfy.samplers

    seen = []

    class Recorder(comfy.samplers.Sampler):
        def sample(self, model, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, *_):
            seen.append(latent_image)
            return noise

    guider = comfy.samplers.CFGGuider(flow("student_4ch"))
    guider.set_conds(text("student_4ch"), text("student_4ch"))
    for picture in (torch.zeros(2, 16, 1, 4, 4), torch.ones(2, 16, 1, 4, 4)):
        guider.sample(torch.randn(2, 16, 1, 4, 4), picture, Recorder(), torch.tensor([1.0, 0.0]))
    empty, given = seen
    assert empty.shape == given.shape == (2, 4, 1, 4, 4)
    assert not torch.count_nonzero(empty) and torch.count_nonzero(given)


def check_preview_colours():
    """A 4-channel preview is the 16-channel preview of the projected latent."""
    import latent_preview

    model = flow("student_4ch")
    own = model.get_model_object("latent_format")
    z = torch.randn(1, 4, 1, 4, 4, generator=torch.Generator().manual_seed(7))
    projected = own.vae_format.process_in(own.process_out(z))
    small, large = (
        latent_preview.Latent2RGBPreviewer(f.latent_rgb_factors, f.latent_rgb_factors_bias)
        for f in (own, own.vae_format)
    )
    a, b = small.decode_latent_to_preview(z), large.decode_latent_to_preview(projected)
    difference = (torch.tensor(list(a.getdata())) - torch.tensor(list(b.getdata()))).abs().max()
    assert a.size == b.size == (4, 4) and difference <= 1, difference
    assert latent_preview.get_previewer(torch.device("cpu"), own) is not None or latent_preview.args.preview_method


def check_preview_colours_of_a_student_with_its_own():
    """The demo students' VAE is not Wan's, so their files bring the colours; a saved copy keeps them."""
    import latent_preview

    for name in ("student_flow", "student_4ch"):
        file = f"wan-lite-demo/{name}.safetensors"
        model, _ = run("WanLiteStudentLoader", student_name=file)
        stored = json.loads(read_header(find_demo(file))["wan_lite.preview_colours"])
        own = model.get_model_object("latent_format")
        vae_format = getattr(own, "vae_format", own)
        assert [list(row) for row in vae_format.latent_rgb_factors] == stored["factors"]
        if vae_format is not own:
            weight, bias = own.weight[:, :, 0, 0].cpu(), own.bias.cpu()
            factors = torch.tensor(stored["factors"])
            assert torch.allclose(torch.tensor(own.latent_rgb_factors), weight.T @ factors, atol=1e-5)
            expected = torch.tensor(stored["bias"]) + bias @ factors
            assert torch.allclose(torch.tensor(own.latent_rgb_factors_bias), expected, atol=1e-5)
        latent_preview.get_previewer(torch.device("cpu"), own)
        saved = run("WanLiteSaveStudent", model=model, filename_prefix=f"wan_students/colours_{name}")
        folder = base() / "output" / "wan_students"
        assert json.loads(read_header(folder / saved.ui["files"][0]["filename"])["wan_lite.preview_colours"]) == stored
    plain = flow("student_16ch").get_model_object("latent_format")
    assert plain.latent_rgb_factors == comfy.latent_formats.Wan21().latent_rgb_factors, "Wan's own VAE"


def find_demo(name):
    import folder_paths

    return folder_paths.get_full_path("wan_students", name)


def read_header(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def check_lora():
    """Core's LoraLoaderModelOnly changes the weights it names, by exactly what it says."""
    for name in STUDENTS:
        model = flow(name)
        key = "blocks.0.mlp.0"
        weight = model.model.diffusion_model.state_dict()[f"{key}.weight"]
        generator = torch.Generator().manual_seed(8)
        up, down = (
            torch.randn(weight.shape[0], 2, generator=generator),
            torch.randn(2, weight.shape[1], generator=generator),
        )
        folder = base() / "models" / "loras"
        folder.mkdir(exist_ok=True)
        lora = {f"diffusion_model.{key}.lora_A.weight": down, f"diffusion_model.{key}.lora_B.weight": up}
        save_file(lora, folder / f"{name}.safetensors")
        (patched,) = run("LoraLoaderModelOnly", model=model, lora_name=f"{name}.safetensors", strength_model=0.5)
        student = submodule("nodes.host.student_model").to_student(patched)
        merged = student.network.state_dict()[f"{key}.weight"]
        assert relative(merged, weight + 0.5 * up @ down) <= 1e-5
        settings = {"seed": 1, "steps": 2, "shift": 5.0, "on_mismatch": "ignore"}
        with_lora = sample("WanLiteFlowUniPCSampler", patched, name, **settings)[0]["samples"]
        without = sample("WanLiteFlowUniPCSampler", flow(name), name, **settings)[0]["samples"]
        assert relative(with_lora, without) > 1e-3
        assert patched.get_attachment("wan_lite.contract") == model.get_attachment("wan_lite.contract")


def check_precisions():
    name = "student_16ch"
    settings = {"seed": 1, "steps": 4, "shift": 5.0, "on_mismatch": "ignore"}
    exact = sample("WanLiteFlowUniPCSampler", flow(name, precision="fp32"), name, **settings)[0]["samples"]
    assert torch.equal(sample("WanLiteFlowUniPCSampler", flow(name), name, **settings)[0]["samples"], exact)
    cases = (("bf16", torch.bfloat16, 0.1), ("fp16", torch.float16, 0.02), ("fp8_e4m3fn", torch.float8_e4m3fn, 0.6))
    for precision, dtype, limit in cases:
        model = flow(name, precision=precision)
        assert model.model.diffusion_model.conv_in.weight.dtype == dtype
        got = sample("WanLiteFlowUniPCSampler", model, name, **settings)[0]["samples"]
        assert relative(got, exact) <= limit, (precision, relative(got, exact))
