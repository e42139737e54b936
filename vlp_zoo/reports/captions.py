"""Captions from labels: the words of an image, how they are spelt and described.

Words come from what a data set knows of an image: FLAIR's own lists of categories and
attributes, keywords, labels that are true, grades of macular edema, masks. Where a data
set has nothing but reports, a report is the word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from vlp_zoo.errors import ConfigError
from vlp_zoo.files import configs_folder
from vlp_zoo.types import StudySource

__all__ = ["Lexicon", "Words", "fill", "read_descriptions"]

EDEMA = {
    0: "no referable diabetic macular edema",
    1: "non clinically significant diabetic macular edema",
    2: "diabetic macular edema",
}
"""IDRiD's risk of macular edema in words."""


class Words(NamedTuple):
    """What is said of one image."""

    categories: tuple[str, ...]
    attributes: tuple[str, ...] = ()
    source: str = ""


def fill(template: str, attribute: str, category: str) -> str:
    """A caption from a template.

    Example:
        >>> fill("A [ATR] fundus photograph of [CLS]", "", "drusen")
        'A fundus photograph of drusen'
    """
    filled = template.replace("[ATR]", attribute).replace("[CLS]", category)
    return filled.replace("  ", " ")


def read_descriptions(
    name: str,
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Sentences by category, and the word that stands for each folded other.

    Args:
        name: A packaged file (``fundus``), ``none``, or a YAML file with lists under
            ``descriptions`` and ``aliases``.

    Raises:
        ConfigError: If the file cannot be read, or holds something else.
    """
    if name == "none":
        return {}, {}
    path = Path(name)
    if not path.suffix:
        path = configs_folder() / "descriptions" / f"{name}.yaml"
    try:
        tables = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"descriptions of categories in {path}",
            f"{type(error).__name__}: {' '.join(str(error).split())}",
            "give fundus, none, or a YAML file like configs/descriptions/fundus.yaml",
        ) from error
    tables = tables if isinstance(tables, dict) else {"": tables}
    known: dict[str, Any] = {"descriptions": {}, "aliases": {}} | tables
    lists = [
        each
        for table in known.values()
        for each in (table.values() if isinstance(table, dict) else [table])
    ]
    if len(known) > 2 or not all(
        isinstance(each, list) and all(isinstance(text, str) for text in each)
        for each in lists
    ):
        raise ConfigError(
            f"lists of sentences under descriptions, of words under aliases, in {path}",
            f"{str(tables)[:80]}",
            "write 'descriptions: {drusen: [yellow deposits]}'",
        )
    texts, others = known["descriptions"], known["aliases"]
    aliases = {_folded(word): word for word in texts}
    for word, same in others.items():
        aliases |= {_folded(other): word for other in (word, *same)}
    return texts, aliases


def _folded(word: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", word.lower()))


@dataclass(frozen=True)
class Lexicon:
    """What becomes of words; picklable, for the workers.

    Args:
        template: Caption; [ATR] and [CLS] become an attribute and a category.
        label_names: Names of the label columns, in order.
        descriptions: Sentences that may take the place of a category.
        aliases: The word that stands for another, by the folded one; "" for words that
            say nothing of the eye. None leaves words as they are.
        banned: Words of categories that are to stay unseen.
        ban_parts: A category is banned that contains one anywhere; else if it affirms
            one as a whole word.
        free_text: Sources whose words are never described.
    """

    template: str
    label_names: tuple[str, ...] = ()
    descriptions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    aliases: Mapping[str, str] | None = None
    banned: Sequence[str] = ()
    ban_parts: bool = False
    free_text: Sequence[str] = ()

    def spelt(self, words: Iterable[str]) -> tuple[str, ...]:
        """Words as they are written here, each once."""
        if self.aliases is None:
            return tuple(words)
        named = (self.aliases.get(folded := _folded(w), folded) for w in words)
        return tuple(dict.fromkeys(word for word in named if word))

    def words(
        self,
        facts: Mapping[str, Any],
        labels: Sequence[float],
        masks: Iterable[str] = (),
        report: str = "",
    ) -> Words:
        """The words of one image.

        Args:
            facts: What else the source knows.
            labels: (K,) in the order of the label names.
            masks: Names of lesions with a mask.
            report: What stands for the word where the source has neither lists nor
                labels.
        """
        attributes = self.spelt(facts.get("attributes", ()))
        source = str(facts.get("source", "odir" if "patient_labels" in facts else ""))
        listed = facts.get("categories", facts.get("keywords"))
        if listed is None and not self.label_names:
            return Words((report,) if report else (), attributes, source)
        if listed is None:
            pairs = list(zip(self.label_names, labels, strict=True))
            listed = [name for name, value in pairs if value == 1]
            if len(pairs) == 1 and pairs[0][1] == 0:
                listed = [f"no {pairs[0][0]}"]
            if facts.get("part") == "grading":  # IDRiD's
                listed += [
                    EDEMA[r] for r in (facts.get("macular_edema"),) if r in EDEMA
                ]
            listed = listed or list(masks)
        return Words(self.spelt(listed), attributes, source)

    def described(self, caption: str, category: str, source: str) -> list[str]:
        """The captions that one may become: with the category or a description of it."""
        if category not in self.descriptions or source in self.free_text:
            return [caption]
        texts = (category, *self.descriptions[category])
        return [caption.replace(category, text) for text in texts]

    def caption(self, words: Words, rng: np.random.Generator) -> tuple[str, str, str]:
        """Draw an attribute, a category and a description.

        Returns:
            The caption, the category ("" if there is none), and the caption without a
            description.
        """
        attribute = str(rng.choice(words.attributes)) if words.attributes else ""
        category = str(rng.choice(words.categories)) if words.categories else ""
        plain = fill(self.template, attribute, category)
        choices = self.described(plain, category, words.source)
        return choices[int(rng.integers(len(choices)))], category, plain

    def is_banned(self, words: Words) -> bool:
        """Whether an image shows what is to stay unseen."""
        if self.ban_parts:
            return any(part in c for c in words.categories for part in self.banned)
        return any(
            re.search(rf"\b{re.escape(part)}\b", category, re.IGNORECASE)
            for category in words.categories
            for part in self.banned
            if not re.match(r"no\b", category, re.IGNORECASE)
        )

    def all_words(self, source: StudySource) -> list[Words]:
        """Words of all images of a source, none decoded."""
        facts_of: Any = getattr(source, "facts_of", lambda index: {})
        masks_of: Any = getattr(source, "mask_names", lambda index: ())
        reports: Iterable[Any] = [None] * len(source)
        if not self.label_names:
            reports = source.reports()
        return [
            self.words(
                facts_of(i), row, masks_of(i), report.body if report is not None else ""
            )
            for i, (row, report) in enumerate(zip(source.labels, reports, strict=True))
        ]
