"""Mixtures of published benchmarks: noisy, safe and held-out sets for experiments."""
