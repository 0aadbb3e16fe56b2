"""The student as the host's MODEL: trajectories, text, channels, previews, LoRA, saving, bad input."""

import json
import shutil
from dataclasses import replace

import torch
from safetensors.torch import load_file, save_file

from harness import base, node, raises, run, submodule, vectors

STUDENTS = ("student_16ch", "student_4ch")


def golden(name):
    return load_file(vectors() / name / "golden.safetensors")


def load(name, preset, **options):
    return run("WanLiteStudentLoader", student_name=name, contract_preset=preset, **options)[0]


def flow(name, **options):
    return load(name, "flow_unipc-20 shift 5", **options)


def ddim(name, **options):
    return load(name, "ddim-10 training preview", **options)


def text(name, rows=None):
    own = golden(name)["text"][None]
    if rows is None:
        return [[own, {"pooled_output": None}]]
    padded = torch.zeros(1, rows, own.shape[-1])
    padded[:, : own.shape[1]] = own
    return [[padded, {"pooled_output": None}]]


class GivenNoise:
    """Stands where the sampler nodes draw their noise: the noise of the vectors."""

    def __init__(self, noise):
        self.noise = noise

    def __call__(self, seed):
        return self

    def generate_noise(self, latent):
        assert latent["samples"].shape == self.noise.shape, (latent["samples"].shape, self.noise.shape)
        return self.noise


def sample(node_id, model, name, noise=None, **inputs):
    (latent,) = run("WanLiteEmptyLatent", model=model, batch_size=inputs.pop("batch_size", 1))
    sampling = submodule("nodes.host.sampling_run")
    original = sampling.ItemNoise
    if noise is not None:
        sampling.ItemNoise = GivenNoise(noise.unsqueeze(2))
    try:
        given = {"positive": text(name), "latent_image": latent} | inputs
        return run(node_id, model=model, **given)
    finally:
        sampling.ItemNoise = original


def raw(model, vae_input):
    """The vectors' normalised 16-channel latent (1, 16, h, w) -> a LATENT."""
    own = model.get_model_object("latent_format")
    return getattr(own, "vae_format", own).process_out(vae_input.unsqueeze(2))


def relative(got, expected):
    assert got.shape == expected.shape, (got.shape, expected.shape)
    return float((got - expected).abs().max() / expected.abs().max())


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


def record_timesteps(model):
    seen = []
    network = model.model.diffusion_model
    network.register_forward_pre_hook(lambda module, args: seen.append(args[1].clone()))
    return seen


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


def check_saved_student_loads_back_bit_equal():
    for name in STUDENTS:
        model = flow(name)
        (contract,) = run("WanLiteMakeContract", preset="flow_unipc-20 shift 5", steps=8, shift=3.0, model=model)
        saved = run("WanLiteSaveStudent", model=model, filename_prefix=f"wan_students/{name}", contract=contract)
        file = saved.ui["files"][0]
        listed = node("WanLiteStudentLoader").INPUT_TYPES()["required"]["student_name"][1]["options"]
        assert file["filename"] in listed, listed
        again, declared = run(
            "WanLiteStudentLoader", student_name=file["filename"], contract_preset="ddim-20 run_inference"
        )
        assert declared.source == "declared" and (declared.steps, declared.shift) == (8, 3.0), declared
        before, after = (m.model.diffusion_model.state_dict() for m in (model, again))
        assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
        settings = {"seed": 1, "steps": 8, "shift": 3.0}
        assert torch.equal(
            sample("WanLiteFlowUniPCSampler", model, name, on_mismatch="ignore", **settings)[0]["samples"],
            sample("WanLiteFlowUniPCSampler", again, name, **settings)[0]["samples"],
        )
    message = raises(ValueError, run, "WanLiteSaveStudent", model=foreign_model())
    assert "not a student" in message, message


def foreign_model():
    import tiny_models

    return tiny_models.wan()


def check_empty_latent():
    for name, channels in (("student_16ch", 16), ("student_4ch", 4)):
        model = flow(name)
        assert run("WanLiteEmptyLatent", model=model, batch_size=2)[0]["samples"].shape == (2, channels, 1, 4, 4)
        (other,) = run("WanLiteEmptyLatent", model=model, width=48, height=16, batch_size=1)
        assert other["samples"].shape == (1, channels, 1, 2, 6)
        message = raises(ValueError, run, "WanLiteEmptyLatent", model=model, width=50, height=16, batch_size=1)
        assert "50x16" in message and "multiples of 8" in message, message
    assert run("WanLiteEmptyLatent", batch_size=1)[0]["samples"].shape == (1, 16, 1, 64, 64)


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


def check_mismatch_matrix():
    """{contract ddim, flow} x {sampler ddim, flow} x {error, warn, ignore}."""
    samplers = {"ddim": ("WanLiteDDIMSampler", 10, 1.0), "flow": ("WanLiteFlowUniPCSampler", 20, 5.0)}
    for contract, model in (("ddim", ddim("student_16ch")), ("flow", flow("student_16ch"))):
        declared = replace(model.get_attachment("wan_lite.contract"), source="declared")
        model.set_attachments("wan_lite.contract", declared)
        for kind, (node_id, steps, shift) in samplers.items():
            for on_mismatch in ("error", "warn", "ignore"):
                settings = {"seed": 1, "steps": steps, "shift": shift, "on_mismatch": on_mismatch}
                if contract != kind and on_mismatch == "error":
                    message = raises(ValueError, sample, node_id, model, "student_16ch", **settings)
                    assert "ddim" in message and "flow_unipc" in message, message
                else:
                    latent = sample(node_id, model, "student_16ch", **settings)[0]["samples"]
                    assert torch.isfinite(latent).all()


def check_double_shift_is_refused():
    (shifted,) = run("ModelSamplingSD3", model=flow("student_16ch"), shift=3.0)
    message = raises(ValueError, sample, "WanLiteFlowUniPCSampler", shifted, "student_16ch", steps=20, shift=5.0)
    assert "3" in message and "5" in message and "Remove" in message, message


def check_contract_goes_into_the_metadata():
    model, extra, prompt = ddim("student_16ch"), {"workflow": {}}, {"9": {"class_type": "x", "inputs": {}}}
    hidden = {"extra_pnginfo": extra, "prompt": prompt, "unique_id": "9"}
    (latent,) = run("WanLiteEmptyLatent", model=model)
    given = {"positive": text("student_16ch"), "latent_image": latent, "steps": 10, "shift": 1.0}
    run("WanLiteDDIMSampler", model=model, hidden=hidden, **given)
    for entry in (extra["wan_lite.sampling_contract"]["9"], prompt["9"]["_meta"]["wan_lite.sampling_contract"]):
        assert entry["solver"] == "ddim" and entry["prediction"] == "epsilon" and entry["steps"] == 10, entry
    json.dumps([extra, prompt])


def check_other_models():
    """Core's Wan gets Wan's truncated timesteps, others keep their own; the flow node refuses an epsilon model."""
    import tiny_models

    wan = tiny_models.wan()
    seen = record_timesteps(wan)
    (latent,) = run("EmptyHunyuanLatentVideo", width=32, height=32, length=1, batch_size=1)
    given = {"positive": tiny_models.text(width=32), "latent_image": latent, "steps": 20, "shift": 5.0}
    out, _ = run("WanLiteFlowUniPCSampler", model=wan, **given)
    assert torch.stack(seen)[:, 0].tolist()[:4] == [999.0, 989.0, 978.0, 965.0]
    assert out["samples"].shape == (1, 16, 1, 4, 4) and torch.isfinite(out["samples"]).all()
    epsilon = tiny_models.formula("EPS", 16, 3)
    message = raises(ValueError, run, "WanLiteFlowUniPCSampler", model=epsilon, **given)
    assert "flow" in message and "WanLiteDDIM" in message, message
    run("WanLiteDDIMSampler", model=epsilon, **(given | {"shift": 1.0}))


def check_bad_students():
    students = base() / "models" / "wan_students"

    def broken(change):
        folder = students / "broken"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(students / "student_4ch", folder)
        change(folder)
        try:
            return raises(ValueError, load, "broken", "ddim-20 run_inference")
        finally:
            shutil.rmtree(folder)

    weights = "diffusion_pytorch_model.safetensors"

    def poison(folder):
        tensors = load_file(folder / weights)
        tensors["conv_in.weight"][0] = float("nan")
        save_file(tensors, folder / weights)

    def truncate(folder):
        (folder / weights).write_bytes((folder / weights).read_bytes()[:5000])

    cases = {
        "config.json": lambda folder: (folder / "config.json").unlink(),
        "output_proj": lambda folder: (folder / "output_proj.safetensors").unlink(),
        "NaN": poison,
        "complete": truncate,
        "a Wan VAE": lambda folder: shutil.copy(base() / "models" / "vae" / "wan21_tiny.safetensors", folder / weights),
    }
    for expected, change in cases.items():
        message = broken(change)
        assert (expected in message and "broken" in message) or weights in message, (expected, message)
    message = raises(ValueError, load, "../wan_students/student_4ch", "ddim-20 run_inference")
    assert "student_name" in message and "models/wan_students" in message, message
    validate = node("WanLiteStudentLoader").validate_inputs
    assert validate("student_4ch") is True and "models folder" in validate("../x") and validate(None) is True


def check_bad_sampling_input():
    name = "student_16ch"
    model = flow(name)
    for inputs, words in (
        ({"steps": 0}, ("steps", "0")),
        ({"shift": 0.0}, ("shift", "0")),
        ({"latent_image": {"samples": torch.ones(1, 48, 1, 4, 4)}}, ("48", "16")),
        ({"latent_image": {"samples": torch.zeros(1, 16, 5, 4, 4)}}, ("5 latent frames",)),
        ({"positive": [[torch.ones(1, 3, 99), {}]]}, ("99", "24")),
    ):
        given = {"steps": 4, "shift": 5.0, "on_mismatch": "ignore"} | inputs
        message = raises(ValueError, sample, "WanLiteFlowUniPCSampler", model, name, **given)
        assert all(word in message for word in words), (inputs, message)


def check_interrupt_at_each_step():
    import comfy.model_management

    model = ddim("student_16ch")
    calls = []

    def stop_after_two(module, args):
        calls.append(1)
        if len(calls) == 2:
            comfy.model_management.interrupt_current_processing()

    model.model.diffusion_model.register_forward_pre_hook(stop_after_two)
    stopped = comfy.model_management.InterruptProcessingException
    try:
        sample("WanLiteDDIMSampler", model, "student_16ch", steps=10, shift=1.0)
    except stopped:
        pass
    else:
        raise AssertionError("it was not interrupted")
    finally:
        comfy.model_management.interrupt_current_processing(False)
    assert len(calls) == 2, calls


def check_no_memory_is_kept():
    import gc

    import comfy.model_management

    model = flow("student_16ch")
    sample("WanLiteFlowUniPCSampler", model, "student_16ch", steps=2, shift=5.0, on_mismatch="ignore")
    import weakref

    network = weakref.ref(model.model.diffusion_model)
    del model
    gc.collect()
    comfy.model_management.cleanup_models()
    assert network() is None
