"""What a data set of 370,000 studies costs before the first step, and in loader processes.

    python benchmarks/speed/big_manifest.py [--rows 370000] [--sets mimic_cxr pairs]

Two made data sets: one in the official layout of MIMIC-CXR-JPG (three packed tables,
folders of patients and examinations, six reports for ten images), one a single CSV of
images and whole reports. Images and reports are hard links to 64 drawn ones of 64
pixels, so that tables, paths and the file system are at full size and decoding is not.

Each is started twice by Lightning on two processes (CPU, gloo), first with an empty cache
and then with what the first start left there. Printed for each process:

- start: seconds in ``prepare_data`` and ``setup`` of the data module, waiting for the
  other process not counted, and seconds of the processor, which other work on the
  machine changes least;
- memory: growth of its resident memory by that, the peak, and what of it is its own.

Then one loader process of each rank goes over a whole shuffled epoch. Decoding an
image and reading the file of a report are replaced by constants; all else of
``source[i]`` runs, so that every record is touched. Growth is of its private memory
(``Private_Dirty`` of ``/proc/PID/smaps_rollup``: pages that it does not share with its
parent any more) from the first batch to the last.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import lightning as L
import numpy as np
import torch

from vlp_zoo.data import studies
from vlp_zoo.data.base import OnDisk
from vlp_zoo.data.datamodules import MIMICCXR, Pairs
from vlp_zoo.data.phantom.chest.facts import LABELS
from vlp_zoo.data.phantom.chest.source import PhantomChestSource
from vlp_zoo.types import Example, Study

__all__ = ["main"]

DISTINCT, SIDE = 64, 64
REPORT = "FINDINGS: The lungs are clear."
STUDIES = 0.6
"""Examinations per image, as in MIMIC-CXR; three per patient."""

VIEWS = ("PA", "AP", "LATERAL")
METADATA = (
    *("dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription"),
    *("ViewPosition", "Rows", "Columns", "StudyDate", "StudyTime"),
    *("ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning"),
    "PatientOrientationCodeSequence_CodeMeaning",
)
MIB = 1024**2


# Made files --------------------------------------------------------------------------


def rows_of(count: int) -> Iterator[tuple[str, str, str, str]]:
    """Image, patient, examination and split of each row."""
    for i in range(count):
        study = int(i * STUDIES)
        patient = study // 3
        name = np.random.default_rng(i).bytes(20).hex()
        dicom = "-".join(name[k : k + 8] for k in range(0, 40, 8))
        split = {0: "validate", 1: "test"}.get(patient % 80, "train")
        yield dicom, str(10_000_000 + patient), str(50_000_000 + study), split


def draw(folder: Path) -> tuple[list[Path], list[Path]]:
    """Some drawn images and reports that all others are links to."""
    source = PhantomChestSource("train", DISTINCT, image_size=SIDE)
    images, reports = [], []
    folder.mkdir(parents=True)
    for i in range(DISTINCT):
        images.append(folder / f"{i}.jpg")
        reports.append(folder / f"{i}.txt")
        cv2.imwrite(str(images[-1]), source[i].image)
        reports[-1].write_text(source[i].report.text, encoding="utf-8")
    return images, reports


def packed(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Write a table as the official ones are packed."""
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    path.write_bytes(gzip.compress(text.getvalue().encode(), 1))


def write_mimic(folder: Path, count: int) -> Path:
    """The official layout, with ``count`` images."""
    images, reports = draw(folder / "drawn")
    metadata, splits, labels = [], [], []
    last = ""
    for i, (dicom, patient, study, split) in enumerate(rows_of(count)):
        at = folder / "files" / f"p{patient[:2]}" / f"p{patient}"
        if study != last:
            (at / f"s{study}").mkdir(parents=True)
            (at / f"s{study}.txt").hardlink_to(reports[int(study) % DISTINCT])
            signs = [("1.0", "0.0", "-1.0", "")[(i + k) % 4] for k in range(14)]
            labels.append((patient, study, *signs))
            last = study
        (at / f"s{study}" / f"{dicom}.jpg").hardlink_to(images[i % DISTINCT])
        ids, view = (dicom, patient, study), VIEWS[i % 3]
        more = (view, 2500 + i % 9 * 64, 3056, "21800506", f"{i % 86400}.5")
        metadata.append((*ids, "CHEST (PA AND LAT)", *more, "CHEST", view, "Erect"))
        splits.append((*ids, split))
    for name, header, rows in (
        ("metadata", METADATA, metadata),
        ("split", ("dicom_id", "subject_id", "study_id", "split"), splits),
        ("chexpert", ("subject_id", "study_id", *LABELS), labels),
    ):
        packed(folder / f"mimic-cxr-2.0.0-{name}.csv.gz", header, rows)
    return folder


def write_pairs(folder: Path, count: int) -> Path:
    """One table of ``count`` images and whole reports, no two of which are equal."""
    images, reports = draw(folder / "drawn")
    texts = [path.read_text(encoding="utf-8") for path in reports]
    table = folder / "pairs.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "report", "patient_id", "study_id", "view", "split"])
        for i, (dicom, patient, study, split) in enumerate(rows_of(count)):
            name = f"images/{i // 1000:03d}/{dicom}.jpg"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).hardlink_to(images[i % DISTINCT])
            text = f"{texts[int(study) % DISTINCT]} Dictated as {study}."
            writer.writerow([name, text, patient, study, VIEWS[i % 3], split])
    return table


# A start ---------------------------------------------------------------------------


class Timed:
    """Data modules that count the seconds of their own start."""

    seconds = 0.0
    processor = 0.0

    def prepare_data(self) -> None:
        """On the first process of a machine."""
        with self._counted():
            super().prepare_data()  # type: ignore[misc]

    def setup(self, stage: str | None = None) -> None:
        """On all."""
        with self._counted():
            super().setup(stage)  # type: ignore[misc]

    @contextmanager
    def _counted(self) -> Iterator[None]:
        start, used = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - start
        self.processor += time.process_time() - used


class TimedMIMIC(Timed, MIMICCXR):
    """`MIMICCXR`, timed."""


class TimedPairs(Timed, Pairs):
    """`Pairs`, timed."""


class Nothing(L.LightningModule):
    """A method of one parameter that learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def make_transform(self, train: bool) -> Keep:
        """Study to example."""
        return Keep()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """One step, so that a training is begun."""
        return self.weight * 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Any."""
        return torch.optim.SGD(self.parameters())


class Keep:
    """The cheapest transform that asks for everything of a study."""

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Study to a number."""
        return {"length": len(study.report.body)}


def opened(kind: str, path: str) -> OnDisk:
    """The data module of a made data set."""
    if kind == "pairs":
        return TimedPairs(path, report_column="report", num_workers=0)
    return TimedMIMIC(path, views=None, num_workers=0)


def memory_of(pid: int | str = "self") -> dict[str, float]:
    """Resident, proportional and own memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {name: kib[name] / 1024 for name in ("Rss", "Pss", "Private_Dirty")}


def start(kind: str, path: str, out: Path, epoch: bool) -> None:
    """One start on two processes; every process writes down what it cost."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    data = opened(kind, path)
    before = memory_of()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=0,
        default_root_dir=str(out),
    )
    trainer.fit(Nothing(), datamodule=data)
    after = memory_of()
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    found: dict[str, Any] = {
        "seconds": data.seconds,  # type: ignore[attr-defined]
        "processor": data.processor,  # type: ignore[attr-defined]
        "studies": sum(map(len, data.sources.values())),
        "growth": after["Rss"] - before["Rss"],
        "own": after["Private_Dirty"] - before["Private_Dirty"],
        "peak": int(status.split()[0]) / 1024,
    }
    rank = trainer.global_rank
    if epoch:
        found["worker"] = over_an_epoch(data)
    (out / f"rank-{rank}.json").write_text(json.dumps(found))


def over_an_epoch(data: OnDisk) -> dict[str, Any]:
    """Memory of one loader process at the first and the last batch of an epoch."""
    data.num_workers = 1
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    # No Mock: it would keep every call, and be the growth that is measured.
    with (
        mock.patch.object(studies, "read_grey", lambda *_: pixels),  # noqa: PT008
        mock.patch.object(studies, "read_text", lambda *_: REPORT),  # noqa: PT008
    ):
        loader: Any = data.make_loader("train", Keep(), train=True)
        found = []
        for step, _ in enumerate(loader, 1):
            if step in (1, len(loader)):
                found.append(memory_of(loader._iterator._workers[0].pid))
    return {
        "first": found[0],
        "last": found[1],
        "studies": len(loader) * data.batch_size,
    }


# The table -------------------------------------------------------------------------


def measure(kind: str, path: Path, folder: Path) -> None:
    """Two starts of a made data set, each by fresh processes."""
    environment = {**os.environ, "VLPZOO_CACHE": str(folder / "cache")}
    for turn, name in enumerate(("empty cache", "second run")):
        out = folder / f"start-{turn}"
        out.mkdir()
        command = [sys.executable, __file__, "--start", kind, str(path), str(out)]
        subprocess.run(
            [*command, "--epoch"] if turn else command, env=environment, check=True
        )
        for rank in (0, 1):
            found = json.loads((out / f"rank-{rank}.json").read_text())
            print(
                f"{kind:<10} {name:<12} rank {rank}  start {found['seconds']:6.1f} s "
                f"(processor {found['processor']:.1f} s)   memory +{found['growth']:.0f} MiB (own {found['own']:.0f}, "
                f"peak {found['peak']:.0f})   {found['studies']} studies"
            )
            if "worker" in found:
                worker = found["worker"]
                own, pss = (
                    worker["last"][key] - worker["first"][key]
                    for key in ("Private_Dirty", "Pss")
                )
                print(
                    f"{kind:<10} loader process of rank {rank} over {worker['studies']} studies: "
                    f"own memory +{own:.0f} MiB (proportional {pss:+.0f})"
                )
    size = sum(file.stat().st_size for file in (folder / "cache").rglob("*"))
    print(f"{kind:<10} cache {size / MIB:.0f} MiB", flush=True)


def main() -> None:
    """Make the data sets and print what they cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=370_000)
    parser.add_argument("--sets", nargs="+", default=["mimic_cxr", "pairs"])
    parser.add_argument("--folder", type=Path, help="keep the made data sets there")
    parser.add_argument("--start", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--epoch", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.start:
        kind, path, out = options.start
        start(kind, path, Path(out), options.epoch)
        return
    with tempfile.TemporaryDirectory() as name:
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        print(f"{os.cpu_count()} cores, load {load}, {options.rows} rows", flush=True)
        for kind in options.sets:
            folder = (options.folder or Path(name)) / f"{kind}-{options.rows}"
            made = folder / "pairs.csv" if kind == "pairs" else folder
            if not (folder / "made").exists():
                write = write_pairs if kind == "pairs" else write_mimic
                folder.mkdir(parents=True)
                made = write(folder, options.rows)
                (folder / "made").touch()
            measured = Path(name) / f"measured-{kind}"
            measured.mkdir()
            measure(kind, made, measured)


if __name__ == "__main__":
    main()
