"""The filter: it reads two sets of signals and writes which examples are kept and dropped."""
