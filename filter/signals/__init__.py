"""Signals, one a file: how much of an example was forgotten."""
