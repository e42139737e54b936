from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from vlp_zoo.cli import COMMANDS, main
from vlp_zoo.cli.training import keep_freed_memory

HEAVY = ("torch", "lightning", "transformers", "pandas", "cv2", "sklearn")


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["info"],
        ["info", "methods"],
        ["info", "encoders"],
        *[[name, "-h"] for name in COMMANDS],
    ],
    ids=" ".join,
)
def test_help_and_info_import_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import sys; from vlp_zoo.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"bad = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "assert not bad, bad"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_an_unknown_command_is_one_message_and_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["fti"]) == 1
    error = capsys.readouterr().err
    assert "did you mean 'fit'" in error
    assert "Traceback" not in error


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--model", "nope", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


KNOWN = {
    "asg": "Image, region and tag alignment",
    "clip": "Image-report contrast",
    "ecamp": "Masked image and report modelling",
    "flair": "Category-aware contrast",
    "gloria": "Global and attention-weighted local alignment",
    "imitate": "Findings meet many levels",
    "mae": "Masked autoencoder",
    "medclip": "Images and sentences of like findings",
    "mflag": "Images meet frozen texts",
    "mgca": "Alignment of instances",
    "mrm": "Masked record modelling",
    "place": "Pathology-level alignment",
}


def test_info_describes_every_method_and_data_set(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    assert "not found" not in printed
    names = ("ecamp", "pairs", "mimic_cxr", "phantom_chest", "demo/ecamp")
    for name in (*names, "hf:REPO_OR_DIR", "retfound"):
        assert name in printed
    said = " ".join(printed.split())
    for method, words in KNOWN.items():
        assert f"{method} {words}" in said


def test_freed_memory_is_kept_where_the_c_library_can() -> None:
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
