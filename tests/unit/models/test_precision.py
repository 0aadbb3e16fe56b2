"""One rule for the dtype of weights, whatever the network and the device."""

from __future__ import annotations

import pytest
import torch

from wan_lite.models.precision import choose_dtype


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_a_cpu_computes_in_float32(stored: torch.dtype) -> None:
    assert choose_dtype(None, stored, "cpu") == torch.float32


@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
def test_a_gpu_computes_in_what_the_file_has(stored: torch.dtype) -> None:
    assert choose_dtype(None, stored, "cuda") == stored


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_gpu_without_bfloat16(monkeypatch: pytest.MonkeyPatch, has_bf16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)
    assert choose_dtype(None, torch.bfloat16, "cuda:1") == (torch.bfloat16 if has_bf16 else torch.float32)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_is_asked_for_is_given(device: str) -> None:
    assert choose_dtype(torch.float16, torch.float32, device) == torch.float16
