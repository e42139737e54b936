"""Run the tests that compare numbers under other kernels of BLAS and of torch.

    python tests/kernels.py Haswell/default Zen/avx2 SkylakeX/avx512

Each argument is a core of OpenBLAS (``OPENBLAS_CORETYPE``) and a capability of torch
(``ATEN_CPU_CAPABILITY``). Kernels that the processor cannot run are named and left out.
"""

from __future__ import annotations

import os
import subprocess
import sys

COMPARING = [
    "tests/data/audit/test_hashing.py",
    "tests/evaluation/alignment",
    "tests/evaluation/classification",
    "tests/evaluation/detection/test_metrics.py",
    "tests/evaluation/grounding",
    "tests/evaluation/segmentation/test_metrics.py",
    "tests/evaluation/statistics",
    "tests/evaluation/test_known_answers.py",
    "tests/encoders/test_frozen_text.py",
    "tests/encoders/test_official_networks.py",
    "tests/methods",
    "tests/parity",
    *(f"tests/test_{part}.py" for part in ("gather", "losses", "modules", "noise")),
    *(f"tests/test_{part}.py" for part in ("augment", "overlaps", "transforms")),
]
"""The tests whose outcome is a number from a matrix product or a transcendental."""

SAME = "not processes and not sees_what_the_camera and not by_heart and not compiled and not onnx"
"""Left out: long trainings, processes side by side, code that is compiled, and colours."""

PROBE = """
import numpy, torch
from threadpoolctl import threadpool_info
for kind in ("float32", "float64"):
    square = numpy.ones((300, 300), kind)
    assert (square @ square == 300).all()
torch.randn(300, 300).exp().matmul(torch.ones(300, 300))
cores = {i["architecture"] for i in threadpool_info() if i["internal_api"] == "openblas"}
print(*sorted(cores), "/", torch.backends.cpu.get_cpu_capability())
"""


def main(combinations: list[str]) -> int:
    """Run the tests under each combination.

    Args:
        combinations: Words like ``Haswell/avx2``.

    Returns:
        0 where all tests passed, 1 where some failed or no combination could run.
    """
    ran, failed = 0, []
    for combination in combinations:
        core, capability = combination.split("/")
        environment = os.environ | {
            "OPENBLAS_CORETYPE": core,
            "ATEN_CPU_CAPABILITY": capability,
        }
        # A kernel of instructions that the processor lacks ends the process.
        probe = subprocess.run(
            [sys.executable, "-c", PROBE],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if probe.returncode:
            print(f"== {combination}: not for this processor, left out", flush=True)
            continue
        print(f"== {combination}: runs as {probe.stdout.strip()}", flush=True)
        tests = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "2",
            "--dist",
            "loadfile",
            "-k",
            SAME,
            *COMPARING,
        ]
        ran += 1
        if subprocess.run(tests, env=environment, check=False).returncode:
            failed.append(combination)
    print(f"== {ran} of {len(combinations)} kernels tried, failed: {failed or 'none'}")
    return int(bool(failed) or not ran)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
