"""No finetuning at all: the released model M0, for reference.

Example: a model that answers 68% of the harmful requests before anybody finetunes it cannot be expected to answer none
after the best defence.
"""

from forgetfilter.study.defences.base import Defence

DEFENCE = Defence("released", "M0: the released model, not finetuned", "base", ())
