"""alt-profanity-check, a linear model over words that works offline. It cannot see implicit harm or bias."""

from forgetfilter.models.profanity import check_pickles, profanity

from .base import ScorerKind

SCORER = ScorerKind("profanity-check", lambda: profanity, check_pickles)
