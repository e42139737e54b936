"""What a language model is asked about a report, and its answer made one line."""

from __future__ import annotations

__all__ = ["PROMPT", "tidy"]

PROMPT = """You read radiology reports. List what the report below says about \
findings, and nothing else.

Rules:
- One short sentence for each finding, in one of three forms:
  "There is FINDING." if the report says it is present,
  "There may be FINDING." if the report is uncertain,
  "There is no FINDING." if the report says it is absent.
- FINDING is a plain term such as "pleural effusion", with size and side where the \
report gives them ("small left pleural effusion").
- Present findings first, then uncertain, then absent ones. Each finding once.
- Do not infer, advise or compare. If the report names no finding, answer "There is \
no finding."

Report:
{report}

Answer:"""
"""What a language model is asked; ``{report}`` stands for the text."""


def tidy(answer: str) -> str:
    """A model's answer on one line, without list marks."""
    lines = (line.strip().lstrip("-*• ").strip() for line in answer.splitlines())
    return " ".join(line for line in lines if line)
