"""Detoxify (Hanu and Unitary 2020), trained on comments in seven languages."""

from .base import ScorerKind
from .detoxify import detoxify

SCORER = ScorerKind("detoxify-multilingual", lambda: detoxify("multilingual"))
