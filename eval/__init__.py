"""A model in; generations, scores and metrics out."""
