"""Look every installed dependency up in the database of known vulnerabilities: ``make audit``.

Strict: a vulnerability fails, and so does a package that could not be looked up, or a database that cannot be reached;
it then says ``not audited``, which is not the same as ``nothing found``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

OWN = "wan-lite"
FOUND = "known vulnerabilit"  # as pip-audit says it, of one or several


def list_requirements(installed: Iterable[tuple[str, str]]) -> list[str]:
    """Return pins of what is installed, without this package; a build's own suffix (``+cpu``) is not in the index."""
    pins = {f"{name}=={version.partition('+')[0]}" for name, version in installed if name.lower() != OWN}
    return sorted(pins, key=str.lower)


def audit(requirements: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run pip-audit on pins, strictly, without installing or running any of them."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "requirements.txt"
        pins.write_text("\n".join(requirements) + "\n", "utf-8")
        command = [sys.executable, "-m", "pip_audit", "--strict", "--no-deps", "--disable-pip", "-r", str(pins)]
        return subprocess.run(command, capture_output=True, text=True)


def judge(code: int, said: str) -> str:
    """Return the last line: ``audited``, ``vulnerable`` or ``not audited`` with the reason."""
    if code == 0:
        return "audited: no known vulnerability"
    if FOUND in said and "No known" not in said:
        return "vulnerable: see above"
    reason = next((line for line in reversed(said.strip().splitlines()) if line.strip()), "pip-audit said nothing")
    return f"not audited: {reason[:300]}"


def main() -> int:
    """Audit what is installed here; 0 only where everything was looked up and nothing found."""
    installed = [(found.metadata["Name"], found.version) for found in distributions() if found.metadata["Name"]]
    done = audit(list_requirements(installed))
    verdict = judge(done.returncode, done.stdout + done.stderr)
    if not verdict.startswith("audited"):
        sys.stderr.write(done.stdout + done.stderr)
    print(verdict)
    return 0 if verdict.startswith("audited") else 1


if __name__ == "__main__":
    sys.exit(main())
