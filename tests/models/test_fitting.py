from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from forgetfilter.errors import UserError
from forgetfilter.models.fitting import MOST, SAFE, answers_at_once, fitting_tokens, note_tokens, noted_tokens


class Card:
    """A memory in which a pass takes `base` bytes, and `each` for each token."""

    def __init__(self, memory: int, base: int, each: int, width: int):
        self.memory, self.base, self.each, self.width = memory, base, each, width

    def free(self) -> int:
        return self.memory

    def cost(self, rows: int) -> int:
        taken = self.base + self.each * rows * self.width
        if taken > self.memory:
            raise torch.OutOfMemoryError("full")
        return taken

    def tokens(self) -> int:
        return fitting_tokens(self.cost, self.free, self.width)


@pytest.mark.parametrize("width", [1, 100, 1024, 5000])
def test_nine_tenths_of_the_memory_are_used(width: int) -> None:
    # The batch fills nine tenths of the memory to within one row of any width, and the memory that a pass always takes
    # does not count as tokens.
    card = Card(200_000_000, 1_000_000, 10_000, width)
    wanted = (SAFE * card.memory - card.base) / card.each
    assert wanted - width <= card.tokens() <= wanted


def test_the_most_is_not_exceeded() -> None:
    # However large the memory is, a batch has at most MOST tokens, but for a single longer row, which goes alone.
    assert Card(10**15, 0, 1, 100).tokens() in range(MOST - 100, MOST + 1)
    assert Card(10**15, 0, 1, 2 * MOST).tokens() == 2 * MOST


def test_a_small_memory_is_probed_with_fewer_rows() -> None:
    # If the first probes do not fit, smaller ones find the tokens that do.
    assert Card(500, 0, 1, 100).tokens() in (400, 500)
    assert Card(150, 0, 1, 100).tokens() == 100


def test_a_memory_without_room_for_one_row_names_the_setting() -> None:
    # One line names the setting if not even one row fits.
    with pytest.raises(UserError, match=r"does not hold one row of 100 tokens: lower data.max_length"):
        Card(99, 0, 1, 100).tokens()


def test_answers_share_four_tenths_of_a_card(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With 2 layers of 2 heads for keys and for values, 8 wide, in 16 bits a token takes 128 bytes, of which four tenths
    # of the card are filled; on a CPU there are 32 answers at once, and a number in the config is taken as it is.
    card = SimpleNamespace(total_memory=1_000_000)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    gpu = torch.device("cuda")
    assert answers_at_once("auto", tiny_model, 100, gpu) == 400_000 // 12_800
    assert answers_at_once("auto", tiny_model, 10**6, gpu) == 1
    card.total_memory = 10**12
    assert answers_at_once("auto", tiny_model, 100, gpu) == 512
    assert answers_at_once("auto", tiny_model, 100, torch.device("cpu")) == 32
    assert answers_at_once(7, tiny_model, 100, gpu) == 7


def test_what_auto_stands_for_is_noted_once(tmp_path: Path) -> None:
    # A number in the config is taken as it is; auto is the default until a number is noted, and then that number.
    note = tmp_path / "note.json"
    assert (noted_tokens(7, 9, note), noted_tokens("auto", 9, note)) == (7, 9)
    assert note_tokens(note, 5) == 5
    assert (noted_tokens(7, 9, note), noted_tokens("auto", 9, note)) == (7, 5)
