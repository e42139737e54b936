"""What the methods that align images with reports share: fields, towers, sentences."""

from vlp_zoo.methods.paired.fields import (
    PairedBatch,
    PairedTransform,
    ReportTokens,
    SentenceBatch,
    observations,
)
from vlp_zoo.methods.text_keys import text_key

__all__ = [
    "PairedBatch",
    "PairedTransform",
    "ReportTokens",
    "SentenceBatch",
    "observations",
    "text_key",
]
