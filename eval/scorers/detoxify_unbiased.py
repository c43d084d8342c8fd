"""Detoxify (Hanu and Unitary 2020), trained so that the names of groups are less often taken for toxic."""

from .base import ScorerKind
from .detoxify import detoxify

SCORER = ScorerKind("detoxify-unbiased", lambda: detoxify("unbiased"))
