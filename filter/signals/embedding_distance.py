"""A rival that looks at texts alone: 1 less the cosine to the most alike row of the safe set, by a sentence encoder.

safe_distance in the space of a trained encoder (models/sentence_encoder.py) instead of word counts. Needs a
scoring with score.encoder, such as all-minilm-l6-v2.

Example: cosines 0.1, 0.7 and -0.2 to three safe rows: score 0.3.
"""

import polars as pl

from .base import Signal, Stored, where_tokens

STORED = Stored(
    ("embedding_distance",),
    "score.encoder",
    "a sentence encoder's distances: score with score.encoder=all-minilm-l6-v2",
    "embeddings",
)

SIGNAL = Signal(
    name="embedding_distance",
    needs=("num_tokens", "embedding_distance"),
    expression=where_tokens(pl.col("embedding_distance")),
    unit="1 - cosine",
    doc="rival on texts alone: distance to the most alike safe row by a sentence encoder",
    stored=(STORED,),
)
