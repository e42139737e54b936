"""Configs at paper scale start where the papers start: each value and its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from vlp_zoo.methods import METHODS
from vlp_zoo.methods.loading import method_class

FOLDER = Path(__file__).parents[1] / "configs" / "methods"
BERT = "emilyalsentzer/Bio_ClinicalBERT"

STARTS: dict[str, dict[str, Any]] = {
    # Released code, `--resume ./dataset/mae_vit_base.pth`.
    "ecamp": {"warm_start": "timm:vit_base_patch16_224.mae"},
    # Released code: torchvision's ResNet-50 of ImageNet (V1); no gather, no SyncBN.
    "imitate": {
        "warm_start": "timm:resnet50.tv_in1k",
        "text_model": BERT,
        "negatives": "local",
        "sync_batchnorm": False,
    },
    # Released code: DeiT-B; 6 layers of the BERT for reports, all 12 for tags, no dropout
    # (both stay in eval mode); no gather, no SyncBN.
    "asg": {
        "warm_start": "timm:deit_base_patch16_224",
        "text_model": BERT,
        "text_depth": 6,
        "text_dropout": 0.0,
        "tag_text": BERT,
        "negatives": "local",
        "sync_bn": False,
    },
    # Paper not public to us: the abstract's encoders, our choice of the start.
    "place": {"warm_start": "timm:vit_base_patch16_224.mae", "text_model": BERT},
    # ConVIRT (arXiv 2010.00747): ImageNet ResNet-50 and ClinicalBERT.
    "clip": {"warm_start": "timm:resnet50.tv_in1k", "text_model": BERT},
    # Released code: the script's Swin-T of ImageNet, and ClinicalBERT.
    "medclip": {
        "warm_start": "timm:swin_tiny_patch4_window7_224.ms_in1k",
        "text_model": BERT,
    },
    # Released code: ImageNet ResNet-50 and CXR-BERT-general; one process's batch statistics.
    "mflag": {
        "warm_start": "timm:resnet50.tv_in1k",
        "text_model": "microsoft/BiomedVLP-CXR-BERT-general",
        "statistics": "local",
    },
    # Released code: `BertEncoder` and `vit_base`, run by its README's command.
    "mgca": {
        "warm_start": "timm:deit_base_patch16_224",
        "text_model": BERT,
        "text_depth": 6,
        "text_dropout": 0.1,
        "negatives": "local",
        "sync_bn": False,
    },
    # Released code, README: `--resume mae_pretrain_vit_base.pth`.
    "mrm": {"warm_start": "timm:vit_base_patch16_224.mae"},
    # Released code: torchvision's ResNet-50 (V1 in the released model), all of
    # Bio_ClinicalBERT; one process.
    "flair": {
        "warm_start": "timm:resnet50.tv_in1k",
        "text_model": BERT,
        "negatives": "local",
        "image_size": 512,
    },
    # Released code: torchvision's ResNet-50 of ImageNet (V1); one GPU.
    "gloria": {
        "warm_start": "timm:resnet50.tv_in1k",
        "text_model": BERT,
        "text_depth": 12,
        "image_size": 299,
        "crop_size": 224,
        "caption": "sentence",
        "report_text": "impression",
        "betas": [0.5, 0.999],
        "negatives": "local",
        "sync_bn": False,
        "schedule": "plateau",
    },
    # MAE (arXiv 2111.06377) starts from random weights.
    "mae": {"warm_start": None},
}

STEPS: dict[str, tuple[int, int, int]] = {
    # Images a process, accumulated batches, epochs.
    "ecamp": (256, 8, 120),
    "imitate": (128, 1, 21),
    "asg": (72, 1, 50),
    "gloria": (48, 1, 50),
    "medclip": (100, 1, 10),
    "mflag": (512, 1, 50),
    "mgca": (72, 1, 50),
    "mrm": (32, 2, 200),
    "flair": (128, 1, 15),
}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_config_starts_where_its_paper_does(name: str) -> None:
    config = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    model = config["model"]
    assert model["class_path"] == name
    # The constructor refuses an option that it does not know.
    module = method_class(METHODS[name])(**model.get("init_args", {}))
    chosen = {key: getattr(module.options, key) for key in STARTS[name]}
    assert chosen == STARTS[name]
    if name in STEPS:
        trainer = config["trainer"]
        assert STEPS[name] == (
            config["data"]["init_args"]["batch_size"],
            trainer.get("accumulate_grad_batches", 1),
            trainer["max_epochs"],
        )


def test_asg_stops_early_as_released() -> None:
    config = yaml.safe_load((FOLDER / "asg.yaml").read_text())
    (stop,) = config["trainer"]["callbacks"]
    assert stop["class_path"].endswith(".EarlyStopping")
    assert stop["init_args"] == {"monitor": "val/loss", "patience": 5}
