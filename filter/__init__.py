"""Two sets of signals in, kept and dropped out."""
