"""``vlpzoo --print-completion``: what a shell completes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vlp_zoo.cli import COMMANDS, main
from vlp_zoo.methods import METHODS

HELPER = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_vlpzoo; printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    pytest.importorskip("shtab")
    assert main(["--print-completion", "bash"]) == 0
    path = tmp_path / "vlpzoo.bash"
    path.write_text(capsys.readouterr().out)
    return path


def completed(script: Path, *words: str) -> set[str]:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    done = subprocess.run(
        [bash, "-c", HELPER, "bash", str(script), "vlpzoo", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.strip() for line in done.stdout.splitlines() if line.strip()}


def test_bash_completes_commands_their_options_and_names(script: Path) -> None:
    assert completed(script, "") >= set(COMMANDS)
    assert completed(script, "le") == {"leaderboard"}
    assert "--encoder" in completed(script, "bench", "--enc")
    assert "--spec" not in completed(script, "bench", "--")
    assert completed(script, "fit", "--model", "") >= set(METHODS)
    assert "demo/ecamp" in completed(script, "fit", "--config", "demo/")
    assert "presets" in completed(script, "info", "")


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["fish"]):
        assert main(["--print-completion", *words]) == 1
        assert "a shell: bash, zsh, tcsh" in capsys.readouterr().err


def test_without_shtab_one_message_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print-completion", "zsh"]) == 1
    assert "vlp-zoo[completion]" in capsys.readouterr().err


def test_nothing_heavy_is_imported_for_it() -> None:
    pytest.importorskip("shtab")
    code = (
        "import sys; from vlp_zoo.cli import main; main(['--print-completion', 'zsh']);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.startswith(b"#compdef vlpzoo")
