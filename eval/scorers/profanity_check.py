"""alt-profanity-check, a linear model over words that works offline. It cannot see implicit harm or bias."""

from forgetfilter.models.profanity import check_pickles, profanity

from .base import Scorer, ScorerKind


def open_profanity_check() -> Scorer:
    return profanity


SCORER = ScorerKind("profanity-check", open_profanity_check, check_pickles)
