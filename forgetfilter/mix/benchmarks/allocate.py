"""Hands whole groups to the sets of a mixture, so that no two sets share one."""

import random
from collections import Counter
from collections.abc import Mapping


def allocate(counts: Mapping[str, Mapping[str, int]], needs: Mapping[str, int], rng: random.Random) -> dict[str, str]:
    """The set of each group: {group: name of the set}.

    counts: {group: {set: examples that the group would give it}}; needs: {set: examples wanted}. In random
    order each group goes to the set, among those it can serve, that has the smallest share of its need; so
    spare groups are spread in proportion, and a set's examples come from as many groups as there are.
    Example: needs {a: 1, b: 1} and two groups that serve both give one group each.
    """
    groups = sorted(counts)
    rng.shuffle(groups)
    filled: Counter[str] = Counter()
    chosen: dict[str, str] = {}
    for group in groups:
        able = [name for name, need in needs.items() if need and counts[group].get(name)]
        if not able:
            continue
        name = min(able, key=lambda name: filled[name] / needs[name])
        filled[name] += counts[group][name]
        chosen[group] = name
    return chosen


def even_shares(total: int, parts: int) -> list[int]:
    """total in `parts` whole numbers, the remainder to the first: 8 in 3 gives [3, 3, 2]; none in no parts."""
    return [total // parts + (number < total % parts) for number in range(parts)]
