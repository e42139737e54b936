"""Distilled contexts: what a report says, in plain entity sentences.

ECAMP (arXiv 2312.13316) inserts into a report a summary of its entities that a large
language model wrote: "There is X. There may be X. There is no X." The authors'
summaries and their prompt are not public for everyone to use, so a source of
contexts is a choice: rules (the default, instant), a side file, a local language
model, or a chat endpoint (`vlp_zoo.reports.contexts.endpoint`). The prompt is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from vlp_zoo.errors import ConfigError, DatasetNotFoundError, ReportSourceError
from vlp_zoo.reading import parse_json, read_table, read_text
from vlp_zoo.reports.annotate import Entity, annotate
from vlp_zoo.reports.contexts.prompt import PROMPT, tidy
from vlp_zoo.reports.words.lexicon import DEVICES, NO_FINDING

__all__ = [
    "ContextSource",
    "CsvContext",
    "HFContext",
    "RuleContext",
    "context_source",
    "distil",
    "read_contexts",
]


_PLAIN = {"spine degenerative": "degenerative spine change", DEVICES: "support device"}
_WORDINGS: dict[str, dict[str, str]] = {
    "lung lesion": {"nodul": "nodule", "mass": "mass"},
    "lung opacity": {"infiltrat": "infiltrate"},
    "fibrosis or scar": {"fibro": "fibrosis", "": "scar"},
    "emphysema": {"copd": "copd", "obstructive": "copd"},
}
"""Where one finding covers several words, the plain one that the report used."""

_FORMS = {
    "present": "There is {}.",
    "uncertain": "There may be {}.",
    "absent": "There is no {}.",
}


def _phrase(entity: Entity) -> str:
    """The finding with severity and side, "small left pleural effusion"."""
    name = _PLAIN.get(entity.finding, entity.finding)
    said = entity.text.lower()
    wordings = _WORDINGS.get(entity.finding, {})
    name = next((plain for part, plain in wordings.items() if part in said), name)
    if entity.status == "absent":
        return name
    return " ".join(word for word in (entity.severity, entity.side, name) if word)


def distil(text: str) -> str:
    """Entity sentences of a report, by rule.

    Positive findings first, then uncertain, then negative ones. A finding stated
    twice is told once, in the wording that says most; one that is present somewhere
    is not denied elsewhere.

    Args:
        text: Findings and impression.

    Returns:
        The sentences in one line; "" where no finding is named.

    >>> distil("No pneumothorax. Small left effusion, likely with atelectasis.")
    'There is small left pleural effusion. There may be left \
atelectasis. There is no pneumothorax.'
    """
    best: dict[str, Entity] = {}
    rank = {"present": 2, "uncertain": 1, "absent": 0}
    for entity in annotate(text):
        # Blanket statements would fill the context with what nobody looked at; a
        # device that was removed says nothing about this image.
        if entity.implied or entity.finding == NO_FINDING:
            continue
        if entity.finding == DEVICES and entity.status == "absent":
            continue
        old = best.get(entity.finding)
        value = (rank[entity.status], len(_phrase(entity)))
        if old is None or value > (rank[old.status], len(_phrase(old))):
            best[entity.finding] = entity
    return " ".join(
        form.format(_phrase(entity))
        for status, form in _FORMS.items()
        for entity in best.values()
        if entity.status == status
    )


@runtime_checkable
class ContextSource(Protocol):
    """Makes contexts for reports, several at a time."""

    name: str
    batch_size: int
    """How many reports one call should get."""

    def contexts(
        self, uids: Sequence[str], reports: Sequence[str]
    ) -> list[str | ReportSourceError]:
        """One context, or the reason there is none, for each report in order."""
        ...


class RuleContext:
    """`distil` as a source."""

    name = "rules"
    batch_size = 256

    def contexts(
        self, uids: Sequence[str], reports: Sequence[str]
    ) -> list[str | ReportSourceError]:
        """See `ContextSource.contexts`."""
        return [distil(report) for report in reports]


def read_contexts(path: Path) -> dict[str, str]:
    """Contexts of a side file by uid.

    Args:
        path: A CSV with the columns ``img_path`` (or ``uid``) and ``llm_output`` (or
            ``context``), as the ECAMP authors' file has them, or JSON lines with
            ``uid`` and ``context``.

    Raises:
        DatasetNotFoundError: If the file or a column is missing.
        ReportSourceError: If a line is no JSON object.
    """
    if not path.is_file():
        raise DatasetNotFoundError(
            f"a file of contexts: {path}", "no such file", "check the path"
        )
    if path.suffix in (".jsonl", ".ndjson"):
        return dict(_json_lines(path))
    table = read_table(path)
    fields = [str(name) for name in table.columns]
    key = next((name for name in ("img_path", "uid") if name in fields), None)
    value = next((name for name in ("llm_output", "context") if name in fields), None)
    if key is None or value is None:
        raise DatasetNotFoundError(
            f"columns img_path (or uid) and llm_output (or context) in {path}",
            f"the columns {', '.join(fields) or '(none)'}",
            "rename the columns or give a JSON-lines file of uid and context",
        )
    return dict(zip(table[key], table[value], strict=True))


def _json_lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            uid, context = str(row["uid"]), row["context"]
            context.encode()
            yield uid, context
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReportSourceError(
                f"an object with uid and context in line {number} of {path}",
                ascii(line.strip()[:80]),
                "repair or delete that line",
            ) from error


class CsvContext:
    """Contexts that somebody made before, from a file; see `read_contexts`.

    Args:
        path: CSV or JSON lines.
    """

    batch_size = 1024

    def __init__(self, path: str | Path) -> None:
        self.name = f"csv:{path}"
        self._by_uid = read_contexts(Path(path))

    def contexts(
        self, uids: Sequence[str], reports: Sequence[str]
    ) -> list[str | ReportSourceError]:
        """See `ContextSource.contexts`."""
        return [
            self._by_uid[uid]
            if uid in self._by_uid
            else ReportSourceError(
                f"a context for {uid!r}", f"none in {self.name}", "check the uids"
            )
            for uid in uids
        ]


class HFContext:
    """A local Hugging Face causal language model, greedy, in batches.

    Args:
        path: Folder (or cached name) of the model and its tokenizer.
        batch_size: Reports per forward pass.
        max_new_tokens: Longest answer.
        device: Torch device; the first GPU where there is one by default.

    Raises:
        ReportSourceError: If the model cannot be loaded.
    """

    def __init__(
        self,
        path: str | Path,
        batch_size: int = 8,
        max_new_tokens: int = 192,
        device: str | None = None,
    ) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.name = f"hf:{path}"
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(path, padding_side="left")
            model: Any = AutoModelForCausalLM.from_pretrained(path)
        except (OSError, ValueError) as error:
            raise ReportSourceError(
                f"a causal language model and its tokenizer at {path}",
                str(error).splitlines()[0],
                "give the folder of a downloaded Hugging Face model",
            ) from error
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or "[PAD]"
        self._tokenizer, self._model = tokenizer, model.to(self._device).eval()

    def contexts(
        self, uids: Sequence[str], reports: Sequence[str]
    ) -> list[str | ReportSourceError]:
        """See `ContextSource.contexts`."""
        import torch

        prompts = [self._prompt(report) for report in reports]
        encoded = self._tokenizer(prompts, return_tensors="pt", padding=True)
        inputs = {
            name: encoded[name].to(self._device)
            for name in ("input_ids", "attention_mask")
        }
        with torch.inference_mode():
            output = self._model.generate(
                **inputs,
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                pad_token_id=self._tokenizer.pad_token_id,
            )
        answers = self._tokenizer.batch_decode(
            output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return [tidy(answer) for answer in answers]

    def _prompt(self, report: str) -> str:
        prompt = PROMPT.format(report=report)
        if not getattr(self._tokenizer, "chat_template", None):
            return prompt
        turn = [{"role": "user", "content": prompt}]
        fill = self._tokenizer.apply_chat_template
        return str(fill(turn, tokenize=False, add_generation_prompt=True))


def context_source(
    spec: str, model: str | None = None, **options: Any
) -> ContextSource:
    """The source that a command-line word stands for.

    Args:
        spec: ``rules``, ``csv:FILE``, ``hf:PATH`` or an http(s) URL of an
            OpenAI-compatible chat endpoint.
        model: Model name for an endpoint.
        **options: For `vlp_zoo.reports.contexts.endpoint.EndpointContext`.

    Raises:
        ConfigError: If the word is none of these, or an endpoint has no model.
    """
    kind, _, rest = spec.partition(":")
    if spec == "rules":
        return RuleContext()
    if kind == "csv" and rest:
        return CsvContext(rest)
    if kind == "hf" and rest:
        return HFContext(rest)
    if kind in ("http", "https"):
        if not model:
            raise ConfigError(
                f"a model name for the endpoint {spec}", "none", "add --model NAME"
            )
        from vlp_zoo.reports.contexts.endpoint import EndpointContext

        return EndpointContext(spec, model, **options)
    raise ConfigError(
        f"a source of contexts called {spec!r}",
        "neither rules, csv:FILE, hf:PATH nor an http(s) URL",
        "for example --source rules",
    )
