"""What loading takes beside the loaded weights: a part of the file at a time, whatever the file's format and dtype."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

SIZE, COUNT = 2**20, 96  # bytes in float32, tensors
CODE = """
import sys, torch
from wan_lite.models import checkpoint

def resident(key):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(key))

path, small, dtype = sys.argv[1], sys.argv[2], getattr(torch, sys.argv[3])
checkpoint._BYTES_AT_ONCE = 2**22
checkpoint.read_tensors(small, dtype=dtype)  # what is loaded once is not counted
open("/proc/self/clear_refs", "w").write("5")
before = resident("VmRSS")
tensors = checkpoint.read_tensors(path, dtype=dtype)
print((resident("VmHWM") - before) / sum(tensor.nbytes for tensor in tensors.values()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("ending", "dtype", "most"), [(".safetensors", "float32", 1.15), (".pth", "bfloat16", 1.25)])
def test_reading_takes_little_beside_the_weights(tmp_path: Path, ending: str, dtype: str, most: float) -> None:
    save = save_file if ending == ".safetensors" else torch.save
    paths = [tmp_path / f"{name}{ending}" for name in ("large", "small")]
    for path, count in zip(paths, (COUNT, 1), strict=True):
        save({str(index): torch.ones(SIZE // 4) for index in range(count)}, path)
    run = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, paths), dtype], cwd="/", capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < most
