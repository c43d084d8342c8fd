"""Probes that nobody gave: a share of the safe set, taken out of it before anything is trained."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from forgetfilter.config.filter_checks import cannot_without_probes, probes_key
from forgetfilter.config.schema import Config
from forgetfilter.errors import UserError

FEWEST = (
    36  # as many as the rule conformal needs to bound the good rows lost by its 10%; fewer are not worth their rows
)
MOST = 1_000  # more hardly move a quantile, and each of them is trained and scored


def set_aside(rows: Iterable[tuple[str, bytes]], config: Config, remarks: list[str]) -> set[bytes]:
    """The content ids of the safe rows that become probes, from the (source, content id) of each row of the safe set.

    None where the config gives probes or wants none, and where they would be too few, which is said
    in `remarks`; UserError where
    the filter was asked for what cannot do without.
    """
    share = config.data.probe_share
    if config.gives_probes or not share:
        return set()
    chosen = choose(rows, share)
    if len(chosen) >= FEWEST:
        return chosen
    said = f"data.probe_share={share:g} of the safe set is {len(chosen)} rows, fewer than {FEWEST}"
    if needs := cannot_without_probes(config):
        raise UserError(f"{needs} needs probes, and {said}: enlarge data.safe, or set {probes_key(config)}")
    remarks.append(f"no probes are set aside: {said}")
    return set()


def choose(rows: Iterable[tuple[str, bytes]], share: float) -> set[bytes]:
    """Of each source the same share, rounded, by a hash of the content: by chance, the same always, in any order.

    MOST at most in all.
    """
    of_source: dict[str, set[bytes]] = defaultdict(set)
    for source, content in rows:
        of_source[source].add(content)
    capped = min(share, MOST / max(1, sum(map(len, of_source.values()))))
    return {
        content
        for contents in of_source.values()
        for content in sorted(contents, key=_draw)[: round(capped * len(contents))]
    }


def _draw(content: bytes) -> bytes:
    """Not the id itself, by which other samples are drawn."""
    return hashlib.sha256(b"probe" + content).digest()
