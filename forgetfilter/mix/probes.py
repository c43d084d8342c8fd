"""Probes where the user gives none: a share of the safe set, taken out of it before anything is trained."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from forgetfilter.config.filter_checks import cannot_without_probes, probes_key
from forgetfilter.config.schema import Config
from forgetfilter.errors import UserError

FEWEST = (
    36  # as many as the rule conformal needs to bound the good rows lost by its 10%; fewer are not worth their rows
)
MOST = 1_000  # more would hardly move a quantile, and each of them must be trained and scored


def set_aside(rows: Iterable[tuple[str, bytes]], config: Config, remarks: list[str]) -> set[bytes]:
    """The content ids of the safe rows that become probes, from the (source, content id) of each row of the safe set.

    The set is empty where the config gives probes or wants none, and where there would be too few; then `remarks`
    says so. Raises UserError where the filter was asked for something that needs probes.
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
    """The same share of each source, rounded, chosen by a hash of the content: at random, but always the same rows.

    There are MOST rows at most.
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
    """The hash that chooses. It is not the id, which already chooses other samples."""
    return hashlib.sha256(b"probe" + content).digest()
