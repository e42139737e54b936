"""The leaderboards: train all methods, evaluate, write the pages.

    python benchmarks/leaderboard/run.py                 # synthetic; or: make bench
    python benchmarks/leaderboard/run.py --real FOLDER   # public small sets, see small_sets.py

Every method starts from its demo config and gets the same studies and steps. Encoders are
evaluated beside their untrained networks and other baselines, and beside an ImageNet
encoder where the extra `weights` is installed, and ``vlpzoo leaderboard`` writes what was
found. Whatever is finished is found again: a second run trains and evaluates nothing and
writes the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from small_sets import SMALL, SPLIT, suites

from vlp_zoo.methods.facts import FACTS

FOLDER = Path(__file__).parent
CHEST = tuple(name for name, facts in FACTS.items() if "chest" in facts.images)
EQUAL = {
    "data.batch_size": "32",
    "data.keep_studies": "4000",
    "data.num_workers": "1",
    "seed_everything": "0",
}


@dataclass(frozen=True)
class World:
    """Images that methods are trained and evaluated on.

    Attributes:
        methods: Names of demo configs.
        budget: Options of every training.
        suite: What evaluates the encoders.
        prefix: What the names of its encoders on the board begin with.
    """

    methods: tuple[str, ...]
    budget: Mapping[str, str]
    suite: str
    prefix: str = ""


def synthetic() -> dict[str, World]:
    """The synthetic chests: 8,000 pairs in 250 steps for every method."""
    budget = {
        "data.train_studies": "2000",
        "data.val_studies": "200",
        "data.image_size": "128",
        "trainer.max_epochs": "4",
    }
    return {"synthetic": World(CHEST, budget, "phantom-chest")}


def real(folder: Path, out: Path) -> dict[str, World]:
    """The public small sets: 6 passes over Open-i's pairs, 30 over the photographs.

    Args:
        folder: Where the sets lie.
        out: Where tables and suites go.
    """
    suite = suites(folder, out)
    shared = {"data": "pairs", "trainer.precision": "32-true"}
    chest = {
        **{f"data.{name}": str(value) for name, value in SPLIT.items()},
        "data.path": str(folder / "cxr_text" / "pairs.csv"),
        "data.views": "[FRONTAL]",
        "trainer.max_epochs": "6",
    }
    fundus = {
        **{f"data.{name}": str(value) for name, value in SMALL.items()},
        "data.path": str(out / "eyes.csv"),
        "data.report_column": "report",
        "data.colour": "true",
        "trainer.max_epochs": "30",
    }
    return {
        "chest": World(CHEST, shared | chest, str(suite["chest"])),
        "fundus": World(
            ("clip", "flair", "mae"),
            shared | fundus,
            str(suite["fundus"]),
            prefix="fundus-",
        ),
    }


def train(method: str, budget: Mapping[str, str], out: Path, threads: int) -> Path:
    """Train a method, or find it trained; the folder of its run.

    Args:
        method: Name of a demo config.
        budget: Options of the training.
        out: Where runs go.
        threads: That the training computes with.
    """
    done = out / method / "done.json"
    options = {"config": f"demo/{method}", **budget, **EQUAL, "evaluate": "[]"}
    if method == "asg" and "data.path" in budget:
        # A table has no boxes: said, since ASG asks where its regions come from.
        options["model.region_atlas"] = "phantom"
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


def imagenet() -> dict[str, str]:
    """The encoder that never saw a radiograph, or a line that says why it is missing."""
    from vlp_zoo.encoders.wheels import IMAGENET, missing

    if why := missing(IMAGENET):
        say(f"no row of ImageNet: {why}")
        return {}
    return {"imagenet": IMAGENET}


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
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="public small sets")
    parser.add_argument("--out", type=Path, help="runs and results")
    parser.add_argument("--board", type=Path, help="where all files go")
    parser.add_argument("--methods", nargs="+", help="fewer than all")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs: 1 or more")
    kind = "real" if options.real else "synthetic"
    out = options.out or Path("runs", f"leaderboard-{kind}")
    worlds = real(options.real.resolve(), out) if options.real else synthetic()
    for name, world in worlds.items():
        methods = [m for m in world.methods if m in (options.methods or world.methods)]
        encoders = trained(methods, world, out / name, options.jobs) | imagenet()
        # Encoders are trained once, so random ones are drawn once too.
        words = ("--random-draws=1", f"--suite={world.suite}")
        if code := evaluate(encoders, words, out / "results" / name, options.jobs):
            return code
    results = [f"--results={out / 'results' / name}" for name in worlds]
    board = options.board or (FOLDER / "real" if options.real else FOLDER)
    if code := vlpzoo("leaderboard", *results, f"--out={board}"):
        return code
    if not options.board:
        page = FOLDER.parents[1] / "docs" / f"leaderboard-{kind}.html"
        (board / "leaderboard.html").replace(page)
        say(str(page))
    return 0


def threads_of(jobs: int) -> int:
    """Threads of each of some processes.

    Networks this small gain more from a core each than from all cores together.
    """
    return max(1, (os.cpu_count() or 1) // jobs)


def trained(methods: list[str], world: World, out: Path, jobs: int) -> dict[str, str]:
    """Train methods side by side; the name of each encoder on the board, and where it is."""
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {
            m: pool.submit(train, m, world.budget, out, threads_of(jobs))
            for m in methods
        }
        return {f"{world.prefix}{m}": str(each.result()) for m, each in waiting.items()}


def evaluate(
    encoders: Mapping[str, str], words: Sequence[str], results: Path, jobs: int
) -> int:
    """``vlpzoo bench`` by several processes, whose results come to one folder.

    Args:
        encoders: Name to what ``--encoder`` takes.
        words: Further words of every command.
        results: The folder.
        jobs: Processes.

    Returns:
        0, or the exit status of one that failed.
    """

    def bench(names: Iterable[str], threads: int) -> int:
        named = [f"--encoder={name}={encoders[name]}" for name in names]
        return vlpzoo("bench", *named, *words, f"--out={results}", threads=threads)

    parts = shares(encoders, jobs)
    if len(parts) > 1:
        with ThreadPoolExecutor(jobs) as pool:
            codes = pool.map(lambda part: bench(part, threads_of(jobs)), parts)
        if code := next(filter(None, codes), 0):
            return code
    # Finds what the parts have measured, and says it of all.
    return bench(encoders, 0)


def shares(encoders: Mapping[str, str], count: int) -> list[list[str]]:
    """Names of encoders in at most ``count`` parts that cost about as much.

    Encoders of one network stay together: untrained, it is evaluated once for them all.
    """
    from vlp_zoo import load_encoder

    sides, alike = {}, defaultdict(list)
    for name, source in encoders.items():
        spec: Any = load_encoder(source).spec
        network = json.dumps(spec, sort_keys=True)
        sides[network] = spec["image_size"]
        alike[network].append(name)
    costs = {network: sides[network] * (len(alike[network]) + 1) for network in alike}
    parts: list[list[str]] = [[] for _ in range(count)]
    spent = [0] * count
    for network in sorted(alike, key=lambda network: -costs[network]):
        least = spent.index(min(spent))
        parts[least] += alike[network]
        spent[least] += costs[network]
    return [part for part in parts if part]


if __name__ == "__main__":
    raise SystemExit(main())
