"""Official files of Swins, DenseNets, EVAs and others, written at tiny width."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models.densenet import DenseNet
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from transformers import DINOv3ViTConfig, DINOv3ViTModel, SwinConfig, SwinModel

from tests.encoders.test_layouts import Named, bert, vit
from vlp_zoo.cli.encoder.convert import main as convert
from vlp_zoo.cli.encoder.export import main as export
from vlp_zoo.encoders.checkpoint import load_encoder, save_encoder
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.encoders.layouts import LAYOUTS
from vlp_zoo.errors import ConfigError, EncoderLoadError, UnknownNameError

State = dict[str, Tensor]
Made = tuple[Any, State, Callable[[Tensor], Tensor]]
"""Content of the file, the encoder's own tensors, and its pooled features."""


def shaken(network: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.rand_like(tensor))
    return network.eval()


def under(prefix: str, state: State) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


def close(ours: Tensor, theirs: Tensor) -> None:
    """Equal up to the order of sums, which two implementations do not share."""
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def resnet(block: Any = Bottleneck) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    network = shaken(ResNet(block, [1, 1, 1, 1]))
    whole = network.fc
    network.fc = nn.Identity()
    network.kept = whole
    return network, network


def cxrclip() -> Made:
    network, pooled = resnet()
    del network.kept
    state = under("image_encoder.resnet.", dict(network.state_dict()))
    rest = Named(
        text_encoder=Named(text_encoder=bert()),
        text_projection=Named(projection=nn.Linear(8, 4)),
        image_projection=Named(projection=nn.Linear(8, 4)),
        logit_scale=nn.Parameter(torch.zeros(())),
    )
    return {"model": {**state, **rest.state_dict()}, "epoch": 3}, state, pooled


SWIN_WORDS = (
    ("relative_position_bias.relative", "self.relative"),
    ("q_proj", "self.query"),
    ("k_proj", "self.key"),
    ("v_proj", "self.value"),
    ("o_proj", "output.dense"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
)
"""Names in today's transformers, and in 4.26 that wrote the released files."""


def cxrclip_swin() -> Made:
    config = SwinConfig(
        embed_dim=16, depths=[1, 2, 1, 1], num_heads=[1, 2, 4, 8], window_size=7
    )
    network: Any = shaken(SwinModel(config))
    state = cxrclip_swin_names(network)
    rest = Named(
        text_encoder=Named(text_encoder=bert()),
        text_projection=Named(projection=nn.Linear(8, 4)),
        image_projection=Named(projection=nn.Linear(128, 4)),
        logit_scale=nn.Parameter(torch.zeros(())),
    )

    def pooled(images: Tensor) -> Tensor:
        # CXRClip.encode_image: "get [CLS] token", of a network that has none.
        found: Tensor = network(images).last_hidden_state[:, 0]
        return found

    return {"model": {**state, **rest.state_dict()}}, state, pooled


def cxrclip_swin_names(network: nn.Module) -> State:
    state: State = {}
    for key, tensor in network.state_dict().items():
        for new, old in SWIN_WORDS:
            key = key.replace(new, old)
        state[f"image_encoder.image_encoder.{key}"] = tensor
        if key.endswith("bias_table"):
            index = key.replace("bias_table", "index")
            state[f"image_encoder.image_encoder.{index}"] = torch.zeros(49, 49).long()
    return state


def torchvision(block: Any = BasicBlock) -> Made:
    network, pooled = resnet(block)
    state = {
        key.replace("kept.", "fc."): tensor
        for key, tensor in network.state_dict().items()
    }
    del network.kept
    return state, state, pooled


def carzero() -> Made:
    network: Any = shaken(vit())
    state = under("CARZero.img_encoder.model.", dict(network.state_dict()))
    rest = under("CARZero.text_encoder.model.", dict(bert().state_dict()))
    rest |= under("CARZero.fusion_module.linear.", dict(nn.Linear(4, 1).state_dict()))

    def pooled(images: Tensor) -> Tensor:
        found: Tensor = network.forward_features(images)[:, 0]
        return found

    return {"state_dict": {**state, **rest}}, state, pooled


def xrv() -> Made:
    network = DenseNet(8, (2, 2, 2, 2), 16, num_classes=3)
    network.features.conv0 = nn.Conv2d(1, 16, 7, 2, 3, bias=False)
    shaken(network)
    state = dict(network.state_dict())
    network.classifier = nn.Identity()
    content = {**state, "op_threshs": torch.zeros(3)}
    return content, state, lambda images: network(images[:, :1])


def arkplus() -> Made:
    network: Any = timm.create_model(
        "swin_base_patch4_window7_224",
        num_classes=0,
        embed_dim=16,
        depths=(1, 1, 2, 1),
        num_heads=(1, 2, 4, 8),
    )
    shaken(network)
    state = arkplus_names(network)
    for block in ("layers.0.blocks.0", "layers.2.blocks.1"):
        state[f"{block}.attn.relative_position_index"] = torch.zeros(49, 49).long()
    state["layers.2.blocks.1.attn_mask"] = torch.zeros(4, 49, 49)
    rest = {
        "projector.weight": torch.zeros(8, 128),
        "omni_heads.0.weight": torch.zeros(14, 8),
        "head.bias": torch.zeros(5),
    }
    whole = under("module.", {**state, **rest})
    other = {key: torch.zeros_like(tensor) for key, tensor in whole.items()}
    return {"teacher": whole, "state_dict": other, "epoch": 9}, state, network


def arkplus_names(network: nn.Module) -> State:
    """The state of a network of timm under the names of timm before 0.8."""
    return {
        re.sub(
            r"layers\.(\d)\.downsample",
            lambda found: f"layers.{int(found[1]) - 1}.downsample",
            key,
        ): tensor
        for key, tensor in network.state_dict().items()
    }


def evax(apart: bool) -> Made:
    name = "eva02_base_patch14_224" if apart else "eva02_tiny_patch14_224"
    network: Any = timm.create_model(
        name,
        num_classes=0,
        img_size=32,
        patch_size=8,
        embed_dim=128,
        depth=2,
        num_heads=2,
        ref_feat_shape=(4, 4),
    )
    shaken(network)
    state = evax_names(network)
    return {"module": under("", state)}, state, network


def evax_names(network: nn.Module) -> State:
    """The state of a network of timm as EVA-X's pre-training writes it."""
    state: State = {"mask_token": torch.zeros(1, 1, 128)}
    words = [("mlp.norm.", "mlp.ffn_ln."), ("mlp.fc1_g.", "mlp.w1.")]
    words += [("mlp.fc1_x.", "mlp.w2."), ("mlp.fc2.", "mlp.w3.")]
    for key, tensor in network.state_dict().items():
        for ours, theirs in words:
            key = key.replace(ours, theirs)
        if ".mlp.fc1." in key:
            gate, value = tensor.chunk(2)
            state[key.replace("fc1", "w1")] = gate
            state[key.replace("fc1", "w2")] = value
            continue
        key = key.replace("q_proj.bias", "q_bias").replace("v_proj.bias", "v_bias")
        state[key.replace("fc_norm.", "norm.")] = tensor
    state["rope.freqs_cos"] = torch.zeros(16, 64)
    state["lm_head.weight"] = torch.zeros(10, 128)
    return state


def dinov2() -> Made:
    network: Any = timm.create_model(
        "vit_base_patch16_224",
        img_size=28,
        patch_size=14,
        embed_dim=128,
        depth=2,
        num_heads=2,
        num_classes=0,
        init_values=1e-5,
    )
    shaken(network)
    state = {
        re.sub(r"^blocks\.(\d)\.", r"blocks.0.\1.", key): tensor
        for key, tensor in network.state_dict().items()
    }
    rest = {"dino_head.mlp.0.weight": torch.zeros(4, 128)}
    rest["ibot_head.last_layer.weight"] = torch.zeros(4, 4)
    whole = {**under("backbone.", state), "backbone.mask_token": torch.zeros(1, 128)}
    return {"teacher": {**whole, **rest}}, state, network


DINOV3_WORDS = (
    ("embeddings.register_tokens", "storage_tokens"),
    ("embeddings.patch_embeddings", "patch_embed.proj"),
    ("embeddings.", ""),
    ("model.layer.", "blocks."),
    ("attention.o_proj", "attn.proj"),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("mlp.up_proj", "mlp.fc1"),
    ("mlp.down_proj", "mlp.fc2"),
)
"""Names in transformers, whose DINOv3 is another implementation, and in Meta's code."""


def dinov3_network() -> tuple[Any, State]:
    config = DINOv3ViTConfig(
        hidden_size=32,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        patch_size=16,
        num_register_tokens=4,
    )
    network: Any = shaken(DINOv3ViTModel(config))
    theirs = network.state_dict()
    state: State = {}
    for key, tensor in theirs.items():
        for name, official in DINOV3_WORDS:
            key = key.replace(name, official)
        if ".attention." not in key:
            state[key] = tensor
    state["mask_token"] = torch.zeros(1, 32)
    for i in range(2):
        parts = f"model.layer.{i}.attention"
        weights = [theirs[f"{parts}.{part}_proj.weight"] for part in "qkv"]
        biases = [theirs[f"{parts}.{part}_proj.bias"] for part in "qv"]
        # Whatever stands at the key's bias is masked away; RETFound's masks are NaN.
        biases.insert(1, torch.full((32,), 3.0))
        state[f"blocks.{i}.attn.qkv.weight"] = torch.cat(weights)
        state[f"blocks.{i}.attn.qkv.bias"] = torch.cat(biases)
        state[f"blocks.{i}.attn.qkv.bias_mask"] = torch.full((96,), float("nan"))
    state["rope_embed.periods"] = torch.tensor([1.0, 100**0.25, 10, 100**0.75])
    return network, state


def dinov3() -> Made:
    network, state = dinov3_network()
    rest = {"backbone.local_cls_norm.weight": torch.zeros(32)}
    rest["dino_head.mlp.0.weight"] = torch.zeros(4, 32)
    rest["ibot_head.last_layer.weight"] = torch.zeros(4, 4)
    whole = under("backbone.", state)

    def pooled(images: Tensor) -> Tensor:
        found: Tensor = network(images).last_hidden_state[:, 0]
        return found

    student = {key: torch.zeros_like(tensor) for key, tensor in whole.items()}
    return {"teacher": {**rest, **whole}, "student": student}, state, pooled


LAST = re.compile(r"norm\d?\.|bn\d\.weight")
"""Tensors of the encoder that no layout leaves out."""

WHOLE: dict[str, tuple[str, Callable[[], Made]]] = {
    "cxrclip": ("cxrclip", cxrclip),
    "cxrclip_swin": ("cxrclip_swin", cxrclip_swin),
    "torchvision, basic blocks": ("torchvision", torchvision),
    "torchvision, bottlenecks": ("torchvision", lambda: torchvision(Bottleneck)),
    "carzero": ("carzero", carzero),
    "xrv": ("xrv", xrv),
    "arkplus": ("arkplus", arkplus),
    "evax, base": ("evax", lambda: evax(True)),
    "evax, tiny": ("evax", lambda: evax(False)),
    "retfound_dinov2": ("retfound_dinov2", dinov2),
    "retfound_dinov3": ("retfound_dinov3", dinov3),
}


@pytest.mark.parametrize("name", WHOLE)
def test_features_are_those_of_the_network_that_was_written(
    name: str, tmp_path: Path
) -> None:
    layout, make = WHOLE[name]
    content, _, pooled = make()
    torch.save(content, tmp_path / "c.pth")
    ours = load_encoder(f"official:{layout}:{tmp_path / 'c.pth'}")
    known = LAYOUTS[layout]
    assert ours.mean == list(known.mean)
    assert ours.std == list(known.std)
    images = torch.rand(2, 1, ours.image_size, ours.image_size).expand(-1, 3, -1, -1)
    with torch.no_grad():
        close(ours(images).pooled, pooled(images))


@pytest.mark.parametrize("name", WHOLE)
def test_a_tensor_too_few_or_too_many_is_refused(name: str, tmp_path: Path) -> None:
    layout, make = WHOLE[name]
    content, own, _ = make()
    part = content
    while not any(isinstance(value, Tensor) for value in part.values()):
        part = part.get("teacher") or next(
            value for value in part.values() if isinstance(value, dict)
        )
    part["strange.weight"] = torch.zeros(1)
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(EncoderLoadError, match=r"strange\.weight"):
        load_encoder(f"official:{layout}:{tmp_path / 'c.pth'}")
    del part["strange.weight"]
    last = next(k for k in reversed(part) if k.endswith(tuple(own)) and LAST.search(k))
    del part[last]
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(EncoderLoadError):
        load_encoder(f"official:{layout}:{tmp_path / 'c.pth'}")


IMAGENET = [0.485, 0.456, 0.406]
PIXELS = {
    "cxrclip": (IMAGENET, 224, ("mimic_cxr", "chexpert", "nih14")),
    "cxrclip_swin": ([0.5] * 3, 224, ("mimic_cxr", "chexpert", "nih14")),
    "carzero": ([0.4978] * 3, 32, ("mimic_cxr",)),
    "arkplus": (
        IMAGENET,
        224,
        ("mimic_cxr", "chexpert", "nih14", "rsna", "vindr", "shenzhen"),
    ),
    "retfound_dinov3": (IMAGENET, 224, ()),
    "evax, base": ([0.49185243] * 3, 32, ("nih14", "chexpert", "mimic_cxr")),
}
"""Mean, side and public data of the small files, as the released code has them."""


@pytest.mark.parametrize("name", PIXELS)
def test_pixels_and_data_are_those_of_the_released_code(
    name: str, tmp_path: Path
) -> None:
    layout, make = WHOLE[name]
    torch.save(make()[0], tmp_path / "c.pth")
    ours = load_encoder(f"official:{layout}:{tmp_path / 'c.pth'}")
    assert (ours.mean, ours.image_size, LAYOUTS[layout].sources) == PIXELS[name]


def test_tokens_of_networks_pooled_by_one_token_are_normalised(tmp_path: Path) -> None:
    network, state = dinov3_network()
    torch.save(state, tmp_path / "v3.pth")
    ours = load_encoder(f"official:retfound_dinov3:{tmp_path / 'v3.pth'}")
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        output = ours(images)
        theirs = network(images).last_hidden_state[:, 5:]
    assert output.grid == (14, 14)
    close(output.tokens, theirs)
    content, _, pooled = cxrclip_swin()
    torch.save(content, tmp_path / "swin.pth")
    ours = load_encoder(f"official:cxrclip_swin:{tmp_path / 'swin.pth'}")
    with torch.no_grad():
        close(ours(images).tokens[:, 0], pooled(images))


@pytest.mark.parametrize("name", ["retfound_dinov3", "cxrclip_swin"])
def test_a_pooling_of_its_own_survives_convert_and_export(
    name: str, tmp_path: Path
) -> None:
    layout, make = WHOLE[name]
    content, _, pooled = make()
    torch.save(content, tmp_path / "c.pth")
    spec = f"official:{layout}:{tmp_path / 'c.pth'}"
    assert convert([spec, str(tmp_path / "ours")]) == 0
    again = load_encoder(str(tmp_path / "ours" / "encoder.safetensors"))
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        wanted = pooled(images)
        close(again(images).pooled, wanted)
    folder = tmp_path / "timm"
    if name == "cxrclip_swin":
        with pytest.raises(EncoderLoadError, match="first place of its map"):
            export([spec, str(folder)])
        assert not folder.exists()
        return
    assert export([spec, str(folder)]) == 0
    plain: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    ours = load_encoder(f"timm:local-dir:{folder}")
    with torch.no_grad():
        close(plain(images), wanted)
        close(ours(images).pooled, wanted)


def test_rotary_periods_of_another_base_are_refused(tmp_path: Path) -> None:
    _, state = dinov3_network()
    periods = state["rope_embed.periods"]
    state["rope_embed.periods"] = periods.bfloat16()
    torch.save(state, tmp_path / "c.pth")
    load_encoder(f"official:retfound_dinov3:{tmp_path / 'c.pth'}")
    state["rope_embed.periods"] = periods**2
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(EncoderLoadError, match="rotary periods of base 100"):
        load_encoder(f"official:retfound_dinov3:{tmp_path / 'c.pth'}")


def test_the_masks_of_a_swin_tell_its_image_size(tmp_path: Path) -> None:
    content, _, _ = arkplus()
    content["teacher"]["module.layers.2.blocks.1.attn_mask"] = torch.zeros(16, 49, 49)
    torch.save(content, tmp_path / "c.pth")
    ours = load_encoder(f"official:arkplus:{tmp_path / 'c.pth'}")
    assert (ours.image_size, ours.grid) == (448, (14, 14))


def test_a_plain_file_of_a_timm_network_loads_without_its_classifier(
    tmp_path: Path,
) -> None:
    network: Any = shaken(timm.create_model("resnet10t", num_classes=7))
    torch.save(under("_orig_mod.", dict(network.state_dict())), tmp_path / "w.pth")
    ours = load_encoder(f"timm:resnet10t@{tmp_path / 'w.pth'}")
    network.reset_classifier(0)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images).pooled, network(images))
    assert ours.mean == pytest.approx([0.485, 0.456, 0.406])
    with pytest.raises(EncoderLoadError, match="missing"):
        load_encoder(f"timm:resnet18@{tmp_path / 'w.pth'}")
    with pytest.raises(UnknownNameError):
        load_encoder(f"timm:resnet@{tmp_path / 'w.pth'}")
    with pytest.raises(EncoderLoadError, match="no such file"):
        load_encoder(f"timm:resnet18@{tmp_path / 'absent.pth'}")


@pytest.mark.parametrize("name", ["micro", "tiny_resnet", "mobilenetv3_small_050"])
def test_an_exported_folder_comes_back(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(name, 32, pooling="avg", mean=[0.4] * 3).eval()
    path = save_encoder(tmp_path / "encoder.safetensors", encoder, {})
    assert export([str(path), str(tmp_path / "out")]) == 0
    ours = load_encoder(f"timm:local-dir:{tmp_path / 'out'}")
    assert ours.preprocessing == encoder.preprocessing
    assert ours.pooling == encoder.pooling
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(ours(images).pooled, encoder(images).pooled)
    (tmp_path / "out" / "config.json").write_text('{"architecture": "resnet10t"')
    with pytest.raises(EncoderLoadError, match=r"config\.json"):
        load_encoder(f"timm:local-dir:{tmp_path / 'out'}")
    config = '{"architecture": "resnet10t", "model_args": {"pretrained": true}, '
    config += '"pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0], "std": [1]}}'
    (tmp_path / "out" / "config.json").write_text(config)
    with pytest.raises(ConfigError, match="pretrained"):
        load_encoder(f"timm:local-dir:{tmp_path / 'out'}")
    with pytest.raises(EncoderLoadError, match=r"config\.json"):
        load_encoder(f"timm:local-dir:{tmp_path / 'nothing'}")
