"""A file of records as unit vectors of a sentence encoder, for the distances to the safe set."""

from pathlib import Path

import numpy as np
import torch

from forgetfilter.data.batches import plan_scoring
from forgetfilter.data.records import RecordBlocks
from forgetfilter.models.sentence_encoder import Encoder
from forgetfilter.score.distances import Vectors

BATCH_CHARACTERS = 20_000


def vectors(encoder: Encoder, data: Path, step_rows: int) -> Vectors:
    """A file of records for score/distances.py: all messages of a row are one text, and a step has `step_rows` rows."""
    blocks = RecordBlocks.of(data, step_rows)

    def unit(step: int) -> tuple[list[str], torch.Tensor]:
        records = blocks[step]
        texts = [" ".join(message["content"] for message in record.messages) for record in records]
        plan = plan_scoring(np.array([len(text) for text in texts], dtype=np.int64), BATCH_CHARACTERS)
        found = torch.cat([encoder.unit([texts[row] for row in rows]) for rows in plan])
        order = np.concatenate(plan)
        return [records[row].id for row in order], found

    return Vectors(len(blocks), unit)
