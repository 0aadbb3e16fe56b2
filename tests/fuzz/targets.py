"""What is fuzzed: for each loader files that it takes, and how they are changed."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fuzz.bytes_mutations import mutate_bytes
from fuzz.json_mutations import mutate_text, to_bytes
from fuzz.media_mutations import mutate_media
from fuzz.pickle_mutations import make_gadget, mutate_pickled
from fuzz.safetensors_mutations import mutate_safetensors
from wan_lite.check import check_workflow
from wan_lite.cli.world.session_files import read_session, write_session
from wan_lite.models import load_student, load_wan_vae, load_world, merge_lora, read_contract, read_text_embeds, stamp
from wan_lite.models.checkpoint import read_tensors
from wan_lite.models.known_students import load_known_students
from wan_lite.models.known_students.find import find_contract
from wan_lite.models.known_students.stamping import is_lora, stamp_published
from wan_lite.models.student.loading import save_student
from wan_lite.models.text_embeds import save_text_embeds
from wan_lite.models.world import RolloutConfig, SessionRecord, World, WorldSession, replay, save_world
from wan_lite.pipeline.inspection import inspect
from wan_lite.pipeline.known import find_model_names
from wan_lite.pipeline.videos.reading import Excerpt, open_video, read_frames
from wan_lite.samplers import PRESETS

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"
DEMO = ROOT / "demo" / "models"
PRESET = "ddim-20 run_inference"
_STAGES = (("tokenizer", "tokenizer"), ("actions", "lam"), ("actions", "latent_actions"), ("dynamics", "dynamics"))
"""Arguments of a world's loader, and parts of the names of files."""
WEIGHTS = "diffusion_pytorch_model.safetensors"

Files = dict[str, bytes]


@dataclass(frozen=True)
class Target:
    """Loaders of one kind of file: ``seeds`` are folders of files that all of ``loads`` take, ``name`` is opened."""

    seeds: Callable[[], list[Files]]
    loads: tuple[Callable[[Path], object], ...]
    name: str = ""

    def mutate(self, chance: random.Random) -> Files:
        """Return the files of a mutant."""
        files = dict(chance.choice(_make_seeds(self.seeds)))
        weights = [5 if name.endswith(".json") else 2 for name in files]
        for name in chance.choices(list(files), weights, k=chance.choice((1, 1, 1, 2))):
            files[name] = mutate_file(name, files[name], chance)
        if len(files) > 1 and chance.random() < 0.05:
            del files[chance.choice(list(files))]
        return files

    def load(self, folder: Path, chance: random.Random) -> object:
        """Load the mutant in a folder with one of the loaders."""
        name = self.name or min((path.name for path in folder.iterdir()), default="nothing")
        return chance.choice(self.loads)(folder if self.name == "." else folder / name)


@cache
def _make_seeds(make: Callable[[], list[Files]]) -> list[Files]:
    return make()


def mutate_file(name: str, content: bytes, chance: random.Random) -> bytes:
    """Return a file near ``content``, by the rules of its format as long as it follows them."""
    try:
        return _mutate_by_format(name, content, chance)
    except Exception:  # it was changed before
        return mutate_bytes(content, chance)


def _mutate_by_format(name: str, content: bytes, chance: random.Random) -> bytes:
    ending = name.rpartition(".")[2]
    if ending == "json":
        if chance.random() < 0.1:
            return mutate_bytes(content, chance)
        return to_bytes(mutate_text(content.decode("utf-8", "surrogateescape"), chance))
    mutate = {
        "safetensors": mutate_safetensors,
        **dict.fromkeys(("pth", "pt", "bin"), mutate_pickled),
        **dict.fromkeys(("png", "gif", "webp", "jpg", "mp4"), mutate_media),
    }
    return mutate.get(ending, mutate_bytes)(content, chance)


def _read(folder: Path, *patterns: str) -> Files:
    files = (path for pattern in patterns for path in sorted(folder.rglob(pattern)) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _written(write: Callable[[Path], object]) -> Files:
    with TemporaryDirectory() as folder:
        write(Path(folder))
        return _read(Path(folder), "*")


def _renamed(path: Path, name: str) -> Files:
    return {name: path.read_bytes()}


# Models --------------------------------------------------------------------------------------------------------------


def _vaes() -> list[Files]:
    official = VECTORS / "wan_vae" / "wan21_tiny_official.safetensors"
    found = [_renamed(path, "w.safetensors") for path in sorted((VECTORS / "wan_vae").glob("*_official.safetensors"))]
    found += [_renamed(path, "w.safetensors") for path in sorted((VECTORS / "wan_vae").glob("*_diffusers.safetensors"))]
    return [*found, _written(lambda folder: torch.save(read_tensors(official), folder / "w.pth"))]


def _vae_folders() -> list[Files]:
    folder = VECTORS / "wan_vae"
    return [
        {WEIGHTS: (folder / f"{name}_tiny_diffusers.safetensors").read_bytes(), "config.json": _vae_config(name)}
        for name in ("wan21", "wan22")
    ]


def _vae_config(name: str) -> bytes:
    channels = {"wan21": 16, "wan22": 48}[name]
    statistics = {"latents_mean": [0.1] * channels, "latents_std": [1.5] * channels}
    return json.dumps({"_class_name": "AutoencoderKLWan", "z_dim": channels, **statistics}).encode()


def _student_folders() -> list[Files]:
    names = ("config.json", WEIGHTS, "output_proj.safetensors")
    plain = [_read(VECTORS / name, *names) for name in ("student_4ch", "student_16ch")]
    sidecar = {"sampling_contract.json": PRESETS[PRESET].to_json().encode()}
    return [*plain, plain[0] | sidecar, plain[0] | {"scheduler_config.json": _scheduler()}]


def _scheduler() -> bytes:
    levels = {"prediction_type": "flow_prediction", "flow_shift": 5.0, "num_train_timesteps": 1000}
    return json.dumps({"_class_name": "UniPCMultistepScheduler", **levels}).encode()


def _students() -> list[Files]:
    def write(folder: Path) -> None:
        save_student(load_student(VECTORS / "student_4ch", preset=PRESET), folder / "w.safetensors")

    return [_written(write)]


def _worlds() -> list[Files]:
    current = VECTORS / "tinyworlds" / "current" / "checkpoints_current"
    return [_written(lambda folder: save_world(load_world(current), folder / "w.safetensors"))]


def _world_parts() -> list[Files]:
    """The networks of a world, each a file: of the published world, and of the oldest format."""
    published = VECTORS / "tinyworlds" / "current" / "checkpoints_singlefile_pth"
    found = []
    for paths in (published.rglob("*.pth"), (VECTORS / "tinyworlds" / "legacy").glob("*.pth")):
        stages = {stage: path.read_bytes() for path in paths for stage, part in _STAGES if part in path.name.lower()}
        found.append({f"{stage}.pth": content for stage, content in stages.items()})
    return found


def _world_folders() -> list[Files]:
    folder = VECTORS / "tinyworlds"
    return [
        _read(folder / "current" / "checkpoints_current", "*.pt"),
        _read(folder / "legacy", "*.pth"),
    ]


def _embeds() -> list[Files]:
    one = _written(lambda folder: save_text_embeds(folder / "w.safetensors", [torch.ones(3, 8)], ["a prompt"]))
    return [_renamed(DEMO / "wan_lite_embeds" / "wan-lite-demo" / "captions.safetensors", "w.safetensors"), one]


def _pickles() -> list[Files]:
    content = {"a": torch.ones(3, 5), "b.c": torch.zeros(2, dtype=torch.bfloat16), "d": torch.arange(4)}
    nested = {"model": content, "config": {"x": 1, "y": [1.5, "z"]}, "step": 7}
    shared = {"a": content["a"], "b": content["a"][1:], "p": torch.nn.Parameter(torch.ones(2))}
    found = [_written(lambda folder, c=c: torch.save(c, folder / "w.pth")) for c in (content, nested, shared)]
    for old in (content, nested):
        found.append(
            _written(lambda folder, c=old: torch.save(c, folder / "w.pth", _use_new_zipfile_serialization=False))
        )
    return [*found, {"w.pth": make_gadget(random.Random(0))}]


def _loras() -> list[Files]:
    student = load_student(VECTORS / "student_4ch", preset=PRESET)
    weights = {name: value for name, value in student.network.state_dict().items() if value.ndim == 2}

    def write(folder: Path, prefix: str, names: tuple[str, str]) -> None:
        tensors = {}
        for name in list(weights)[:3]:
            base, weight = f"{prefix}{name.removesuffix('.weight')}", weights[name]
            tensors[f"{base}.{names[0]}.weight"] = torch.ones(2, weight.shape[1])
            tensors[f"{base}.{names[1]}.weight"] = torch.ones(weight.shape[0], 2)
            tensors[f"{base}.alpha"] = torch.tensor(1.0)
        header = {"wan_lite.sampling_contract": PRESETS[PRESET].to_json(), "ss_network_dim": "2"}
        save_file(tensors, folder / "w.safetensors", header)

    layouts = (("", ("lora_down", "lora_up")), ("diffusion_model.", ("lora_A", "lora_B")))
    return [_written(lambda folder, o=options: write(folder, *o)) for options in layouts]


def _merge(path: Path) -> None:
    merge_lora(load_student(VECTORS / "student_4ch", preset=PRESET).network, path)


# Text and media ------------------------------------------------------------------------------------------------------


def _contracts() -> list[Files]:
    texts = [preset.to_json() for preset in PRESETS.values()]
    texts += [student.contract().to_json() for student in _known_with_contracts()]
    found = [{"sampling_contract.json": text.encode()} for text in texts]
    return [*found, {"scheduler/scheduler_config.json": _scheduler()}]


def _known_with_contracts() -> list[object]:
    found = [student for student in load_known_students().students.values() if student.fields]
    return [student for student in found if student.contract() is not None]


def _read_contract(path: Path) -> None:
    contract = read_contract(path)
    if contract is not None:
        contract.schedule()
        contract.to_json()


def _sessions() -> list[Files]:
    """Sessions that were played: one with changed settings, two side by side, and one of no steps."""
    source = {"world": "world.pt", "tokenizer": None, "clip": "a.gif", "start": 0, "every": 1, "resize": False}
    world, context = _session_world()

    def write(folder: Path, actions: list[list[int]]) -> None:
        items = len(actions)
        session = WorldSession(world, context.expand(items, -1, -1, -1, -1), RolloutConfig(maskgit_steps=2), seed=3)
        for step, action in enumerate(zip(*actions, strict=True)):
            if step == 2:
                session.configure(temperature=0.7, feedback="tokens", maskgit_steps=3, top_k=4)
            session.step(action)
        write_session(folder / "w.json", session.record(), source)

    played = ([[0, 3, 1, 2]], [[0, 1, 1], [2, 2, 3]], [[]])
    return [_written(lambda folder, a=actions: write(folder, a)) for actions in played]


@cache
def _session_world() -> tuple[World, torch.Tensor]:
    current = VECTORS / "tinyworlds" / "current"
    frames = load_file(current / "rollout.io.safetensors")["ground_truth_frames"]
    return load_world(current / "checkpoints_current"), frames[:1, :2]


def _read_record(path: Path) -> SessionRecord:
    names = dict.fromkeys(("world", "tokenizer", "action_model", "dynamics", "clip"))
    options = argparse.Namespace(**names, start=0, every=1, resize=False)
    record = read_session(path, options)
    assert SessionRecord.from_json(record.to_json()) == record
    return record


def _is_long(record: SessionRecord) -> bool:
    """Whether playing takes more than a moment, as a long session may."""
    return record.steps * len(record.actions) * max(config.maskgit_steps for _, config in record.settings) > 200


def _replay_session(path: Path) -> None:
    """Play a session as ``rollout --session`` does."""
    record, (world, context) = _read_record(path), _session_world()
    if not _is_long(record):
        replay(world, context, record)


def _continue_session(path: Path) -> None:
    """Play a session as the page of ``play`` does with one that it is to continue, and one more frame."""
    record, (world, context) = _read_record(path), _session_world()
    if not _is_long(record):
        context = context.expand(len(record.actions), -1, -1, -1, -1)
        WorldSession(world, context, record.settings[0][1], record.seed).play_record(record).step(0)


def _known() -> list[Files]:
    content = json.loads((ROOT / "models" / "known_students" / "known_students.json").read_text("utf-8"))
    small = {"format": content["format"], "students": content["students"][:3], "silent": [], "unknown": []}
    return [{"w.json": json.dumps(small).encode()}]


def _load_known(path: Path) -> None:
    for student in load_known_students(path).students.values():
        student.contract()


def _workflows() -> list[Files]:
    found = [{"w.json": path.read_bytes()} for path in sorted((ROOT / "workflows").rglob("*.json"))]

    def write(folder: Path) -> None:
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("prompt", sorted((ROOT / "workflows" / "api").glob("*.json"))[0].read_text("utf-8"))
        Image.new("RGB", (8, 8)).save(folder / "w.png", pnginfo=info)

    return [*found, _written(write)]


def _check(path: Path) -> None:
    report = check_workflow(path)
    said = [report.error, *(part for found in report.findings for part in (found.message, found.title, found.remedy))]
    assert all("\n" not in sentence and len(sentence) < 2000 and sentence.isprintable() for sentence in said)
    json.dumps(report.to_dict(), allow_nan=False)


def _clips() -> list[Files]:
    frames = [Image.new("RGB", (8, 8), (i * 40, 0, 0)) for i in range(4)]

    def write(folder: Path, name: str) -> None:
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])

    found = [_written(lambda folder, n=name: write(folder, n)) for name in ("w.gif", "w.png", "w.webp")]
    found.append(_written(lambda folder: frames[0].save(folder / "w.jpg")))
    clip = {"frames": torch.zeros(1, 4, 8, 8, 3, dtype=torch.uint8), "actions": torch.zeros(1, 3, dtype=torch.int64)}
    found.append(_written(lambda folder: save_file(clip, folder / "w.safetensors")))
    return found + _clips_of_other_packages()


def _clips_of_other_packages() -> list[Files]:
    """Clips that need PyAV and h5py, as far as they are installed."""
    found = []
    try:
        import av

        def write_video(folder: Path) -> None:
            with av.open(str(folder / "w.mp4"), "w") as container:
                stream = container.add_stream("mpeg4", rate=4)
                stream.width = stream.height = 16
                for _ in range(4):
                    frame = av.VideoFrame(16, 16, "rgb24")
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())

        found.append(_written(write_video))
    except ImportError:
        pass
    try:
        import h5py

        def write_h5(folder: Path) -> None:
            with h5py.File(folder / "w.h5", "w") as file:
                file["frames"] = torch.zeros(4, 8, 8, 3, dtype=torch.uint8).numpy()

        found.append(_written(write_h5))
    except ImportError:
        pass
    return found


def _read_clip(path: Path) -> torch.Tensor:
    return read_frames(open_video(path), Excerpt(limit=2))


def _stamp(path: Path) -> None:
    stamp(path, PRESETS[PRESET])


def _load_world_parts(folder: Path) -> None:
    load_world(**{stage: folder / f"{stage}.pth" for stage, _ in _STAGES})


def _load_student(path: Path) -> None:
    load_student(path, preset=PRESET)


def _load_vae_for_videos(path: Path) -> None:
    load_wan_vae(path, video=True)


TARGETS: dict[str, Target] = {
    "vae": Target(_vaes, (load_wan_vae, _load_vae_for_videos, inspect)),
    "vae folder": Target(_vae_folders, (load_wan_vae, inspect), "."),
    "student": Target(_students, (load_student, _load_student, inspect, _stamp)),
    "student folder": Target(_student_folders, (load_student, _load_student, inspect, read_contract), "."),
    "world": Target(_worlds, (load_world, inspect)),
    "world parts": Target(_world_parts, (_load_world_parts, inspect), "."),
    "world folder": Target(_world_folders, (load_world, inspect), "."),
    "embeds": Target(_embeds, (read_text_embeds, inspect)),
    "pickle": Target(_pickles, (read_tensors,)),
    "lora": Target(_loras, (_merge, is_lora, lambda path: find_contract([path]), inspect, _stamp,
                            lambda path: stamp_published(path, PRESETS[PRESET]))),
    "contract": Target(_contracts, (_read_contract,), "."),
    "known students": Target(_known, (_load_known,)),
    "session": Target(_sessions, (_read_record, _replay_session, _continue_session)),
    "workflow": Target(_workflows, (_check, _check, find_model_names)),
    "clip": Target(_clips, (_read_clip,)),
}  # fmt: skip
