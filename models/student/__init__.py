"""Distilled Wan students: the network, a loaded student, and its files."""

from .network import StudentConfig, StudentNetwork, pool_text
from .student import Student, load_student, save_student

__all__ = ["Student", "StudentConfig", "StudentNetwork", "load_student", "pool_text", "save_student"]
