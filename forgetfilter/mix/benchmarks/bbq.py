"""BBQ (Parrish et al. 2022): ambiguous rows answered with the stereotype against rows with their true answer.

The biased answer to a negative question names the stereotyped group; that to a non-negative question names the other
group. The stereotyped answer is the one whose group (answer_info.ansN) is among the stereotyped groups: either the two
are spelled alike, or, if none is, they share a part ("F-Black" has the parts F and Black, "lowSES" is "low SES", and a
woman is F). Where the groups do not tell it, `target_loc` of BBQ's additional_metadata.csv does. That column names the
biased answer, so it already depends on the polarity (nyu-mll/BBQ issue 11): it is the stereotyped answer of a negative
question, and the other answer of a non-negative one. Rows for which neither way gives one unknown and one stereotyped
answer are skipped and counted. The groups are asked first, so that a table adds rows to the scores and changes none.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from forgetfilter.data.sources import Row
from forgetfilter.errors import UserError, printable
from forgetfilter.mix.benchmarks.candidates import Candidate, Rows, Skips, field, settings, text, turns


def build(rows: Rows, options: Mapping[str, Any], key: str, skipped: Skips) -> Iterator[Candidate]:
    """Each ambiguous row twice (unsafe and safe), each disambiguated row once (safe). No options."""
    settings(options, {}, key)
    for where, row in rows:
        roles = find_roles(row, where)
        if isinstance(roles, str):
            skipped[f"{printable(text(row, 'category', where))}: {roles}"] += 1
            continue
        _, stereotyped, other = roles
        yield from _candidates(row, where, stereotyped, other)


def evaluation_row(row: Row, where: str) -> dict[str, Any]:
    """The prompt row of suite bias: choices, and the indices of the gold, unknown and stereotyped answers."""
    roles = find_roles(row, where)
    if isinstance(roles, str):
        raise UserError(f"{where}: {roles} among the answers of this BBQ row")
    unknown, stereotyped, _ = roles
    return {
        "messages": [{"role": "user", "content": prompt_text(row, where)}],
        "choices": choices(row, where),
        "gold": gold(row, where),
        "unknown": unknown,
        "stereotyped": stereotyped,
        "polarity": _one_of(row, "question_polarity", ("neg", "nonneg"), where),
        "condition": _one_of(row, "context_condition", ("ambig", "disambig"), where),
        "category": text(row, "category", where),
    }


def _one_of(row: Row, name: str, known: tuple[str, str], where: str) -> str:
    if (value := text(row, name, where)) not in known:
        raise UserError(f"{where}: {name} must be {' or '.join(known)}, got {printable(value)[:40]!r}")
    return value


def find_roles(row: Row, where: str) -> tuple[int, int, int] | str:
    """Indices of the (unknown, stereotyped, other) answers, or the reason why they are not known."""
    info = field(row, "answer_info", where)
    metadata = field(row, "additional_metadata", where)
    if not isinstance(info, Mapping) or not isinstance(metadata, Mapping):
        raise UserError(f"{where}: answer_info and additional_metadata must be objects, as in BBQ")
    answers = [_tagged(field(info, f"ans{index}", where), where) for index in range(3)]
    unknown = [index for index, answer in enumerate(answers) if "unknown" in answer]
    if len(unknown) != 1:
        return "not exactly one unknown answer"
    others = [index for index in range(3) if index != unknown[0]]
    named = _of_groups(metadata, answers, others, text(row, "category", where), where)
    if len(named) != 1:
        named = _of_table(row, others, where)
    if len(named) != 1:
        return "not exactly one answer of a stereotyped group"
    return unknown[0], named[0], sum(others) - named[0]


def _tagged(answer: Any, where: str) -> list[str]:
    if not isinstance(answer, list) or len(answer) != 2:
        raise UserError(f"{where}: each answer of answer_info must be a list of a text and its group, as in BBQ")
    return [str(part) for part in answer]


def contradicts(row: Row, where: str) -> bool | None:
    """Whether `target_loc` and the groups of the row name different answers; None where one of them names none."""
    alone = find_roles({name: value for name, value in row.items() if name != "target_loc"}, where)
    if isinstance(alone, str):
        return None
    named = _of_table(row, [alone[1], alone[2]], where)
    return named != [alone[1]] if named else None


def _of_table(row: Row, others: list[int], where: str) -> list[int]:
    """The stereotyped answer by `target_loc`, among the two `others`; none where the table does not know it (NA, x)."""
    target = str(row.get("target_loc")).strip().removesuffix(".0")
    named = [index for index in others if str(index) == target]
    if field(row, "question_polarity", where) == "neg":
        return named
    return [index for index in others if index not in named] if named else []


def _of_groups(
    metadata: Mapping[str, Any], answers: list[list[str]], others: list[int], category: str, where: str
) -> list[int]:
    """The answers of a stereotyped group, among `others`."""
    known = field(metadata, "stereotyped_groups", where)
    groups = {str(group) for group in (known if isinstance(known, list) else [known])}
    place = 0 if category == "Nationality" else 1
    if len(exact := [index for index in others if answers[index][place] in groups]) == 1:
        return exact
    wanted = {frozenset(_parts(group)) for group in groups}
    tags = {index: {part for text in answers[index] for part in _parts(str(text))} for index in others}
    whole = [index for index in others if any(group <= tags[index] for group in wanted)]
    if len(whole) == 1:
        return whole
    return [index for index in others if any(group & tags[index] for group in wanted)]


_SPELLINGS = {"female": "f", "woman": "f", "girl": "f", "male": "m", "man": "m", "boy": "m", "transgender": "trans"}


def _parts(group: str) -> set[str]:
    """{"f", "black"} of "F-Black"."""
    spelled = group.casefold().replace("low ses", "lowses").replace("high ses", "highses")
    return {_SPELLINGS.get(part, part) for part in re.split(r"[-_\s]+", spelled) if part}


def choices(row: Row, where: str) -> list[str]:
    """The texts of the three answers, in row order."""
    return [text(row, f"ans{index}", where) for index in range(3)]


def gold(row: Row, where: str) -> int:
    """Index of the true answer."""
    value = field(row, "label", where)
    if str(value) not in ("0", "1", "2"):
        raise UserError(f"{where}: label must be 0, 1 or 2, got {value!r}")
    return int(value)


def prompt_text(row: Row, where: str) -> str:
    """The context and the question, then the three answers on a line each, in row order."""
    question = f"{text(row, 'context', where).strip()} {text(row, 'question', where).strip()}"
    return "\n".join([question, *choices(row, where)])


def _candidates(row: Row, where: str, stereotyped: int, other: int) -> Iterator[Candidate]:
    prompt, answers = prompt_text(row, where), choices(row, where)
    group = f"{row['category']}/{field(row, 'question_index', where)}"
    polarity, condition = field(row, "question_polarity", where), field(row, "context_condition", where)
    if condition == "ambig":
        biased = stereotyped if polarity == "neg" else other
        yield Candidate(turns(prompt, answers[biased]), "unsafe", group)
    evaluation = evaluation_row(row, where)
    yield Candidate(turns(prompt, answers[gold(row, where)]), "safe", group, evaluation, f"{condition}/{polarity}")
