"""What transformers is told of a batch in the place of asking the device."""

import pytest
import torch
from transformers import masking_utils

from forgetfilter.data.batches import collate
from forgetfilter.data.turns import after_prompt
from forgetfilter.models import packed_masks

CASES = [((3, 4), "row"), ((4, 2, 2), "rows"), ((4, 3), "rows"), ((4, 4), "rows")]


@pytest.mark.parametrize(("lengths", "layout"), CASES)
def test_it_is_what_transformers_finds(lengths: tuple[int, ...], layout: str) -> None:
    # Several examples in a row, an empty end of a row, and rows of one example each, which need no mask. Of what is no
    # batch of ours transformers finds it as ever.
    batch = collate([after_prompt([1] * length, 1) for length in lengths], range(len(lengths)), layout, 0)
    packed_masks.install()
    look = masking_utils.find_packed_sequence_indices
    wanted = look(batch["position_ids"])
    try:
        packed_masks.tell(batch["packed"])
        found = look(batch["position_ids"])
    finally:
        packed_masks.tell(None)
    assert batch["packed"] == (wanted is not None)
    assert (found is None and wanted is None) or torch.equal(found, wanted)
