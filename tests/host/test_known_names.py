"""Every name of a model file in ComfyUI's own templates: those of known students are recognised, all others are not."""

from __future__ import annotations

import json

import pytest

from host.comfyui import ComfyUI
from host.server import VECTORS
from host.templates import find_templates
from wan_lite.models.known_students import load_known_students
from wan_lite.pipeline.known import find_model_names, recognise_all

pytestmark = pytest.mark.host


def test_names_in_the_installed_templates(comfyui: ComfyUI) -> None:
    recorded = json.loads((VECTORS / "known" / "names.json").read_text("utf-8"))
    names = sorted({name for path in find_templates(comfyui) for name in find_model_names(path)})
    found, others = recognise_all(names, load_known_students())
    assert len(names) > 100
    assert {row.name for row in found} <= set(recorded["known"]["templates"])
    missed = {row.name for row in others} & set(recorded["known"]["templates"])
    assert not missed
