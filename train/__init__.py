"""Data in, model or adapter out; the per-example loss hook."""
