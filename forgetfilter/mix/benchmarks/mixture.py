"""The paper's noisy mixture of N examples: a share r is unsafe, the rest is split over safe and task examples.

It is a pure function of the settings, the rows and the seed. The noisy set, the safe set and the evaluation share no
row and no group, and neither do the unsafe and the safe examples of the noisy set. The source of a record is the kind
of the mixture or the key of its task, so it never tells the label.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from forgetfilter.config.schema import MixtureConfig, PoolConfig
from forgetfilter.data.records import Record, content_id, make_records
from forgetfilter.data.sources import read_rows
from forgetfilter.errors import UserError
from forgetfilter.mix.attacks import Attack, Drawn, Row
from forgetfilter.mix.attacks import get as find_attack
from forgetfilter.mix.benchmarks.allocate import allocate, even_shares
from forgetfilter.mix.benchmarks.candidates import Candidate, Skips
from forgetfilter.mix.benchmarks.prompts import Prompt, with_ids
from forgetfilter.mix.benchmarks.registry import find_builder

CONTROL = "examples of the control set (mixture.control)"
SPARE = "further unsafe examples (mixture.attack)"
LEFT_OUT = "none"  # the builder of a pool that an override takes out of a config


@dataclass(frozen=True)
class Mixture:
    """What the mix stage writes. `skipped` is {config key of a pool: {reason: rows}}."""

    noisy: list[Record]
    safe: list[Record]
    probes: list[Record]
    control: list[Record]
    prompts: dict[str, list[Prompt]]
    skipped: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Part:
    """One of the sets that a pool's groups are divided among."""

    need: int
    serves: Callable[[Candidate], bool]
    what: str  # for the error: what is needed, and the settings that say how much of it
    spare: bool = False  # drawn last, from groups of which no other set has a row, so that no other set changes


def compose(mixture: MixtureConfig, seed: int) -> Mixture:
    """Draws the sets. Raises UserError where a pool has too few rows, with the numbers that are needed and there."""
    tasks = {key: pool for key, pool in mixture.tasks.items() if pool.builder != LEFT_OUT}
    attack = find_attack(mixture.attack) if mixture.attack else None
    num_unsafe = round(mixture.size * mixture.unsafe_share)
    num_safe, *num_task = even_shares(mixture.size - num_unsafe, 1 + len(tasks))
    skipped: dict[str, dict[str, int]] = {}
    probes = even_shares(mixture.probes, 1 + len(tasks))  # in the shares of the good examples of the noisy set
    control = _control_shares(mixture, len(tasks))
    needs = {"unsafe": num_unsafe, "safe": num_safe, "probes": probes[0], "control": control[0]}
    needs["spare"] = attack.further(num_unsafe) if attack else 0
    drawn = _draw_kind(mixture, needs, seed, skipped)
    kind: str = mixture.kind
    sets = {name: _rows(kind, name, members) for name, members in drawn.items()}
    prompts = {kind: [(kind, c.prompt) for c in drawn["eval"] if c.prompt]}
    trusted = even_shares(mixture.trusted_tasks, len(tasks))
    evaluated = even_shares(mixture.eval_size, len(tasks))
    for number, (key, pool) in enumerate(tasks.items()):
        needs = {"safe": num_task[number], "trusted": trusted[number], "eval": evaluated[number]}
        needs |= {"probes": probes[1 + number], "control": control[1 + number]}
        drawn = _draw_task(key, pool, needs, seed, skipped)
        for name, members in drawn.items():
            sets[name] += _rows(key, name, members)
        prompts.setdefault("task", []).extend((key, c.prompt) for c in drawn["eval"] if c.prompt)
    noisy, safe, calibrating = _attacked(sets, attack, seed)
    rng = random.Random(f"{seed}/order")
    for rows in (noisy, safe, calibrating):
        rng.shuffle(rows)
    for asked in prompts.values():
        rng.shuffle(asked)
    rng.shuffle(sets["control"])  # last, so that the order of the others does not depend on it
    return Mixture(
        list(make_records(noisy)),
        list(make_records(safe)),
        list(make_records(calibrating)),
        list(make_records(sets["control"])),
        {suite: with_ids(rows) for suite, rows in prompts.items() if rows},
        skipped,
    )


def _rows(source: str, name: str, members: list[Candidate]) -> list[Row]:
    """The examples of a set; probes have no label."""
    return [(member.messages, source, None if name == "probes" else member.label) for member in members]


def _attacked(sets: dict[str, list[Row]], attack: Attack | None, seed: int) -> tuple[list[Row], list[Row], list[Row]]:
    """The noisy set, the safe set and the probes, as the attack leaves them."""
    drawn = Drawn(sets["unsafe"], sets["safe"], sets["trusted"], sets["probes"], sets["spare"])
    if attack:
        attack.apply(drawn, random.Random(f"{seed}/attack"))
    return drawn.unsafe + drawn.good, drawn.safe, drawn.probes


def _control_shares(mixture: MixtureConfig, tasks: int) -> list[int]:
    """Rows of the control set of the mixture's kind, and of each task. Raises UserError where there is no task."""
    if mixture.control and mixture.control_from != "kind" and not tasks:
        raise UserError(f"mixture.control_from={mixture.control_from} needs mixture.tasks: name one, or take kind")
    if mixture.control_from == "kind":
        return [mixture.control] + [0] * tasks
    if mixture.control_from == "tasks":
        return [0, *even_shares(mixture.control, tasks)]
    return even_shares(mixture.control, 1 + tasks)


def _draw_kind(
    mixture: MixtureConfig, needs: Mapping[str, int], seed: int, skipped: dict[str, dict[str, int]]
) -> dict[str, list[Candidate]]:
    pools = {f"mixture.pools.{k}": pool for k, pool in mixture.pools.items() if pool.builder != LEFT_OUT}
    parts = {
        "unsafe": Part(needs["unsafe"], _labelled("unsafe"), "unsafe examples (mixture.size, mixture.unsafe_share)"),
        "safe": Part(needs["safe"], _labelled("safe"), "safe examples (mixture.size, mixture.unsafe_share)"),
        "trusted": Part(mixture.safe_size, _labelled("safe"), "examples of the safe set (mixture.safe_size)"),
        "eval": Part(mixture.eval_size, _can_be_asked, "held-out prompts (mixture.eval_size)"),
        "probes": Part(needs["probes"], _labelled("safe"), "probes (mixture.probes)"),
        "control": Part(needs["control"], _labelled("safe"), CONTROL, spare=True),
        "spare": Part(needs["spare"], _labelled("unsafe"), SPARE, spare=True),
    }
    return draw(candidates(pools, skipped), parts, "mixture.pools", f"{seed}/{mixture.kind}")


def _draw_task(
    name: str, pool: PoolConfig, needs: Mapping[str, int], seed: int, skipped: dict[str, dict[str, int]]
) -> dict[str, list[Candidate]]:
    key = f"mixture.tasks.{name}"
    parts = {
        "safe": Part(needs["safe"], _labelled("task"), "task examples (mixture.size, mixture.unsafe_share)"),
        "trusted": Part(needs["trusted"], _labelled("task"), "trusted examples (mixture.trusted_tasks)"),
        "eval": Part(needs["eval"], _can_be_asked, "held-out prompts (mixture.eval_size)"),
        "probes": Part(needs["probes"], _labelled("task"), "probes (mixture.probes)"),
        "control": Part(needs["control"], _labelled("task"), CONTROL, spare=True),
    }
    return draw(candidates({key: pool}, skipped), parts, key, f"{seed}/task/{name}")


def _labelled(label: str) -> Callable[[Candidate], bool]:
    return lambda candidate: candidate.label == label


def _can_be_asked(candidate: Candidate) -> bool:
    return candidate.prompt is not None


def candidates(pools: Mapping[str, PoolConfig], skipped: dict[str, dict[str, int]]) -> list[Candidate]:
    """All examples of the pools; a row that is there twice counts once."""
    found: dict[str, Candidate] = {}
    for key, pool in pools.items():
        builder = find_builder(pool.builder, f"{key}.builder")
        skips: Skips = Counter()
        rows = read_rows(pool.source, f"{key}.source")
        for candidate in builder(rows, pool.options, f"{key}.options", skips):
            row = content_id(candidate.messages)
            if row in found:
                skips["row there twice"] += 1
            else:
                found[row] = candidate
        skipped[key] = dict(sorted(skips.items()))
    return list(found.values())


def draw(candidates: list[Candidate], parts: Mapping[str, Part], key: str, seed: str) -> dict[str, list[Candidate]]:
    """The drawn examples of each part; parts share no group."""
    rng = random.Random(seed)
    by_group: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_group[candidate.group].append(candidate)
    counts = {
        group: {name: len(_usable(members, name, part)) for name, part in parts.items()}
        for group, members in by_group.items()
    }
    homes = allocate(counts, {name: part.need for name, part in parts.items() if not part.spare}, rng)
    drawn: dict[str, list[Candidate]] = {}
    for name, part in sorted(parts.items(), key=lambda item: item[1].spare):
        members = [c for group, home in sorted(homes.items()) if home == name for c in by_group[group]]
        if part.spare:
            taken = {c.group for rows in drawn.values() for c in rows}
            members = [c for group in sorted(by_group) if group not in taken for c in by_group[group]]
        there = _usable(members, name, part)
        drawn[name] = _balanced(there, part.need, rng) if name == "eval" else _sample(there, part.need, rng)
        if len(drawn[name]) < part.need:
            total = sum(part.serves(candidate) for candidate in candidates)
            raise UserError(
                f"{key}: {part.need} {part.what} needed, {len(drawn[name])} there once no group is shared between "
                f"the sets ({total} rows in all): add rows, or ask for fewer"
            )
    return drawn


def _usable(members: list[Candidate], name: str, part: Part) -> list[Candidate]:
    usable = [candidate for candidate in members if part.serves(candidate)]
    if name != "eval":
        return usable
    by_prompt: dict[str, Candidate] = {}  # a question is asked once, however many answers it has
    for candidate in usable:
        assert candidate.prompt is not None
        by_prompt.setdefault(content_id(candidate.prompt["messages"]), candidate)
    return list(by_prompt.values())


def _sample(members: list[Candidate], need: int, rng: random.Random) -> list[Candidate]:
    return rng.sample(members, min(need, len(members)))


def _balanced(members: list[Candidate], need: int, rng: random.Random) -> list[Candidate]:
    """The same number of each stratum, such as BBQ's conditions and polarities; the first strata get the remainder."""
    strata: dict[str, list[Candidate]] = defaultdict(list)
    for member in members:
        strata[member.stratum].append(member)
    shares = even_shares(need, len(strata))
    drawn: list[Candidate] = []
    for (_, rows), share in zip(sorted(strata.items(), key=lambda item: item[0]), shares):
        drawn += _sample(rows, share, rng)
    return drawn


def pool_sources(mixture: MixtureConfig) -> dict[str, Any]:
    """{config key: source} of every pool that is in use."""
    both = {"pools": mixture.pools, "tasks": mixture.tasks}
    return {
        f"mixture.{kind}.{key}.source": pool.source
        for kind, pools in both.items()
        for key, pool in pools.items()
        if pool.builder != LEFT_OUT
    }
