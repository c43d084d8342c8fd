"""Llama Guard (Inan et al. 2023): the first line is safe or unsafe, the second one the violated categories."""

from forgetfilter.models.guards.base import WritingKind

GUARD = WritingKind(
    "llama-guard",
    "meta-llama/Llama-Guard-3-8B",
    "",
    r"\s*(unsafe|safe)\b",
    ("unsafe", "safe"),
    8,
)
