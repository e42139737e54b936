"""How hard the phantom chest world is: a pixel baseline and a supervised network.

Two readers get the same patients. The floor is logistic regression on 50 principal
components of 32-pixel thumbnails: what position and grey alone give away. The network
is a narrow residual one trained with every label: what there is to see. Between the
two lies the room in which pre-training can show itself. A third row, on mean grey,
contrast, noise and view, must be at chance.

Run from the top of the checkout::

    python benchmarks/phantom_difficulty.py --train 4000 --test 1500
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from vlp_zoo.data.phantom.chest.acquisition import measured_exposure
from vlp_zoo.data.phantom.chest.source import PhantomChestSource
from vlp_zoo.data.phantom.fundus.source import PhantomFundusSource

__all__ = ["main", "measure"]

FEWEST_POSITIVES = 10
Array = npt.NDArray[np.float32]


Draw = Callable[..., tuple[npt.NDArray[np.uint8], Array]]
"""Pictures of some indices, and what is known of how each was taken."""


def _draw(
    bounds: tuple[int, int], split: str, studies: int, seed: int, size: int
) -> tuple[npt.NDArray[np.uint8], Array]:
    """With mean grey, contrast, a noise estimate and the view, (N, 4)."""
    cv2.setNumThreads(1)
    source = PhantomChestSource(split, studies, seed, size)
    indices = range(*bounds)
    pictures = np.stack([source[index].image for index in indices])
    rows = np.stack([measured_exposure(picture) for picture in pictures])
    is_pa = [source.views[index] == "PA" for index in indices]
    return pictures, np.column_stack([rows, is_pa]).astype(np.float32)


def _render(
    draw: Draw, split: str, studies: int, seed: int, size: int, workers: int
) -> tuple[npt.NDArray[np.uint8], Array]:
    bounds = [(low, min(low + 250, studies)) for low in range(0, studies, 250)]
    draw = partial(draw, split=split, studies=studies, seed=seed, size=size)
    with ProcessPoolExecutor(workers) as pool:
        pictures, known = zip(*pool.map(draw, bounds), strict=True)
    return np.concatenate(pictures), np.concatenate(known)


def areas(
    truth: Array, score: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float64]:
    """AUROC of each label; NaN with too few positives."""
    out = np.full(truth.shape[1], np.nan)
    for label in range(truth.shape[1]):
        known = ~np.isnan(truth[:, label])
        positives = int(truth[known, label].sum())
        if FEWEST_POSITIVES <= positives < known.sum():
            out[label] = roc_auc_score(truth[known, label], score[known, label])
    return out


def linear_scores(
    features: Array, labels: Array, test: Array, strength: float
) -> npt.NDArray[np.float64]:
    """Scores of logistic regression for each label; unknown ones are left out."""
    score = np.zeros((len(test), labels.shape[1]))
    for label in range(labels.shape[1]):
        known = ~np.isnan(labels[:, label])
        if len(np.unique(labels[known, label])) < 2:
            continue
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=strength, max_iter=500)
        )
        model.fit(features[known], labels[known, label])
        score[:, label] = model.decision_function(test)
    return score


def thumbnails(pictures: npt.NDArray[np.uint8]) -> Array:
    """Pictures of 32 pixels as rows, (N, 1024 times the channels)."""
    small = [
        cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA).ravel()
        for picture in pictures
    ]
    return np.stack(small).astype(np.float32)


class Residual(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(inner, outer, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outer),
            nn.ReLU(),
            nn.Conv2d(outer, outer, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outer),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(stride), nn.Conv2d(inner, outer, 1, bias=False)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C', H / stride, W / stride)."""
        total: Tensor = self.path(maps) + self.shortcut(maps)
        return F.relu(total)


class SmallNet(nn.Module):
    """A narrow residual network with mean and maximum pooling."""

    def __init__(self, labels: int, width: int = 16, channels: int = 1) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(channels, width, 5, 2, 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            Residual(width, 2 * width, 2),
            Residual(2 * width, 4 * width, 2),
            Residual(4 * width, 8 * width, 2),
        )
        self.head = nn.Linear(16 * width, labels)

    def forward(self, images: Tensor) -> Tensor:
        """Images uint8 (B, C, H, W) to logits (B, K)."""
        maps = self.maps(
            ((images.float() - 127) / 60).to(memory_format=torch.channels_last)
        )
        logits: Tensor = self.head(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1))
        return logits


def _planes(pictures: npt.NDArray[np.uint8]) -> Tensor:
    """Grey (N, H, W) or colour (N, H, W, 3) to planes (N, C, H, W)."""
    images = torch.from_numpy(pictures)
    return images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)


def train_network(
    pictures: npt.NDArray[np.uint8], labels: Array, epochs: int, seed: int
) -> SmallNet:
    """Train a `SmallNet` on pictures (N, H, W) or (N, H, W, 3) with every label."""
    torch.manual_seed(seed)
    images, truth = _planes(pictures), torch.from_numpy(labels)
    # On a CPU this memory format more than halves the time.
    net = SmallNet(truth.shape[1], channels=images.shape[1]).to(
        memory_format=torch.channels_last
    )
    batch, count = 64, len(images)
    steps = count // batch
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 5e-3, total_steps=epochs * steps, pct_start=0.2
    )
    start = time.perf_counter()
    for epoch in range(epochs):
        order, total = torch.randperm(count), 0.0
        for step in range(steps):
            chosen = order[step * batch : (step + 1) * batch]
            shift = torch.randint(-5, 6, (2,)).tolist()
            logits = net(torch.roll(images[chosen], shift, (2, 3)))
            target = truth[chosen]
            known = ~torch.isnan(target)
            loss = F.binary_cross_entropy_with_logits(logits[known], target[known])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        minutes = (time.perf_counter() - start) / 60
        print(
            f"epoch {epoch + 1}: loss {total / steps:.3f}, {minutes:.1f} min",
            flush=True,
        )
    return net.eval()


@torch.no_grad()
def network_scores(
    net: SmallNet, pictures: npt.NDArray[np.uint8]
) -> npt.NDArray[np.floating[Any]]:
    """Logits of each label, (N, K)."""
    images = _planes(pictures)
    scores = torch.cat([net(part) for part in torch.split(images, 128)])
    return np.asarray(scores.numpy(), np.float32)


def print_table(
    names: tuple[str, ...], truth: Array, scores: dict[str, npt.NDArray[np.float64]]
) -> None:
    """Print AUROC of each label in Markdown, and their mean."""
    print(f"| label | positives | {' | '.join(scores)} |")
    print(f"|---|---:|{'---:|' * len(scores)}")
    for place, label in enumerate(names):
        positives = int(np.nansum(truth[:, place]))
        cells = " | ".join(f"{score[place]:.3f}" for score in scores.values())
        print(f"| {label} | {positives} | {cells} |")
    means = " | ".join(f"{np.nanmean(score):.3f}" for score in scores.values())
    print(f"| **macro** |  | {means} |")


def measure(
    draw: Draw,
    world: type[PhantomChestSource | PhantomFundusSource],
    doc: str,
    **sizes: int,
) -> None:
    """Read the options, train what is compared, and print the table.

    Args:
        draw: What a process draws.
        world: Where the labels are from.
        doc: What ``--help`` says.
        sizes: Defaults of ``train``, ``test`` and ``epochs``.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--train", type=int, default=sizes["train"])
    parser.add_argument("--test", type=int, default=sizes["test"])
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--epochs", type=int, default=sizes["epochs"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--floor-only", action="store_true", help="skip the network")
    options = parser.parse_args()
    how = (options.seed, options.image_size)
    labels, truth = (
        world(split, studies, *how).labels
        for split, studies in (("train", options.train), ("test", options.test))
    )
    pictures, taken = _render(draw, "train", options.train, *how, options.workers)
    unseen, unseen_taken = _render(draw, "test", options.test, *how, options.workers)

    pca = PCA(50, random_state=0).fit(thumbnails(pictures))
    train_parts, test_parts = (
        pca.transform(thumbnails(images)) for images in (pictures, unseen)
    )
    columns: dict[str, npt.NDArray[np.floating[Any]]] = {
        "acquisition": linear_scores(taken, labels, unseen_taken, 1.0),
        "pixel baseline": linear_scores(train_parts, labels, test_parts, 0.1),
    }
    if not options.floor_only:
        net = train_network(pictures, labels, options.epochs, options.seed)
        columns["network"] = network_scores(net, unseen)
    scores = {name: areas(truth, score) for name, score in columns.items()}
    print_table(world.label_names, truth, scores)


def main() -> None:
    """Measure and print a Markdown table."""
    measure(_draw, PhantomChestSource, __doc__, train=4000, test=1500, epochs=14)


if __name__ == "__main__":
    main()
