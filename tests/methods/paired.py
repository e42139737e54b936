"""What the tests of image-report methods share: studies, batches, and two processes."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.fakes.processes import on_two_processes
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.loading import collate_examples
from vlp_zoo.types import Report, Study

__all__ = [
    "REPORTS",
    "TEXT",
    "assert_each_image_finds_its_text",
    "assert_every_parameter_learns",
    "assert_two_processes_equal_one",
    "assert_unit_vectors",
    "batch_of",
    "prepared",
    "study",
    "total",
    "train_on",
]

TEXT: dict[str, Any] = {
    "text_width": 24,
    "text_depth": 2,
    "text_heads": 2,
    "text_ffn": 32,
    "text_dropout": 0.0,
    "max_tokens": 48,
}
"""Sizes of a small text encoder, without dropout."""

REPORTS = (
    "There is no pleural effusion. The heart size is normal. Lungs are clear.",
    "Large left pleural effusion with atelectasis. Mild cardiomegaly is unchanged.",
    "Lungs are clear.",
    "No pneumothorax; no edema. The heart size is normal.",
    "Right lower lobe pneumonia. Small right effusion. No pneumothorax.",
    "Stable.",
    "Interstitial edema. Mild cardiomegaly is unchanged. Small bilateral effusions.",
    "Hyperinflated lungs. No focal consolidation. There is no pleural effusion.",
)


def prepared(module: Any) -> Any:
    """The method with a vocabulary and its networks."""
    module.tokenizer = ReportTokenizer.train(REPORTS * 5, 160)
    module.vocab_size = module.tokenizer.vocab_size
    module.configure_model()
    return module


def study(index: int) -> Study:
    rng = np.random.default_rng(index)
    # A coarse pattern survives cropping; fine noise would not.
    image = np.kron(rng.integers(0, 256, (6, 6)), np.ones((12, 12))).astype(np.uint8)
    report = Report(REPORTS[index % len(REPORTS)])
    return Study(f"s{index}", f"p{index}", f"s{index}", image, report)


def batch_of(module: Any, count: int = 4, train: bool = True) -> Any:
    transform = pickle.loads(pickle.dumps(module.make_transform(train)))
    batch = collate_examples(
        [transform(study(i), np.random.default_rng((0, i))) for i in range(count)]
    )
    assert module.batch_keys <= set(batch)
    assert batch["image"].dtype == torch.uint8
    return batch


def total(module: Any, batch: Any) -> Tensor:
    return torch.stack(list(module.losses(batch).values())).sum()


def train_on(module: Any, batch: Any, steps: int, rate: float) -> None:
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate)
    for _ in range(steps):
        loss = total(module, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def assert_every_parameter_learns(module: Any, batch: Any) -> None:
    total(module, batch).backward()  # type: ignore[no-untyped-call]
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def assert_each_image_finds_its_text(
    module: Any, batch: Any, texts: Sequence[str] = REPORTS
) -> None:
    """In the joint space."""
    images, said = assert_unit_vectors(module, batch, texts)
    assert (images @ said.T).argmax(1).tolist() == list(range(len(texts)))


def assert_unit_vectors(
    module: Any, batch: Any, texts: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Joint vectors of images and texts; a text alone is read as in company."""
    with torch.no_grad():
        images = module.embed_images(batch["image"])
        said = module.embed_texts(list(texts))
        alone = module.embed_texts([texts[-1]])
    for vectors in (images, said):
        assert torch.allclose(vectors.norm(dim=1), torch.ones(len(texts)), atol=1e-5)
    assert torch.allclose(alone[0], said[-1], atol=1e-5)
    return images, said


def part(batch: Any, rank: int) -> Any:
    """This process's half of a batch, lists and tensors alike."""
    half = len(batch["uid"]) // 2
    rows = slice(rank * half, (rank + 1) * half)
    return {name: field[rows] for name, field in batch.items()}


def assert_two_processes_equal_one(
    module: nn.Module, batch: Any, path: Path, *more: Any
) -> None:
    """Loss, every gradient and every buffer, of dropout-free training mode.

    Args:
        module: A method.
        batch: Studies, of which each process gets one half.
        path: An empty folder.
        more: Further batches, of any size, whose gradients are accumulated.
    """
    buffers = {name: value.clone() for name, value in module.named_buffers()}

    def measure(batches: Any) -> Any:
        for name, value in module.named_buffers():
            value.copy_(buffers[name])
        losses = [total(module, rows) for rows in batches]
        loss = torch.stack(losses).mean()
        named = {n: p for n, p in module.named_parameters() if p.requires_grad}
        gradients = torch.autograd.grad(loss, list(named.values()))
        found = dict(zip(named, gradients, strict=True))
        state = {n: v.detach().clone() for n, v in module.named_buffers()}
        return loss.detach(), found, state

    batches = (batch, *more)
    whole = measure(batches)
    halves = on_two_processes(
        lambda rank: measure([part(rows, rank) for rows in batches]), path
    )
    loss = (halves[0][0] + halves[1][0]) / 2
    assert torch.allclose(loss, whole[0], rtol=1e-5), (loss, whole[0])
    for name, wanted in whole[1].items():
        found = (halves[0][1][name] + halves[1][1][name]) / 2
        scale = float(wanted.abs().max())
        error = float((found - wanted).abs().max())
        assert error <= 1e-3 * scale + 1e-6, (name, error, scale)
    for name, wanted in whole[2].items():
        for half in halves:
            assert torch.allclose(half[2][name], wanted, rtol=1e-4, atol=1e-5), name
