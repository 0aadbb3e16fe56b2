"""Distilled Wan students: the network, a loaded student, and its files."""

from .loading import StudentCheckpoint, build_projection, load_student, read_student, save_student
from .lora import merge_lora
from .network import StudentConfig, StudentNetwork, pool_text
from .student import Student, fit_contract, invert_projection

__all__ = [
    "Student",
    "StudentCheckpoint",
    "StudentConfig",
    "StudentNetwork",
    "build_projection",
    "fit_contract",
    "invert_projection",
    "load_student",
    "merge_lora",
    "pool_text",
    "read_student",
    "save_student",
]
