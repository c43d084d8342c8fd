"""Suites, one a file: prompts, how they are scored, and the metrics."""
