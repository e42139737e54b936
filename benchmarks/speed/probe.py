"""How much faster a probe on cached features is than one that encodes every epoch.

Both evaluate one encoder on the same task at 1, 10 and 100 % of the labels: the first by
``vlp-linear`` (every image is encoded once, the head is solved), the second by
``mgca-linear`` (up to 50 epochs of newly augmented images through the frozen encoder).
The encoder is small and untrained, the images are drawn noise with findings in it, so
that the comparison ends in minutes; with a real encoder, whose forward pass is dearer
than reading, the ratio is larger. Label fractions of both are draws of the same seeds.

Run from the top of the checkout::

    OMP_NUM_THREADS=1 python benchmarks/speed/probe.py
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from vlp_zoo.bench.presets import read_preset
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.evaluation.classification.linear_probe import LinearProbe
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate, Outcome, Protocol
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.types import Report, Study

__all__ = ["main"]

LABELS = ("upper", "middle", "lower")
SIDE = 32


@dataclass
class Noise:
    """Noise with bright bars in three places, one for each label, in memory.

    Attributes:
        split: Name of the split, part of the seed.
        n: Images, two of each patient.
        contrast: Grey levels that a bar is brighter than what surrounds it.
    """

    split: str
    n: int
    contrast: int
    label_names: tuple[str, ...] = LABELS
    uids: list[str] = field(init=False)
    patient_ids: list[str] = field(init=False)
    labels: npt.NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([5, *self.split.encode()])
        self.name = f"noise {self.split}"
        self.uids = [f"{self.split}{i}" for i in range(self.n)]
        self.patient_ids = [f"{self.split}p{i // 2}" for i in range(self.n)]
        truth = rng.random((self.n, len(LABELS))) < 0.3
        self.labels = truth.astype(np.float32)
        images = rng.normal(110, 45, (self.n, SIDE, SIDE))
        for k in range(len(LABELS)):
            bar = images[:, 3 + 10 * k : 9 + 10 * k, 8:24]
            bar += self.contrast * truth[:, k, None, None]
        self.images = np.clip(images, 0, 255).astype(np.uint8)
        self.fingerprint = f"noise {self.split} {self.n} {self.contrast}"

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Study:
        return Study(
            self.uids[index],
            self.patient_ids[index],
            self.uids[index],
            self.images[index],
            Report(""),
            labels=self.labels[index],
        )

    def reports(self) -> Iterator[Report]:
        """No image says anything."""
        return (Report("") for _ in self.uids)


def main() -> None:
    """Print a table, and the ratio of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="of all splits")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=50, help="of mgca-linear at most")
    parser.add_argument("--contrast", type=int, default=14)
    parser.add_argument("--encoder", default="micro", help="timm name, or micro")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--num-workers", type=int, default=0)
    parser.add_argument("--replicates", type=int, default=500)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.manual_seed(0)
    encoder = ImageEncoder(options.encoder).eval()
    sizes = {
        "train": int(0.75 * options.images),
        "val": int(0.05 * options.images),
        "test": int(0.2 * options.images),
    }
    task = Task("noise", {s: Noise(s, n, options.contrast) for s, n in sizes.items()})
    published = read_preset("mgca-linear-plain").protocol
    ways: dict[str, Protocol] = {
        "vlp-linear": LinearProbe(),
        # The same draws of patients for both, so that only the way differs.
        "mgca-linear": replace(
            published,
            sampler="patients",  # type: ignore[call-arg]
            epochs=options.epochs,
        ),
    }
    print(
        f"{options.images} images of {SIDE} px, encoder {options.encoder}, "
        f"{torch.get_num_threads()} threads of {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"torch {torch.__version__}"
    )
    took: dict[str, float] = {}
    for name, protocol in ways.items():
        extraction = Extraction(
            device=options.device,
            num_workers=options.num_workers,
            progress=False,
            cache=FeatureCache(None),
        )
        subject = subject_of(encoder, options.encoder, "encoder", extraction)
        candidate = Candidate(subject, encoder)
        wall, cpu = time.perf_counter(), time.process_time()
        found: dict[float, list[Outcome]] = {}
        for share in (0.01, 0.1, 1.0):
            # With all labels there is nothing to draw.
            draws = options.draws if share < 1 else 1
            chosen = replace(protocol, fraction=share, replicates=options.replicates)
            found[share] = [
                chosen.measure(candidate, task, seed, extraction)
                for seed in range(draws)
            ]
        took[name] = time.perf_counter() - wall
        spent = time.process_time() - cpu
        print(f"{name}: {took[name]:.1f} s of wall time, {spent:.1f} s of processor")
        for share, outcomes in found.items():
            heads = [outcome.measures[0] for outcome in outcomes]
            value, low, high = (
                float(np.mean([getattr(head, part) for head in heads]))
                for part in ("value", "low", "high")
            )
            print(
                f"  {share:4.0%} of labels, {len(heads)} draws: macro AUROC "
                f"{value:.3f} [{low:.3f}, {high:.3f}] (means over draws)"
            )
    ratio = took["mgca-linear"] / took["vlp-linear"]
    print(f"ratio of wall time: {ratio:.0f}")


if __name__ == "__main__":
    main()
