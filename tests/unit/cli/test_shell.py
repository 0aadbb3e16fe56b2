"""The command line as a program: its help, its exit codes, and what it lets through to a terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wan_lite.cli import COMMANDS, main
from wan_lite.models.finite import NonFiniteError

VECTORS = Path(__file__).parents[2] / "vectors"
VAE = str(VECTORS / "wan_vae" / "wan21_tiny_official.safetensors")
STUDENT = VECTORS / "student_4ch"
FLOW = "flow_unipc-20 shift 5"


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr that an error leaves."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_interrupting_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wan_lite.pipeline.inspection.inspect", interrupted)
    assert main(["inspect", "x"]) == 130
    assert sentence(capsys) == "wan-lite inspect: interrupted"


def test_help_loads_no_torch() -> None:
    program = "import sys; sys.argv[0] = 'wan-lite'\nfrom wan_lite.cli import build_parser\n"
    program += "build_parser([]).format_help(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "wan_lite", "inspect", "none"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert shown.returncode == 2
    assert shown.stdout == ""
    assert shown.stderr == "wan-lite inspect: none: there is no such file; check the name and the folder.\n"


@pytest.mark.parametrize("error", [MemoryError("x"), RuntimeError("not enough memory: you tried to allocate 9 bytes")])
def test_a_lack_of_memory_is_a_sentence(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise error

    monkeypatch.setattr("wan_lite.pipeline.inspection.inspect", fails)
    assert main(["inspect", "a"]) == 2
    assert "not enough memory" in sentence(capsys)


def test_other_faults_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("wan_lite.pipeline.inspection.inspect", fails)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        main(["inspect", "a"])


@pytest.mark.parametrize(
    ("arguments", "usage", "said"),
    [
        (["smaple", "--student", "x"], "wan-lite [", "unknown command 'smaple'; did you mean sample?"),
        (["sample", "--studnet", "x"], "wan-lite sample", "unknown option --studnet; did you mean --student?"),
        (["inspect", "a", "--nothing-like-it"], "wan-lite inspect", "unknown option --nothing-like-it"),
        (["sample", "extra"], "wan-lite sample", "the following arguments are required: --student"),
        (["inspect"], "wan-lite inspect", "the following arguments are required: path"),
        (["rollout", "--step", "x"], "wan-lite rollout", "argument --steps: invalid int value: 'x'"),
    ],
)
def test_wrong_options_get_the_usage_of_their_command_and_the_nearest_right_one(
    arguments: list[str], usage: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"usage: {usage}")
    assert shown.splitlines()[-1].partition(": ")[2] == said


def test_a_result_that_cannot_be_right_has_a_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def overflow(_: object) -> None:
        raise NonFiniteError("the latent is NaN")

    monkeypatch.setattr("wan_lite.pipeline.inspection.inspect", overflow)
    assert main(["inspect", "a"]) == 1
    assert sentence(capsys) == "wan-lite inspect: the latent is NaN"


def test_messages_are_one_short_line_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "\x1b[2Jhidden" + "x" * 100_000]) == 2
    said = sentence(capsys)
    assert "\\x1b[2Jhidden" in said and "\x1b" not in said
    assert len(said) <= 400


def test_whoever_stops_reading_ends_the_command_quietly(tmp_path: Path) -> None:
    program = "import sys\nfrom wan_lite.cli import main\nsys.exit(main(['inspect', *sys.argv[1:]]))"
    shown = subprocess.run(
        [
            "bash",
            "-c",
            '"$0" -c "$1" "${@:2}" | head -1; echo "${PIPESTATUS[0]}"',
            sys.executable,
            program,
            *[VAE] * 2000,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "a Wan VAE\n141\n"
    assert shown.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_every_command_and_its_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in COMMANDS)
    assert "--maskgit-steps" in script if shell != "tcsh" else "maskgit-steps" in script


def test_bash_completes_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    (tmp_path / "wan-lite.bash").write_text(capsys.readouterr().out)
    ask = 'source "$0"; COMP_WORDS=(wan-lite sample --stu); COMP_CWORD=2; _shtab_wan_lite; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", ask, str(tmp_path / "wan-lite.bash")], capture_output=True, text=True)
    assert done.stdout.split() == ["--student"], done.stderr


def test_a_device_without_memory_behind_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sample", "--student", str(STUDENT), "--vae", VAE, "--embeds", "x", "--sampler", "ddim"]
    assert main([*arguments, "--device", "meta"]) == 2
    assert "--device is 'meta', which this machine does not offer" in sentence(capsys)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    program = "import resource, sys\nfrom wan_lite.cli import main\n"
    program += "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\nsys.exit(main(sys.argv[1:]))"
    command = ["convert", VAE, str(tmp_path / name), "--layout", "official"]
    shown = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True)
    assert shown.returncode == 2
    assert len(shown.stderr.splitlines()) == 1 and "space on the disk" in shown.stderr
    assert list(tmp_path.iterdir()) == []
