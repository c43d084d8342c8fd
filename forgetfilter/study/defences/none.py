"""No defence: the released model is finetuned on all of the noisy data, which gives M1.

Example: of 400 rows 120 are unsafe, and all 400 are learned.
"""

from forgetfilter.study.defences.base import Defence

DEFENCE = Defence("none", "M1: finetuned on all noisy rows", "noisy", ("train-noisy",))
