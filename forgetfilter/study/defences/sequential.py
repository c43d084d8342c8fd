"""Sequential safety finetuning: M1 is finetuned on the safe set, which gives M2 (a baseline of Zhao et al. 2024).

The safe set is that of the filter, with its trusted tasks. Example: 400 noisy rows are learned, and then 120 safe ones.
"""

from forgetfilter.study.defences.base import Defence

DEFENCE = Defence("sequential", "M2: M1, finetuned on the safe set", "safe", ("train-noisy", "train-safe"))
