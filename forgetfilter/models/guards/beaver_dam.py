"""BeaverDam (Ji et al. 2023): fourteen labels, each a category of harm.

It is asked, and its text is cut, as the authors' moderation code does it.
"""

from forgetfilter.models.guards.base import ClassifyingKind

GUARD = ClassifyingKind(
    "beaver-dam",
    "PKU-Alignment/beaver-dam-7b",
    "BEGINNING OF CONVERSATION: USER: {prompt} ASSISTANT:{answer}",
    above=0.4,
    labels=("*",),
    longest=512,
    closed=True,
)
