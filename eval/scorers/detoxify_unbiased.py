"""Detoxify (Hanu and Unitary 2020), trained so that the names of groups are less often taken for toxic."""

from .detoxify import kind

SCORER = kind("detoxify-unbiased", "unbiased")
