"""The evaluation of a model: it reads a model and prompts, and writes generations, scores and metrics."""
