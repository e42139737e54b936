"""The official MedCLIP, with the weights and the batch of a recorded run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vlp_zoo.encoders.published.networks import swin_names
from vlp_zoo.encoders.weight_files import check_keys
from vlp_zoo.methods.medclip.medclip import MedCLIP
from vlp_zoo.parity.replay import Read, Recording, under
from vlp_zoo.parity.resnet import narrow_stem, resnet_sizes
from vlp_zoo.parity.words import recorded_words

__all__ = ["Model", "official_state"]


def official_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A whole official MedCLIP under the names of our MedCLIP.

    Pooler and tables of positions are left out; query, key and value of a Swin become
    one matrix.
    """
    image = under(state, "vision_model.model.")
    head = image.pop("fc.weight", None)
    if head is None:
        head = state["vision_model.projection_head.weight"]
        image = swin_names(image)
    text = {
        f"text_tower.encoder.bert.{key}": value
        for key, value in under(state, "text_model.model.").items()
        if not key.startswith(("pooler.", "embeddings.position_ids"))
    }
    return {
        **{f"image_encoder.timm.{key}": value for key, value in image.items()},
        **text,
        "image_head.weight": head,
        "text_head.weight": state["text_model.projection_head.weight"],
        "log_scale": state["logit_scale"],
    }


class Model:
    """The recorded model with its batch, in some arithmetic."""

    def __init__(self, recording: Recording, dtype: torch.dtype) -> None:
        self.meta, self.dtype = recording.facts("meta"), dtype
        self.config: Read[Any] = self.meta["config"]
        self.inputs = recording.tensors("inputs")
        state = recording.tensors("state_dict")
        self.weights = {key: state[key] for key in state}
        numbers = {
            key: torch.full_like(value, number, dtype=torch.float64)
            for number, (key, value) in enumerate(self.weights.items())
        }
        self.owners = official_state(numbers)
        self.module = self.fresh()
        self.images = self.inputs["batch.pixel_values"].to(dtype).expand(-1, 3, -1, -1)
        self.labels = (
            self.inputs["batch.img_labels"].to(dtype),
            self.inputs["batch.text_labels"].to(dtype),
        )

    def _sizes(self) -> dict[str, Any]:
        if self.config["tower"] == "swin":
            return {
                "embed_dim": self.config["embed"],
                "depths": self.config["depths"],
                "num_heads": self.config["vheads"],
                "window_size": self.config["window"],
                "patch_size": self.config["patch"],
                "drop_path_rate": 0.0,
            }
        return resnet_sizes(self.weights, "vision_model.model.")

    def fresh(self) -> MedCLIP:
        """The model before any step, in training mode."""
        swin, bert = self.config["tower"] == "swin", self.meta["bert_config"]
        module = MedCLIP(
            image_encoder="swin_tiny_patch4_window7_224" if swin else "resnet50",
            image_size=self.config["img"],
            encoder_sizes=self._sizes(),
            text_width=self.config["dt"],
            text_depth=self.config["tlayers"],
            text_heads=self.config["theads"],
            text_ffn=self.config["tinter"],
            text_dropout=0.0,
            max_tokens=bert["max_position_embeddings"],
            joint_width=self.config["emb"],
            similarity="dot",
            pool_padding=True,
            negatives="local",
        )
        module.tokenizer = recorded_words(self.meta["vocab"])
        module.vocab_size = module.tokenizer.vocab_size
        module.configure_model()
        stem = self.weights.get("vision_model.model.conv1.weight")
        if stem is not None and len(stem) != 64:
            narrow_stem(module.image_encoder.timm, len(stem))
        ours, expected = official_state(self.weights), module.state_dict()
        check_keys(expected, ours, "the recording")
        module.load_state_dict(ours)
        # Sums in the order of the recording: with so few rows their rounding grows.
        module.image_encoder.timm.to(memory_format=torch.contiguous_format)
        return module.to(self.dtype).train()

    def see(self) -> tuple[Tensor, Tensor]:
        """Pooled and projected images."""
        pooled = self.module.image_encoder(self.images).pooled
        return pooled, self.module.image_head(pooled)

    def read(
        self, prefix: str = "", rows: slice = slice(None), most: int = -1
    ) -> Tensor:
        """Projected sentences, or varied ones."""
        ids, mask = (
            self.inputs[f"batch.{prefix}{name}"][rows]
            for name in ("input_ids", "attention_mask")
        )
        if most > 0:
            ids, mask = ids[:, :most], mask[:, :most]
        tower: Any = self.module.text_tower
        projected: Tensor = self.module.text_head(tower.read(ids, mask > 0).pooled)
        return projected

    def losses(self, kind: str = "train_reference") -> dict[str, Tensor]:
        """Total and parts under their recorded names."""
        _, images = self.see()
        texts = [self.read()]
        if kind == "train_reference":
            texts.append(self.read("aug_"))
        labels = None if kind == "hard_clip" else self.labels
        total = torch.stack(
            list(self.module.objective(images, texts, labels).values())
        ).sum()
        if labels is None:
            return {"total": total}
        parts = {}
        for title, text in zip(("", "aug_")[: len(texts)], texts, strict=True):
            ways = self.module.objective(images, [text], labels)
            parts[f"{title}image"] = 2 * ways["image_to_text"]
            parts[f"{title}text"] = 2 * ways["text_to_image"]
        return {"total": total, **parts}

    def official(self, ours: Mapping[str, Tensor | None]) -> dict[str, Tensor | None]:
        """Our tensors, cut into those of the official parameters."""
        found: dict[str, Tensor | None] = {}
        places = {
            int(number): name
            for name, owner in self.owners.items()
            for number in set(owner.flatten().tolist())
        }
        for number, key in enumerate(self.weights):
            value = ours.get(places.get(number, ""))
            if value is not None:
                found[key] = value[self.owners[places[number]] == number]
        return found
