"""Renders messages as the one text that the model reads, by the chat template, and tells which parts of it are
learned.

A template may leave a turn out, or cut it, without a word (many pass over a system turn, some over all but the last
question), and the model would then learn, and be asked, something else than the rows say. So the text must hold each
turn of the prompt, and the answer that is learned. Blanks are ignored, since templates trim.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forgetfilter.data.records import Learn, Message, learned_places
from forgetfilter.data.values import LONGEST
from forgetfilter.errors import UserError, plain_label, reason
from forgetfilter.process.time_limit import time_limit

KEY = "model.chat_template"
MEND = "give one that keeps every turn whole, or take the row out"
THOUGHT = "</think>"  # ends the reasoning before an answer, which templates rightly leave out of earlier turns
STAND_IN = "Answer4f2a"  # stands for an answer, to show what a template writes after it
LONGEST_RENDERING = 20.0  # seconds; a template takes a millisecond, and one that loops for ever has no other end


@dataclass(frozen=True)
class Rendered:
    """An example as one text, as the model reads it."""

    text: str
    spans: list[tuple[int, int]]
    """The characters of each answer that is learned, with its end token where the template writes one: the first of
    them, and the one behind the last. All other text is context."""
    ends: bool
    """Whether the text ends with its end token; otherwise the tokenizer's EOS follows it."""
    plain: bool
    """Whether no chat template made it, so that the tokenizer puts its own first token (BOS) before it."""


def with_instructions(turns: Sequence[Message], system: str, cue: str) -> list[Message]:
    """The turns that an evaluation asks: `cue` is put behind the last of them, and `system` takes the place of a system
    turn, each where it is not empty. None for texts that stand alone."""
    asked: list[Message] = [dict(turn) for turn in turns]
    if asked and cue:
        asked[-1]["content"] += f"\n\n{cue}"
    if asked and system:
        asked = [{"role": "system", "content": system}, *(turn for turn in asked if turn["role"] != "system")]
    return asked


def render(tokenizer: Any, messages: list[Message], learn: Learn = "last") -> Rendered:
    """The whole example up to where the model has to stop. What is learned of a turn begins where generation would.

    An answer ends where the template's own text after it begins, never where the answer itself mentions an end token.
    That text is what follows a stand-in for the answer. Its first special token (`<|im_end|>`, `<|eot_id|>`, `</s>`,
    ...) ends the turn and is learned; where it has none, EOS is. Plain text (one assistant message) has no prompt and
    no template. Without a chat template the turns are joined by blank lines.
    """
    prompt, answer = messages[:-1], messages[-1]["content"]
    earlier = learned_places(messages, learn)[:-1]
    if not prompt or not tokenizer.chat_template:
        text = prompt_text(tokenizer, prompt) if prompt else ""
        spans = [_span_without_template(tokenizer, messages, place) for place in earlier]
        return Rendered(text + answer, [*spans, (len(text), len(text + answer))], ends=False, plain=True)
    text = _apply(tokenizer, prompt, add_generation_prompt=True)
    _, after = _around_the_answer(tokenizer, prompt, text)
    check_turns(text, prompt)
    whole = _apply(tokenizer, messages)
    if not whole.startswith(text):
        raise UserError(f"{KEY}: it renders the prompt otherwise once the answer follows")
    if not whole.endswith(after):
        raise UserError(f"{KEY}: what follows an answer depends on the answer, so where it ends cannot be told")
    body = whole[: len(whole) - len(after)]
    check_answer(body[len(text) :], answer)
    end = _first_special(tokenizer, after)
    closing = after[: after.index(end) + len(end)] if end else ""
    spans = [_span(tokenizer, messages, place, whole, closing) for place in earlier]
    text_of_all = body + (closing or after.rstrip())
    return Rendered(text_of_all, [*spans, (len(text), len(text_of_all))], ends=bool(end), plain=False)


def _span(tokenizer: Any, messages: list[Message], place: int, whole: str, closing: str) -> tuple[int, int]:
    """The characters of an earlier answer in the whole text, with `closing`, which ends the last one, where it follows.

    They are what changes with the answer, and what the template writes between the prompt so far and them. UserError
    where the whole text does not begin with that prompt, or changes elsewhere too.
    """
    so_far = _apply(tokenizer, messages[:place], add_generation_prompt=True) if place else ""
    stand_in: Message = {"role": "assistant", "content": STAND_IN}
    changed = _apply(tokenizer, [*messages[:place], stand_in, *messages[place + 1 :]])
    before, _, after = changed[len(so_far) :].partition(STAND_IN)
    start = len(so_far) if place else len(before)
    end = len(whole) - len(after)
    if not changed.startswith(so_far) or changed[: len(changed) - len(after)] != so_far + before + STAND_IN:
        raise UserError(f"{KEY}: it renders what comes before {_told(messages, place)}")
    if not whole.startswith(so_far + before) or not whole.endswith(after) or end < start:
        raise UserError(f"{KEY}: it renders other parts otherwise with {_told(messages, place)}")
    check_answer(whole[start:end], messages[place]["content"].rpartition(THOUGHT)[2])
    return start, end + len(closing) * after.startswith(closing)


def _told(messages: list[Message], place: int) -> str:
    return (
        f"message {place + 1} of {len(messages)}, an answer, so its tokens cannot be told from the others; "
        "data.learn=last learns the last answer alone"
    )


def _span_without_template(tokenizer: Any, messages: list[Message], place: int) -> tuple[int, int]:
    start = len(prompt_text(tokenizer, messages[:place]))
    return start, start + len(messages[place]["content"])


def _around_the_answer(tokenizer: Any, prompt: list[Message], text: str) -> tuple[str, str]:
    """What the template writes before and after an answer to this prompt. UserError where it leaves the answer out."""
    whole = _apply(tokenizer, [*prompt, {"role": "assistant", "content": STAND_IN}])
    if not whole.startswith(text):
        raise UserError(f"{KEY}: it renders the prompt otherwise once the answer follows")
    before, found, after = whole[len(text) :].rpartition(STAND_IN)
    if not found:
        raise UserError(f"{KEY}: it leaves out the answer, so nothing could be learned")
    return before, after


def _first_special(tokenizer: Any, text: str) -> str | None:
    """The special token that comes first in a text."""
    found = [(text.index(token), -len(token), token) for token in _special_tokens(tokenizer) if token in text]
    return min(found)[-1] if found else None


@functools.lru_cache(maxsize=8)
def _special_tokens(tokenizer: Any) -> frozenset[str]:
    return frozenset(str(token) for token in tokenizer.added_tokens_decoder.values() if token.special and str(token))


def learned_end(tokenizer: Any) -> int:
    """The token with which a chat's answers end, and which is learned: the template's end of turn, else EOS."""
    _, after = _around_any_answer(tokenizer)
    end = _first_special(tokenizer, after)
    return int(tokenizer.eos_token_id if end is None else tokenizer.convert_tokens_to_ids(end))


def learned_opening(tokenizer: Any) -> str:
    """What the template writes before every answer, and is learned with it, but for special tokens: Llama 2's blank,
    Qwen 3's empty thought, the name of gpt-oss's channel."""
    before, _ = _around_any_answer(tokenizer)
    for token in _special_tokens(tokenizer):
        before = before.replace(token, "")
    return before


def _around_any_answer(tokenizer: Any) -> tuple[str, str]:
    """Like `_around_the_answer`, for a plain question; two empty texts without a template."""
    if not tokenizer.chat_template:
        return "", ""
    prompt: list[Message] = [{"role": "user", "content": "a"}]
    return _around_the_answer(tokenizer, prompt, prompt_text(tokenizer, prompt))


def check_template(tokenizer: Any, system_prompt: str) -> None:
    """Raises UserError where the template refuses a question with its answer, or the evaluation's system prompt."""
    chat: list[Message] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    render(tokenizer, chat)
    if system_prompt:
        asked: list[Message] = [{"role": "system", "content": system_prompt}, *chat[:1]]
        try:
            text = prompt_text(tokenizer, asked)
        except UserError as error:
            raise UserError(f"eval.system_prompt: the model's chat template does not take it ({error})") from error
        if not holds_system(text, asked):
            raise UserError("eval.system_prompt: the model's chat template leaves it out, so it would change nothing")


def prompt_text(tokenizer: Any, prompt: list[Message]) -> str:
    """The text that the model is to continue. Raises UserError where the template leaves out a turn other than
    system."""
    if not tokenizer.chat_template:
        return "".join(message["content"] + "\n\n" for message in prompt)
    text = _apply(tokenizer, prompt, add_generation_prompt=True)
    check_turns(text, prompt)
    return text


def _apply(tokenizer: Any, messages: list[Message], **options: bool) -> str:
    try:
        text = templated(tokenizer, messages, **options)
    except Exception as error:  # a Jinja template may raise anything
        raise UserError(f"{KEY}: it fails ({reason(error)})") from error
    if len(text) > 2 * LONGEST:
        raise UserError(f"{KEY}: it makes {len(text)} characters of a row, at most {2 * LONGEST} can be learned")
    return text


def templated(tokenizer: Any, messages: Sequence[Mapping[str, Any]], **options: bool) -> str:
    """What a chat template makes of messages. It runs in transformers' sandbox, which gives it no file and no attribute
    that Python hides, and at most for `LONGEST_RENDERING`. It may raise anything."""
    with time_limit(LONGEST_RENDERING):
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))


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
