"""Files whose tensors are not what they seem: refused by every loader in one sentence, before memory is taken."""

from __future__ import annotations

import io
import json
import pickle
import resource
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from wan_lite.models import load_student, load_wan_vae, load_world, read_contract, read_text_embeds, stamp
from wan_lite.models.checkpoint import read_tensors
from wan_lite.pipeline.inspection import inspect
from wan_lite.printable import LONGEST_LINE
from wan_lite.samplers import PRESETS

LOADERS: dict[str, Callable[[Path], object]] = {
    "student": load_student,
    "world": load_world,
    "tokenizer": lambda path: load_world(tokenizer=path, dynamics=path),
    "embeds": read_text_embeds,
    "vae": load_wan_vae,
    "tensors": read_tensors,
    "inspect": inspect,
}
CONTRACTS: dict[str, Callable[[Path], object]] = {
    "read": read_contract,
    "stamp": lambda path: stamp(path, next(iter(PRESETS.values()))),
}


def refusal(load: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        load(path)
    text = str(caught.value)
    assert path.name in text and len(text) <= LONGEST_LINE and text.isprintable()
    return text


def write_safetensors(path: Path, header: dict[str, Any], content: bytes = b"") -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


def spec(dtype: str, shape: list[int], size: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}


ODD = {
    "F4": (spec("F4", [8], 4), 4),
    "F6": (spec("F6_E2M3", [4], 3), 3),
    "F8_E8M0": (spec("F8_E8M0", [4], 4), 4),
    "dimensions": (spec("F32", [1] * 70, 4), 4),
    "strides": (spec("F32", [2**40, 2**40, 0], 0), 0),
    "side": (spec("F32", [2**63, 0], 0), 0),
}


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("name", ["text", "encoder.latent_head.1.weight", "conv2.weight"])
def test_tensors_that_torch_cannot_hold(
    tmp_path: Path, load: Callable[[Path], object], odd: tuple[dict[str, Any], int], name: str
) -> None:
    refusal(load, write_safetensors(tmp_path / "w.safetensors", {name: odd[0]}, bytes(odd[1])))


@pytest.mark.parametrize("load", [*LOADERS.values(), *CONTRACTS.values()], ids=[*LOADERS, *CONTRACTS])
def test_a_header_that_is_larger_than_any_real_one(tmp_path: Path, load: Callable[[Path], object]) -> None:
    path = write_safetensors(tmp_path / "w.safetensors", {"__metadata__": {"a": "x" * 9_000_000}})
    assert "has a header of 9 MB" in refusal(load, path)


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_names_with_terminal_escapes_are_shown_escaped(tmp_path: Path, load: Callable[[Path], object]) -> None:
    names = [f"\x1b]0;owned\x07\x1b[31m\u202e{index}{'long' * 5000}" for index in range(9)]
    header = {name: spec("F4", [8], 4) if not index else spec("F32", [0], 4) for index, name in enumerate(names)}
    header = {name: {**entry, "data_offsets": [4 * bool(i), 4]} for i, (name, entry) in enumerate(header.items())}
    text = refusal(load, write_safetensors(tmp_path / "w.safetensors", header, bytes(4)))
    assert r"\x1b" in text


# Pickled files -------------------------------------------------------------------------------------------------------


class Call:
    """Pickled as a call of a function of torch's, which torch's own reader would make."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.reduced


def save(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def save_compressed(path: Path) -> Path:
    plain = io.BytesIO()
    torch.save({"a": torch.zeros(2**22)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.namelist():
            target.writestr(entry, source.read(entry))
    return path


def save_overlapping(path: Path) -> Path:
    """An archive whose directory names one entry of zeros many times."""
    plain = io.BytesIO()
    torch.save({"a": torch.zeros(2**18)}, plain)
    raw = plain.getvalue()
    with zipfile.ZipFile(plain) as archive:
        entry = next(entry for entry in archive.infolist() if entry.filename.endswith("data/0"))
        count = len(archive.infolist())
    start, end = raw.index(b"PK\x01\x02"), raw.rindex(b"PK\x05\x06")
    central = raw[start : raw.index(b"PK\x06\x06")] if b"PK\x06\x06" in raw else raw[start:end]
    copies = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 0, 0, 0, 0, 0, 0, entry.CRC, entry.file_size, entry.file_size,
                    len(name), 0, 0, 0, 0, 0, entry.header_offset) + name
        for name in (f"archive/data/{i}".encode() for i in range(1, 50))
    )  # fmt: skip
    whole = central + copies
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count + 49, count + 49, len(whole), start, 0)
    path.write_bytes(raw[:start] + whole + last)
    return path


PICKLES: dict[str, Callable[[Path], Path]] = {
    "sparse": lambda path: save({"a": torch.sparse_coo_tensor([[0], [0]], [1.0], (10**6, 10**6))}, path),
    "csr": lambda path: save({"a": torch.eye(3).to_sparse_csr()}, path),
    "nested": lambda path: save({"a": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])}, path),
    "meta": lambda path: save({"a": torch.empty(2**40, device="meta")}, path),
    "expanded": lambda path: save({"a": torch.zeros(1).expand(2**34)}, path),
    "overlapping rows": lambda path: save({"a": torch.zeros(2000).as_strided((1000, 1000), (1, 1))}, path),
    "quantised": lambda path: save({"a": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)}, path),
    "bytearray": lambda path: save({"a": Call(bytearray, 2**36)}, path),
    "tensor by size": lambda path: save({"a": Call(torch.Tensor, 2**34)}, path),
    "compressed": save_compressed,
    "overlapping": save_overlapping,
    "inside settings": lambda path: save({"model": {"a": torch.ones(1)}, "config": {"x": [Call(bytearray, 9)]}}, path),
}


@pytest.mark.parametrize("make", PICKLES.values(), ids=PICKLES)
@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_pickled_tensors_that_are_not_plain(
    tmp_path: Path, make: Callable[[Path], Path], load: Callable[[Path], object]
) -> None:
    path = make(tmp_path / "w.pth")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(load, path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if sys.platform == "darwin" else 1024) < 100e6


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_pickles_of_any_protocol_name_nothing_but_tensors(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps({"a": Call(bytearray, 2**36)}, protocol=protocol))
    refusal(read_tensors, path)


def test_a_pickle_of_much_structure(tmp_path: Path) -> None:
    path = save(
        {"model": {"a": torch.ones(1)}, "config": {str(i): f"{i:090}" for i in range(60_000)}}, tmp_path / "w.pth"
    )
    assert "of structure beside its tensors" in refusal(read_tensors, path)


def test_plain_files_of_every_format_are_read(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(12.0).reshape(3, 4).t(), "b": torch.nn.Parameter(torch.ones(2).bfloat16())}
    tensors |= {"c": torch.arange(10)[3:5], "d": torch.zeros(0, 3)}
    for zipped in (False, True):
        if zipped:  # torch cannot read float8 back from its old format
            tensors["e"] = torch.ones(2).to(torch.float8_e4m3fn)
        torch.save(tensors, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
        read = read_tensors(tmp_path / "w.pth")
        for name, tensor in tensors.items():
            assert torch.equal(read[name].float(), tensor.float()) and read[name].dtype == tensor.dtype
            assert read[name].is_contiguous() and read[name].untyped_storage().nbytes() == read[name].nbytes


def test_storages_of_the_old_format_that_claim_more_than_the_file_has(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    raw = path.read_bytes()
    claimed = raw.replace(struct.pack("<H", 1000), struct.pack("<H", 65535))
    assert claimed != raw
    path.write_bytes(claimed)
    refusal(read_tensors, path)
