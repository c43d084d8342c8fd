"""Any text classification model, given request and answer as two paragraphs."""

from forgetfilter.models.guards.base import ClassifyingKind

GUARD = ClassifyingKind(
    "classifier",
    "",
    "{prompt}\n\n{answer}",
    above=0.5,
)
