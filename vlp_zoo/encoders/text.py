"""TextEncoder: a BERT, from scratch or pretrained, behind the common output type.

The transformers model sits in ``.bert`` untouched, without pooler. A BERT's two halves,
`TextEncoder.embeddings` and `TextEncoder.layers`, can be called one by one, so that a
method may work on the embeddings before the layers see them. Other pretrained encoders
of text (RoBERTa, MPNet, DistilBERT, ModernBERT, ...) are read as wholes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from vlp_zoo.encoders.drafts import drafts_names, known_config
from vlp_zoo.encoders.hub import one_line
from vlp_zoo.encoders.image import EncoderOutput
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.encoders.wheels import wheel_path
from vlp_zoo.errors import ConfigError, EncoderLoadError, TokenizerError

if TYPE_CHECKING:
    from transformers import BertConfig, BertModel, PreTrainedModel

__all__ = ["TextEncoder"]

CONFIG_KEYS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "layer_norm_eps",
    "pad_token_id",
)
"""What decides a BERT's shape and arithmetic: the content of ``spec["bert"]``."""

POOLINGS = ("cls", "mean")


class TextEncoder(nn.Module):
    """A BERT-style text encoder (Devlin et al., arXiv 1810.04805).

    Args:
        vocab_size: V, that of the tokenizer.
        width: D.
        depth: Number of layers.
        heads: Attention heads; must divide the width.
        ffn: Inner width of the feed-forward part.
        max_positions: Longest text in tokens.
        dropout: Rate on hidden states and on attention.
        pad_id: Id of [PAD]; its embedding starts at zero and stays there.
        name: Folder, hub name or ``wheel:minilm`` of a pretrained BERT, or of another
            text encoder that transformers knows. Its own sizes and dropout replace the arguments above,
            except ``vocab_size`` and ``pad_id``, which must agree with it.
        pooling: ``"cls"`` pools by the first token, ``"mean"`` by the mean of the
            valid ones.
        changes: Entries of a pretrained model's config that differ; a smaller
            ``num_hidden_layers`` keeps its first layers.

    Attributes:
        bert: The transformers model.
        spec: Plain data that `from_spec` rebuilds the encoder from.
        width: D of the output.

    Raises:
        ConfigError: If the sizes do not go together.
        EncoderLoadError: If the pretrained model cannot be loaded whole.
        TokenizerError: If it has another vocabulary.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int = 768,
        depth: int = 6,
        heads: int = 6,
        ffn: int = 1536,
        max_positions: int = 256,
        dropout: float = 0.1,
        pad_id: int = 0,
        name: str | None = None,
        pooling: Literal["cls", "mean"] = "cls",
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if name is not None:
            bert = _load(name, changes or {})
            _agree(vocab_size, pad_id, bert.config, name)
        else:
            settings = {
                "vocab_size": vocab_size,
                "hidden_size": width,
                "num_hidden_layers": depth,
                "num_attention_heads": heads,
                "intermediate_size": ffn,
                "max_position_embeddings": max_positions,
                "hidden_dropout_prob": dropout,
                "attention_probs_dropout_prob": dropout,
                "pad_token_id": pad_id,
            }
            bert = _build(settings)
        self._install(bert, pooling)

    def _install(self, bert: PreTrainedModel, pooling: str) -> None:
        if pooling not in POOLINGS:
            raise ConfigError(
                f"a pooling among {', '.join(POOLINGS)}", f"{pooling!r}", "pick one"
            )
        config: Any = bert.config
        self.bert: Any = bert
        self.pooling = pooling
        self.width = int(config.hidden_size)
        self.vocab_size = int(config.vocab_size)
        self.pad_id = int(config.pad_token_id or 0)
        self.max_positions = _positions(bert)
        self.spec: dict[str, Any] = {"pooling": pooling}
        if config.model_type == "bert":
            self.spec["bert"] = {key: getattr(config, key) for key in CONFIG_KEYS}
        else:
            self.spec["transformers"] = _plain(config)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> TextEncoder:
        """Rebuild an encoder, randomly initialised, from ``.spec``.

        Raises:
            EncoderLoadError: If the spec lacks an entry.
        """
        try:
            pooling = spec["pooling"]
            if "transformers" in spec:
                bert = _build_other(spec["transformers"])
            else:
                bert = _build({key: spec["bert"][key] for key in CONFIG_KEYS})
        except (KeyError, TypeError) as error:
            raise EncoderLoadError(
                "a text encoder spec with bert and pooling",
                f"{spec!r} ({error!r})",
                "export the encoder again",
            ) from error
        encoder = cls.__new__(cls)
        nn.Module.__init__(encoder)
        encoder._install(bert, pooling)
        return encoder

    def check_tokenizer(self, tokenizer: ReportTokenizer) -> None:
        """Refuse a tokenizer that would feed foreign ids.

        Raises:
            TokenizerError: If vocabulary size or padding id differ.
        """
        _agree(
            tokenizer.vocab_size, tokenizer.pad_id, self.bert.config, "the text encoder"
        )

    def require_bert(self) -> None:
        """Refuse a text encoder whose halves cannot be called one by one.

        Raises:
            ConfigError: If it is no BERT.
        """
        kind = self.bert.config.model_type
        if kind != "bert":
            raise ConfigError(
                "a text encoder of type bert, whose embeddings and layers are called "
                "one by one",
                f"a model of type {kind}",
                "choose a BERT as text model",
            )

    def embeddings(self, input_ids: Tensor) -> Tensor:
        """Word, position and segment embeddings, normalised, with dropout.

        Args:
            input_ids: (B, T) int64, T at most ``max_positions``.

        Returns:
            (B, T, D).

        Raises:
            ConfigError: If the texts are too long, or if it is no BERT.
        """
        self.require_bert()
        self._check_length(input_ids)
        hidden: Tensor = self.bert.embeddings(input_ids)
        return hidden

    def _check_length(self, input_ids: Tensor) -> None:
        if input_ids.shape[1] > self.max_positions:
            raise ConfigError(
                f"texts of at most {self.max_positions} tokens",
                f"{input_ids.shape[1]} tokens",
                "lower the text length, or raise the encoder's max_positions",
            )

    def layers(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        """The transformer layers.

        Args:
            hidden: (B, T, D).
            attention_mask: (B, T) bool, True = may be attended to; at least one per
                row. Masked positions are computed too.

        Returns:
            (B, T, D).
        """
        mask = attention_mask.bool()[:, None, None, :]
        encoded: Tensor = self.bert.encoder(
            hidden, attention_mask=mask
        ).last_hidden_state
        return encoded

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> EncoderOutput:
        """Encode texts.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, T) bool, True = token.

        Returns:
            pooled (B, D); tokens (B, T, D), special and padded positions included;
            grid (1, T); no levels.
        """
        if "bert" in self.spec:
            tokens = self.layers(self.embeddings(input_ids), attention_mask)
        else:
            self._check_length(input_ids)
            tokens = self.bert(
                input_ids=input_ids, attention_mask=attention_mask.long()
            ).last_hidden_state
        if self.pooling == "cls":
            pooled = tokens[:, 0]
        else:
            weights = attention_mask.to(tokens.dtype)[..., None]
            total = weights.sum(dim=1).clamp(min=1)
            pooled = (tokens * weights).sum(dim=1) / total
        return EncoderOutput(pooled, tokens, (1, tokens.shape[1]), ())


def _build(settings: Mapping[str, Any]) -> BertModel:
    from transformers import BertConfig, BertModel

    width, heads = settings["hidden_size"], settings["num_attention_heads"]
    if width % heads:
        raise ConfigError(
            f"a text width divisible by its {heads} heads",
            f"width {width}",
            f"choose heads among the divisors of {width}",
        )
    config: BertConfig = BertConfig(**settings)
    config._attn_implementation = "sdpa"
    return BertModel(config, add_pooling_layer=False)


def _plain(config: Any) -> dict[str, Any]:
    """What rebuilds a model of transformers, without names of code to be run."""
    kept = config.to_dict()
    for key in ("auto_map", "_name_or_path", "transformers_version", "dtype"):
        kept.pop(key, None)
    return dict(kept)


def _build_other(settings: Mapping[str, Any]) -> PreTrainedModel:
    from transformers import AutoConfig, AutoModel

    arguments = dict(settings)
    kind = str(arguments.pop("model_type"))
    config = AutoConfig.for_model(kind, **arguments)
    factory: Any = AutoModel
    made: PreTrainedModel = factory.from_config(config, dtype=torch.float32)
    _remove_pooler(made)
    made.train()
    return made


def _remove_pooler(model: PreTrainedModel) -> None:
    # Not asked, often not in the file, and idle weights stop distributed training.
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # type: ignore[assignment]


def _positions(model: Any) -> int:
    """Longest text in tokens; RoBERTa's kind counts positions from behind its [PAD]."""
    longest = int(getattr(model.config, "max_position_embeddings", 0) or 512)
    tables = (
        part
        for name, part in model.named_modules()
        if name.endswith("position_embeddings")
    )
    first = next((getattr(part, "padding_idx", None) for part in tables), None)
    return longest if first is None else longest - first - 1


def _load(name: str, changes: Mapping[str, Any]) -> PreTrainedModel:
    """A pretrained text encoder, in training mode, without pooler."""
    from transformers import AutoConfig, AutoModel, BertModel

    if drafts_names():
        sizes = known_config(name, changes)
        if sizes.model_type != "bert":
            return _build_other(_plain(sizes))
        return _build({key: getattr(sizes, key) for key in CONFIG_KEYS})

    place = wheel_path(name, text=True)
    try:
        config = AutoConfig.from_pretrained(place, **changes)
        bert = config.model_type == "bert"
        factory: Any = BertModel if bert else AutoModel
        extra = (
            {"add_pooling_layer": False, "attn_implementation": "sdpa"} if bert else {}
        )
        loaded: Any = factory.from_pretrained(
            place,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            **extra,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise EncoderLoadError(
            f"a pretrained text encoder at {name}",
            one_line(error),
            "give a folder with config.json and weights, or a hub name while on line",
        ) from error
    model: PreTrainedModel = loaded[0]
    _remove_pooler(model)
    missing = sorted(
        key for key in loaded[1]["missing_keys"] if not key.startswith("pooler.")
    )
    if missing:
        raise EncoderLoadError(
            f"all weights of a {config.model_type} at {name}",
            f"{len(missing)} missing ({', '.join(missing[:5])})",
            "check that the folder holds the weights of its config.json",
        )
    if not hasattr(config, "hidden_size") or getattr(config, "is_decoder", False):
        raise EncoderLoadError(
            f"an encoder of text at {name}",
            f"a {config.model_type} model",
            "choose a model such as a BERT, RoBERTa, MPNet, DistilBERT or ModernBERT",
        )
    # from_pretrained returns it in evaluation mode, without dropout.
    model.train()
    return model


def _agree(vocab_size: int, pad_id: int, config: Any, who: str) -> None:
    size, pad = int(config.vocab_size), config.pad_token_id
    # Others than BERT round their table up, so that some of its rows are no tokens.
    fits = vocab_size == size if config.model_type == "bert" else vocab_size <= size
    if not fits or pad not in (None, pad_id):
        raise TokenizerError(
            f"a tokenizer with {size} tokens and [PAD] = {pad}, as {who} has",
            f"{vocab_size} tokens and [PAD] = {pad_id}",
            "use the tokenizer that belongs to the text encoder",
        )
