"""Few-step students that are published elsewhere: how each was trained to be sampled, and the names of its files.

The facts are in ``known_students.json``, each with its source; a user's own file of the same form adds, corrects or
switches off entries. Names are compared in lower case with ``_`` for every run of other characters.
"""

from .names import expert_role, find_swapped_experts
from .reading import USER_FILE_VARIABLE, load_built_in_students, load_known_students, user_file
from .student import KnownStudent, KnownStudents, KnownStudentsError, Recognition

__all__ = [
    "USER_FILE_VARIABLE",
    "KnownStudent",
    "KnownStudents",
    "KnownStudentsError",
    "Recognition",
    "expert_role",
    "find_swapped_experts",
    "load_built_in_students",
    "load_known_students",
    "user_file",
]
