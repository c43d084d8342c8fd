"""Detoxify (Hanu and Unitary 2020), trained so that it less often takes the names of groups for toxic."""

from .detoxify import kind

SCORER = kind("detoxify-unbiased", "unbiased")
