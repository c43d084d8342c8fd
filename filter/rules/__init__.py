"""Rules, one a file: which of the forgotten examples are dropped."""
