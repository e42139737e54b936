"""Tiny transformers models with random weights, saved as the hub has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers as hf

__all__ = ["SIDE", "save_clip", "save_vision"]

SIDE = 32
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": SIDE,
    "patch_size": 8,
}
CNN = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
SWIN = {
    "image_size": SIDE,
    "patch_size": 2,
    "embed_dim": 8,
    "depths": [1, 1],
    "num_heads": [1, 2],
    "window_size": 4,
}
SIZES: dict[str, dict[str, Any]] = {
    "ViT": VIT,
    "DeiT": VIT,
    "Dinov2": {**VIT, "mlp_ratio": 2},
    "Dinov2WithRegisters": {**VIT, "num_register_tokens": 4},
    "ViTMAE": VIT,
    "ResNet": {**CNN, "embedding_size": 8},
    "ConvNext": CNN,
    "ConvNextV2": CNN,
    "Swin": SWIN,
    "Swinv2": SWIN,
    "DINOv3ViT": {**VIT, "num_register_tokens": 4},
    "DINOv3ConvNext": CNN,
    "Beit": VIT,
    "Data2VecVision": VIT,
    "ViTMSN": VIT,
    "IJepa": VIT,
    "RegNet": {**CNN, "embedding_size": 8, "groups_width": 4},
    "EfficientNet": {
        "width_coefficient": 0.25,
        "depth_coefficient": 0.2,
        "hidden_dim": 320,
        "image_size": SIDE,
    },
    "PvtV2": {
        "image_size": SIDE,
        "hidden_sizes": [8, 8, 8, 8],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 1, 1],
    },
    "PoolFormer": {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]},
    "CLIPVision": VIT,
    "SiglipVision": VIT,
}


def save_vision(folder: Path, name: str, **recipe: Any) -> Any:
    """Save ``{name}Model`` and its preprocessing; returns the model in eval mode."""
    torch.manual_seed(0)
    config = getattr(hf, f"{name}Config")(**SIZES[name])
    model = getattr(hf, f"{name}Model")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Initial weights of 0.02 would hide a lost layer behind the residual path.
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    settings = {"size": {"height": SIDE, "width": SIDE}, **recipe}
    hf.ViTImageProcessor(**settings).save_pretrained(folder)
    return model


def save_clip(folder: Path, name: str = "CLIP") -> Any:
    """Save a CLIP or Siglip with a tokenizer of words; returns it in eval mode."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    words = ["<pad>", "<unk>", "<s>", "</s>", "there", "is", "no", "edema"]
    words += ["effusion", "."]
    bare = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    bare.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    marks = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}
    fast: Any = hf.PreTrainedTokenizerFast
    fast(tokenizer_object=bare, **marks).save_pretrained(folder)
    text = {
        **{key: VIT[key] for key in VIT if "size" not in key or "mediate" in key},
        "hidden_size": 16,
        "vocab_size": len(words),
        "max_position_embeddings": 12,
        "eos_token_id": 3,
        "bos_token_id": 2,
        "pad_token_id": 0,
    }
    extra = {"projection_dim": 8} if name == "CLIP" else {}
    vision = dict(VIT)
    if name == "Siglip2":
        del vision["image_size"]
        vision["num_patches"] = 16
    config = getattr(hf, f"{name}Config")(
        text_config=text, vision_config=vision, **extra
    )
    model = getattr(hf, f"{name}Model")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    if name == "Siglip2":
        flexible = hf.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
        flexible.save_pretrained(folder)
    else:
        processor = hf.CLIPImageProcessor(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
        )
        processor.save_pretrained(folder)
    # Real repositories say which tokenizer class they have; the words decide here.
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "tokenizer_class": "TokenizersBackend"}))
    return model
