"""Low-rank adaptation: what is trained, and that the encoder stays."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from tests.evaluation.classification.test_finetune import QUICK, measure
from tests.evaluation.stubs import block_task
from vlp_zoo.bench.presets import read_preset
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError, DependencyNotFoundError
from vlp_zoo.evaluation.classification.classifier import Classifier, Recipe
from vlp_zoo.evaluation.classification.lora import LowRank

pytest.importorskip("peft")


@pytest.mark.parametrize("name", ["test_vit", "tiny_resnet"])
def test_only_the_added_weights_and_the_head_are_trained(name: str) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(name, 64).eval()
    images = torch.randint(256, (2, 1, 64, 64), dtype=torch.uint8)
    plain = Classifier(encoder, 3, Recipe())
    torch.manual_seed(0)
    adapted = Classifier(encoder, 3, Recipe(low_rank=4)).train()
    assert not adapted.encoder.training
    # They start at 0: the features are the encoder's.
    with torch.no_grad():
        wanted = plain.eval()._pooled(images)[0]
        assert torch.allclose(adapted._pooled(images)[0], wanted, atol=1e-5)
    trained = {n for n, p in adapted.encoder.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora" in each for each in trained)
    grouped = [p for g in adapted.parameter_groups(1e-3) for p in g["params"]]
    assert sum(p.requires_grad for p in grouped) == len(grouped)
    assert {id(p) for p in adapted.parameters() if p.requires_grad} == {
        id(p) for p in grouped
    }
    adapted(images).sum().backward()
    kept = [p for p in adapted.encoder.parameters() if not p.requires_grad]
    assert all(p.grad is None for p in kept)


@pytest.mark.slow
def test_an_easy_task_is_learnt() -> None:
    options = {**QUICK, "steps": (60, 60, 60)}
    outcome = measure(block_task(), LowRank(**options, rank=4))
    (head,) = [m for m in outcome.measures if m.metric == "macro_auroc"]
    assert head.value > 0.7
    assert np.isfinite(outcome.cases.scores).all()


def test_the_preset_reads_and_nonsense_is_refused() -> None:
    assert isinstance(read_preset("vlp-lora").protocol, LowRank)
    with pytest.raises(ConfigError, match="rank above 0"):
        LowRank(rank=0)
    with pytest.raises(ConfigError, match="frozen"):
        LowRank(frozen=True)


def test_a_missing_package_is_one_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(DependencyNotFoundError, match=r"vlp-zoo\[adapt\]"):
        Classifier(ImageEncoder("micro").eval(), 2, Recipe(low_rank=2))
