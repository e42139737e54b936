"""The leaderboard on drawn worlds: train all methods, evaluate, write the page.

    python benchmarks/leaderboard/run.py            # or: make bench

Every method starts from its demo config and gets the same studies and steps; the suite
`phantom-chest` evaluates the encoders beside their untrained networks and other baselines,
and beside an ImageNet encoder where the extra `weights` is installed, and ``vlpzoo
leaderboard`` writes what was found. Whatever is finished is found again: a second run
trains and evaluates nothing and writes the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vlp_zoo.methods.facts import FACTS

METHODS = tuple(name for name, facts in FACTS.items() if "chest" in facts.images)
FOLDER = Path(__file__).parent
BUDGET = {
    "data.train_studies": "2000",
    "data.val_studies": "200",
    "data.image_size": "128",
    "data.batch_size": "32",
    "data.keep_studies": "2400",
    "data.num_workers": "1",
    "trainer.max_epochs": "4",
    "seed_everything": "0",
}
"""What every method gets: 8,000 pairs in 250 steps."""


def train(method: str, out: Path, threads: int = 0) -> Path:
    """Train a method, or find it trained; the folder of its run.

    Args:
        method: Name of a demo config.
        out: Where runs go.
        threads: That the training computes with; 0 = all.
    """
    done = out / method / "done.json"
    options = {"config": f"demo/{method}", **BUDGET, "evaluate": "[]"}
    command = ["fit", *(f"--{key}={value}" for key, value in options.items())]
    command.append(f"--out={out / method}")
    if done.is_file():
        record = json.loads(done.read_text())
        if record["command"] != command:
            raise SystemExit(
                f"{out / method} was trained by another command: choose another --out"
            )
        return Path(record["folder"])
    started = time.monotonic()
    say(f"train {method}")
    (out / method).mkdir(parents=True, exist_ok=True)
    with (out / method / "log.txt").open("w") as log:
        code = vlpzoo(*command, log=log, threads=threads)
    if code:
        raise SystemExit(f"failed, see {out / method / 'log.txt'}")
    newest = max(
        (out / method).rglob("version_*/encoder.safetensors"),
        key=lambda p: p.stat().st_mtime,
    )
    seconds = round(time.monotonic() - started)
    record = {"command": command, "folder": str(newest.parent), "seconds": seconds}
    done.write_text(json.dumps(record, indent=1) + "\n")
    say(f"trained {method}: {seconds} s")
    return newest.parent


def imagenet() -> list[str]:
    """The encoder that never saw a radiograph, or a line that says why it is missing."""
    from vlp_zoo.encoders.wheels import IMAGENET, missing

    if why := missing(IMAGENET):
        say(f"no row of ImageNet: {why}")
        return []
    return [f"--encoder=imagenet={IMAGENET}"]


def say(line: str) -> None:
    """Print a line at once and whole, also beside other threads."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def vlpzoo(*words: str, log: object = None, threads: int = 0) -> int:
    """Run one command of the package as a process of its own."""
    limits = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    done = subprocess.run(
        [sys.executable, "-m", "vlp_zoo", *words],
        check=False,
        stdout=log,  # type: ignore[call-overload]
        stderr=subprocess.STDOUT if log else None,
        env={**os.environ, **limits},
    )
    return int(done.returncode)


def main() -> int:
    """Train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/leaderboard"))
    parser.add_argument("--board", type=Path, default=FOLDER, help="where pages go")
    parser.add_argument("--suite", action="append", default=[])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs: 1 or more")
    # Networks this small gain more from a core each than from all cores together.
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = {
            m: pool.submit(train, m, options.out, threads) for m in options.methods
        }
        folders = {method: each.result() for method, each in waiting.items()}
    encoders = [f"--encoder={name}={folder}" for name, folder in folders.items()]
    encoders += imagenet()
    suites = [f"--suite={name}" for name in options.suite or ["phantom-chest"]]
    code = vlpzoo("bench", *encoders, *suites, f"--out={options.out / 'results'}")
    if code:
        return code
    return vlpzoo(
        "leaderboard", f"--results={options.out / 'results'}", f"--out={options.board}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
