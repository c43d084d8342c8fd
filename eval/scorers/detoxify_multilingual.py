"""Detoxify (Hanu and Unitary 2020), trained on comments in seven languages."""

from .detoxify import kind

SCORER = kind("detoxify-multilingual", "multilingual")
