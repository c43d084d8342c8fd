"""Whether a chat template keeps what it is given: each turn of the prompt, and the answer that is learned.

A template may leave a turn out, or cut it, without a word (many pass over a system turn, some over all but the last
question), and the model would then learn, and be asked, something else than the rows say. Blanks are ignored, since
templates trim.
"""

from collections.abc import Sequence

from forgetfilter.data.records import Message
from forgetfilter.errors import UserError, plain_label

KEY = "model.chat_template"
MEND = "give one that keeps every turn whole, or take the row out"
THOUGHT = "</think>"  # ends the reasoning before an answer, which templates rightly leave out of earlier turns


def check_turns(text: str, prompt: Sequence[Message]) -> None:
    """Raises UserError for the first turn of user or assistant that the rendered prompt lacks, or has out of order."""
    bare, place = _bare(text), 0
    for message in prompt:
        role, content = message["role"], message["content"]
        if role == "system":  # see holds_system: what the template leaves out is counted and told where data are read
            continue
        wanted = _bare(content.rpartition(THOUGHT)[2] if role == "assistant" else content)
        found = bare.find(wanted, place)
        if found < 0:
            raise UserError(f"{KEY}: it leaves out or changes a turn of the {role} ({plain_label(content)!r}): {MEND}")
        place = found + len(wanted)


def check_answer(text: str, answer: str) -> None:
    """Raises UserError where the rendered text does not hold the whole answer."""
    if _bare(answer) not in _bare(text):
        raise UserError(f"{KEY}: it leaves out or changes a part of the answer ({plain_label(answer)!r}): {MEND}")


def holds_system(text: str, prompt: Sequence[Message]) -> bool:
    """Whether the rendered prompt holds its system turns; true without one."""
    bare = _bare(text)
    return all(_bare(message["content"]) in bare for message in prompt if message["role"] == "system")


def _bare(text: str) -> str:
    return "".join(text.split())
