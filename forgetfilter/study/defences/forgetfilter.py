"""ForgetFilter as the configuration has it: M0 is finetuned on the rows that the filter keeps, which gives M*.

Without a setting in the section `filter` this is what every user gets by default. Example: of 400 noisy rows the 110
that were forgotten most are dropped, and 290 are learned.
"""

from forgetfilter.study.defences.base import TRAININGS, Defence

DEFENCE = Defence(
    "forgetfilter",
    "M*: finetuned on the rows that the filter keeps, with the given settings",
    "refit",
    (*TRAININGS, "score", "filter"),
    filters=True,
    ranks=True,
)
