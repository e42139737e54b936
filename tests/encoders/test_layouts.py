"""Files as the released code writes them: its modules under its names, at tiny width."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet
from transformers import BertConfig, BertModel

from vlp_zoo.bench.encoders import sources_of
from vlp_zoo.encoders.checkpoint import load_encoder, open_encoder
from vlp_zoo.encoders.layouts import LAYOUTS
from vlp_zoo.encoders.published.medklip import MedKLIPEncoder
from vlp_zoo.encoders.published.official import load_official
from vlp_zoo.errors import EncoderLoadError
from vlp_zoo.evaluation.features.extraction import weights_sha256

WIDTH = 128


class Named(nn.Module):
    """A module with the given parts; numbers count as buffers or parameters."""

    def __init__(self, **parts: nn.Module | Tensor) -> None:
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, nn.Parameter | nn.Module):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)


def vit() -> nn.Module:
    """The keys of timm 0.3.2's ViT without head, which all of these have."""
    return timm.create_model(
        "vit_base_patch16_224",
        img_size=32,
        patch_size=8,
        embed_dim=WIDTH,
        depth=2,
        num_heads=2,
        num_classes=0,
    )


def resnet() -> nn.Module:
    network: nn.Module = ResNet(Bottleneck, [1, 1, 1, 1])
    network.fc = nn.Identity()
    return network


def bert() -> nn.Module:
    sizes: dict[str, Any] = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
    }
    return BertModel(BertConfig(vocab_size=40, intermediate_size=8, **sizes))


def embedding(width: int) -> nn.Module:
    """MGCA's head, ``head.0`` to ``head.4``."""
    last = nn.BatchNorm1d(4, affine=False)
    layers = [nn.Linear(width, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4), last]
    return Named(head=nn.Sequential(*layers))


def autoencoder(**more: nn.Module) -> tuple[nn.Module, nn.Module]:
    """MAE's: encoder at the top, beside it ``decoder_*`` and ``mask_token``."""
    encoder = vit()
    whole = Named(
        **dict(encoder.named_children()),
        cls_token=encoder.cls_token,
        pos_embed=encoder.pos_embed,
        mask_token=nn.Parameter(torch.zeros(1, 1, 8)),
        decoder_embed=nn.Linear(WIDTH, 8),
        decoder_pos_embed=nn.Parameter(torch.zeros(1, 17, 8)),
        decoder_blocks=nn.ModuleList([nn.TransformerEncoderLayer(8, 1, 8)]),
        decoder_norm=nn.LayerNorm(8),
        decoder_pred=nn.Linear(8, 192),
        **more,
    )
    return whole, encoder


def mrm() -> tuple[nn.Module, nn.Module]:
    texts = Named(model=Named(bert=bert(), cls=nn.Linear(8, 40)))
    return autoencoder(bert_encoder=texts, bert_mlp=nn.Linear(WIDTH, 8))


def classifier() -> tuple[nn.Module, nn.Module]:
    encoder = timm.create_model(
        "vit_base_patch16_224",
        img_size=32,
        patch_size=8,
        embed_dim=WIDTH,
        depth=2,
        num_heads=2,
        num_classes=5,
        global_pool="avg",
    )
    return encoder, encoder


def mgca_image(encoder: nn.Module) -> nn.Module:
    heads = {"global_embed": embedding(8), "local_embed": embedding(8)}
    return Named(model=encoder, **heads)


def mgca_text() -> nn.Module:
    heads = {"global_embed": embedding(8), "local_embed": embedding(8)}
    return Named(model=bert(), **heads)


def mgca_resnet() -> tuple[nn.Module, nn.Module]:
    encoder = resnet()
    whole = Named(
        img_encoder_q=mgca_image(encoder),
        text_encoder_q=mgca_text(),
        patch_local_atten_layer=nn.MultiheadAttention(4, 1),
        word_local_atten_layer=nn.MultiheadAttention(4, 1),
        prototype_layer=nn.Linear(4, 10, bias=False),
    )
    return whole, encoder


def convirt() -> tuple[nn.Module, nn.Module]:
    encoder = resnet()
    whole = Named(img_encoder=mgca_image(encoder), text_encoder=mgca_text())
    return whole, encoder


def gloria() -> tuple[nn.Module, nn.Module]:
    encoder = resnet()
    images = Named(
        model=encoder,
        global_embedder=nn.Linear(8, 4),
        local_embedder=nn.Conv2d(8, 4, 1, bias=False),
    )
    pair = Named(img_encoder=images, text_encoder=Named(model=bert()))
    return Named(gloria=pair), encoder


def flair() -> tuple[nn.Module, nn.Module]:
    encoder = resnet()
    project = Named(projection=nn.Linear(8, 4, bias=False))
    whole = Named(
        vision_model=Named(model=encoder, projection_head_vision=project),
        text_model=Named(model=bert(), projection_head_text=project),
        logit_scale=nn.Parameter(torch.tensor(2.0)),
    )
    return whole, encoder


def mflag() -> tuple[nn.Module, nn.Module]:
    encoder = ResNet(Bottleneck, [1, 1, 1, 1], num_classes=8)
    encoder.fc = nn.Identity()
    heads = {name: nn.Sequential(nn.Linear(2048, 8)) for name in ("proj_v", "proj_t")}
    return Named(encoder=encoder, lm_model=nn.Linear(4, 4), **heads), encoder


def moco() -> tuple[nn.Module, nn.Module]:
    encoders = [ResNet(Bottleneck, [1, 1, 1, 1], num_classes=8) for _ in range(2)]
    for encoder in encoders:
        layers = [nn.Linear(2048, 8), nn.ReLU(), nn.Linear(8, 4)]
        encoder.fc = nn.Sequential(*layers)
    queue = {"queue": torch.zeros(4, 16), "queue_ptr": torch.zeros(1).long()}
    whole = Named(encoder_q=encoders[0], encoder_k=encoders[1], **queue)
    return Named(module=whole), encoders[0]


def dino() -> tuple[nn.Module, nn.Module]:
    encoder = vit()
    last = nn.utils.parametrizations.weight_norm(nn.Linear(4, 10, bias=False))
    mlp = nn.Sequential(nn.Linear(WIDTH, 8), nn.GELU(), nn.Linear(8, 4))
    return Named(backbone=encoder, head=Named(mlp=mlp, last_layer=last)), encoder


WHOLE: dict[str, Callable[[], tuple[nn.Module, nn.Module]]] = {
    "mae": autoencoder,
    "retfound": autoencoder,
    "mae_classifier": classifier,
    "mrm": mrm,
    "mgca_resnet": mgca_resnet,
    "convirt": convirt,
    "gloria": gloria,
    "flair": flair,
    "mflag": mflag,
    "moco": moco,
    "dino": dino,
}


def written(folder: Path, layout: str) -> tuple[Path, nn.Module]:
    torch.manual_seed(0)
    whole, encoder = WHOLE[layout]()
    with torch.no_grad():
        for tensor in encoder.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.rand_like(tensor))
    content = {"epoch": 3, "args": argparse.Namespace(lr=1e-3)}
    if layout == "dino":
        other = {f"module.{key}": value for key, value in whole.state_dict().items()}
        content |= {"student": other, "teacher": whole.state_dict()}
    elif layout == "flair":
        content = whole.state_dict()
    else:
        content["model" if layout in ("mae", "mrm") else "state_dict"] = (
            whole.state_dict()
        )
    path = folder / "checkpoint.pth"
    torch.save(content, path)
    return path, encoder.eval()


@pytest.mark.slow
@pytest.mark.parametrize("layout", WHOLE)
def test_the_encoder_is_found_whole_among_the_other_parts(
    layout: str, tmp_path: Path
) -> None:
    path, theirs = written(tmp_path, layout)
    ours = load_official(layout, path).eval()
    known = LAYOUTS[layout]
    assert ours.mean == list(known.mean)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        if known.resnet:
            assert ours.image_size == known.image_size
            theirs.fc = nn.Identity()
            torch.testing.assert_close(ours(images).pooled, theirs(images))
        else:
            network: Any = theirs
            features = network.forward_features(images)
            wanted = {
                "token": lambda: features[:, 0],
                "mean": lambda: features[:, 1:].mean(1),
            }[known.pooling]()
            if known.norm == "pooled":
                wanted = network.fc_norm(wanted)
            torch.testing.assert_close(ours(images).pooled, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("layout", WHOLE)
def test_a_part_that_nobody_knows_is_named(layout: str, tmp_path: Path) -> None:
    path, _ = written(tmp_path, layout)
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path)
    inner = content
    for key in ("teacher", "model", "state_dict"):
        inner = inner.get(key, inner)
    inner["surprise.weight"] = torch.zeros(1)
    torch.save(content, path)
    with pytest.raises(EncoderLoadError, match=r"1 unexpected \(surprise.weight\)"):
        load_official(layout, path)


def test_a_vit_in_a_layout_of_resnets_is_refused(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "mrm")
    with pytest.raises(EncoderLoadError, match="a ResNet under 'gloria"):
        load_official("gloria", path)


def test_layouts_know_the_public_data_of_their_weights() -> None:
    assert sources_of("official:gloria:x.ckpt") == ["chexpert"]
    assert sources_of("official:flair:x.pth") == ["flair"]
    assert sources_of("official:nothing:x.pth") == []


def test_medklip_is_three_stages_and_cannot_be_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    features = nn.Sequential(*list(resnet().children())[:-3])
    whole = Named(
        res_features=features,
        res_l1=nn.Linear(8, 8),
        res_l2=nn.Linear(8, 4),
        disease_embedding_layer=nn.Linear(8, 4),
        cl_fc=nn.Linear(4, 8),
        decoder=nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 1, 4), 1),
        classifier=nn.Linear(4, 2),
    )
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": Named(module=whole).state_dict(), "epoch": 1}, path)
    encoder = open_encoder(f"official:medklip:{path}")
    assert isinstance(encoder, MedKLIPEncoder)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = features.eval()(images)
    output = encoder(images)
    torch.testing.assert_close(output.levels[-1], wanted)
    torch.testing.assert_close(output.pooled, wanted.mean((2, 3)))
    assert [level.shape[1] for level in output.levels] == [256, 512, 1024]
    assert output.grid == (4, 4)
    assert weights_sha256(encoder.random_copy(0)) != weights_sha256(encoder)
    with pytest.raises(EncoderLoadError, match="evaluated only"):
        load_encoder(f"official:medklip:{path}")
    torch.save({**Named(module=whole).state_dict(), "x": torch.zeros(1)}, path)
    with pytest.raises(EncoderLoadError, match=r"1 unexpected \(x\)"):
        open_encoder(f"official:medklip:{path}")
    path, _ = written(tmp_path, "gloria")
    with pytest.raises(EncoderLoadError, match="three stages"):
        open_encoder(f"official:medklip:{path}")
