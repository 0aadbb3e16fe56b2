"""Mutants that follow the coverage of the loaders: ``python -m fuzz.coverage_guided TARGET [LIBFUZZER OPTIONS]``.

An optional tool of the soak: it needs atheris (``pip install wan-lite[fuzz]``, Linux) and is run from
the folder ``tests``, for instance with ``embeds -runs=5000``. Where libFuzzer chooses a file to go on from, the grammar
of its format changes it, so that most mutants get past the header. It stops at the first finding and keeps the file.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["wan_lite"], enable_loader_override=False):
    import wan_lite  # noqa: F401
    from fuzz import child
    from fuzz.listening import MOST_SECONDS
    from fuzz.run import MOST_BYTES
    from fuzz.targets import TARGETS, Target, mutate_file


class Session:
    """One run: a kind of file, and the folder in which each mutant is written and loaded."""

    def __init__(self, target: Target, work: Path) -> None:
        self.target, self.work = target, work
        self.names = sorted({name for files in target.seeds() for name in files})

    def write_corpus(self, corpus: Path) -> None:
        """Write the files to start from, each behind a byte that says which name it has."""
        for number, files in enumerate(self.target.seeds()):
            for name, content in files.items():
                mark = bytes([self.names.index(name)])
                (corpus / f"{number}-{self.names.index(name)}").write_bytes(mark + content)

    def mutate(self, data: bytes, most: int, seed: int) -> bytes:
        """Change a file by the rules of its format."""
        mark, content = data[:1] or b"\0", data[1:]
        changed = mutate_file(self._name(mark), content, random.Random(seed))
        return (mark + changed)[:most]

    def load(self, data: bytes) -> None:
        """Load a mutant; raise where that is a finding."""
        name = self._name(data[:1] or b"\0")
        files = next((files for files in self.target.seeds() if name in files), {})
        target = Mutant(files | {name: data[1:]}, self.target)
        answer = child.try_mutant(target, self.work, random.Random(len(data)))
        is_good = answer["kind"] in ("loaded", "refused")
        if not is_good or answer["bytes"] > MOST_BYTES or answer["seconds"] > MOST_SECONDS:
            raise RuntimeError(f"{answer}")

    def _name(self, mark: bytes) -> str:
        return self.names[mark[0] % len(self.names)]


class Mutant(Target):
    """A target whose mutant is given."""

    def __init__(self, files: dict[str, bytes], target: Target) -> None:
        super().__init__(target.seeds, target.loads, target.name)
        object.__setattr__(self, "files", files)

    def mutate(self, chance: random.Random) -> dict[str, bytes]:
        """Return the given files."""
        return dict(self.files)  # type: ignore[attr-defined]


def main() -> None:
    """Run libFuzzer on the target that the command line names."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        session = Session(TARGETS[sys.argv[1]], Path(folder) / "work")
        session.write_corpus(corpus)
        options = ["-max_len=4000000", "-rss_limit_mb=3000", *sys.argv[2:], str(corpus)]
        atheris.Setup([sys.argv[0], *options], session.load, custom_mutator=session.mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
