"""What surrounds a run of a student: saving, contracts, other models, bad input, interruption, memory."""

import json
import shutil
from dataclasses import replace

import torch
from heard import Heard
from safetensors.torch import load_file, save_file
from students import STUDENTS, ddim, flow, load, record_timesteps, sample, text

from harness import base, node, raises, run

EMPTY = ("EmptyLatentImage", "WanLiteEmptyLatent")


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


def check_latent_size_and_guidance_belong_to_the_contract():
    """Core's empty latent of another size, ours, and guidance with a negative: error, warn, ignore as for shift."""
    model = load_declared("student_4ch", "flow_unipc-20 shift 5")
    sides = {"width": 512, "height": 256, "batch_size": 1}
    cases = [({"latent_image": run(node_id, **sides)[0]}, "4x4x4", "4x32x64") for node_id in EMPTY]
    cases += [({"cfg": 7.0, "negative": text("student_4ch")}, "1.0", "7.0")]
    for changes, told, asked in cases:
        given = {"steps": 1, "seed": 1} | changes
        message = raises(ValueError, sample, "WanLiteFlowUniPCSampler", model, "student_4ch", **given)
        assert told in message and asked in message, message
        for on_mismatch, lines in (("warn", 1), ("ignore", 0)):
            with Heard() as heard:
                sample("WanLiteFlowUniPCSampler", model, "student_4ch", **given, on_mismatch=on_mismatch)
            assert len([line for line in heard.lines if told in line and asked in line]) == lines, heard.lines


def load_declared(name, preset):
    """A student whose contract counts."""
    model = load(name, preset)
    model.set_attachments("wan_lite.contract", replace(model.get_attachment("wan_lite.contract"), source="declared"))
    return model


def check_a_record_says_declared_only_where_nothing_was_changed():
    model = load_declared("student_4ch", "flow_unipc-20 shift 5")

    def record(node_id, call, **inputs):
        extra = {}
        hidden = {"extra_pnginfo": extra, "prompt": {"9": {}}, "unique_id": "9"}
        call(node_id, **inputs, hidden=hidden)
        return {key: entry["9"] for key, entry in extra.items()}

    def sampled(node_id, **inputs):
        sample(node_id, model, "student_4ch", **inputs)

    whole = record("WanLiteFlowUniPCSampler", sampled, steps=20)
    assert whole.keys() == {"wan_lite.sampling_contract"}, whole
    assert whole["wan_lite.sampling_contract"]["source"] == "declared"
    for changes in ({"steps": 3}, {"latent_image": run("EmptyLatentImage", width=64, height=32, batch_size=1)[0]}):
        changed = record("WanLiteFlowUniPCSampler", sampled, on_mismatch="ignore", **changes)
        assert changed["wan_lite.sampling_contract"]["source"] == "assumed", changed
        (field,) = set(changed["wan_lite.contract_changes"]) - {"steps"} or {"steps"}
        assert field == ("steps" if "steps" in changes else "latent"), changed
    assert record("WanLiteContractSampling", run, model=model).keys() == {"wan_lite.sampling_contract"}
    assert record("WanLiteContractSampling", run, model=model, steps=8)["wan_lite.contract_changes"] == {
        "steps": {"contract": 20, "used": 8}
    }


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
