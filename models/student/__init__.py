"""Distilled Wan students: the network, a loaded student, and its files."""

from .loading import StudentCheckpoint, build_projection, load_student, read_student, save_student
from .lora import merge_lora
from .network import StudentConfig, StudentNetwork, pool_text
from .preview import PreviewColours, fit_preview_colours
from .student import Student, fit_contract, invert_projection

__all__ = [
    "PreviewColours",
    "Student",
    "StudentCheckpoint",
    "StudentConfig",
    "StudentNetwork",
    "build_projection",
    "fit_contract",
    "fit_preview_colours",
    "invert_projection",
    "load_student",
    "merge_lora",
    "pool_text",
    "read_student",
    "save_student",
]
