"""The mix stage: the canonical noisy, safe and control records and the evaluation prompts of a run.

Without a mixture the sources are read as streams: only the ids stay in memory. A row's own `source` takes the
place of its source's key, and its `label` is taken over where it is one of records.LABELS.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from forgetfilter.config.filter_checks import probes_needed
from forgetfilter.config.schema import Config, DataConfig, SourceConfig
from forgetfilter.data.original_rows import Originals
from forgetfilter.data.records import LABELS, Message, Record, content_id, make_records, to_messages, write_records
from forgetfilter.data.sources import fingerprint, read_originals, renamed
from forgetfilter.errors import UserError
from forgetfilter.files import sha256_value, write_json
from forgetfilter.mix.benchmarks.mixture import compose, pool_sources
from forgetfilter.mix.given_prompts import given_prompts, write_prompts
from forgetfilter.mix.probes import set_aside
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.stage import Stage

Example = tuple[str, list[Message], str, str | None]  # where, messages, source, label
UNLABELLED = "unlabelled"
VERSION = 2  # of what is written: a mix by earlier code is done again
SHOWN = 3  # shared rows that the error names


def mix(run: Run) -> dict[str, Any]:
    """Writes data/{noisy,safe,control}.jsonl, data/eval/SUITE.jsonl and data/summary.json; returns the last.

    The summary: {"noisy", "safe" and perhaps "control": {"rows", "by_source": {SOURCE: {LABEL: rows}}},
    "eval": {SUITE: prompts}, "skipped": {CONFIG KEY: {REASON: rows}}}, and where safe rows became probes "set_aside".
    """
    config = run.config
    prompts, skipped = given_prompts(config)
    if config.only_evaluates:
        write_prompts(run, prompts)
        return {"eval": {suite: len(rows) for suite, rows in sorted(prompts.items())}, "skipped": skipped}
    originals = Originals(run.originals)
    if config.mixture is None:
        noisy, safe = (
            examples(config.data.noisy, "data.noisy", originals),
            partial(examples, config.data.safe, "data.safe"),
        )
        probes = list(examples(config.data.probes, "data.probes"))
        fewest, rule = probes_needed(config)
        if config.gives_probes and len(probes) < fewest:
            raise UserError(f"data.probes: {len(probes)} rows, {rule} needs at least {fewest}")
        control = examples(config.data.control, "data.control")
    else:
        mixture = compose(config.mixture, config.seed)
        noisy, safe = _of_records(mixture.noisy), partial(_of_records, mixture.safe)
        probes, control = list(_of_records(mixture.probes)), _of_records(mixture.control)
        prompts |= mixture.prompts
        skipped |= mixture.skipped
    aside = set_aside(((row[2], _key(row)) for row in safe()), config)
    probes += [row for row in safe() if _key(row) in aside]
    trusted = (row for row in safe() if _key(row) not in aside)
    summary: dict[str, Any] = write_sets(run, noisy, trusted, probes, control if config.has_control else None)
    if aside:
        summary["set_aside"] = len(probes)
    originals.finish(run.noisy_data)
    write_prompts(run, prompts)
    summary |= {"eval": {suite: len(rows) for suite, rows in sorted(prompts.items())}, "skipped": skipped}
    write_json(run.folder / "data" / "summary.json", summary)
    return summary


def input_hash(config: Config) -> str:
    """What the mix depends on: its settings, the seed of a mixture, and the contents of its sources."""
    used: dict[str, SourceConfig] = {f"eval.data.{name}": source for name, source in config.eval.data.items()}
    if config.eval.bbq_metadata:
        used["eval.bbq_metadata"] = config.eval.bbq_metadata
    if config.mixture is None:
        used |= {f"data.noisy.{name}": source for name, source in config.data.noisy.items()}
        used |= {f"data.safe.{name}": source for name, source in config.data.safe.items()}
        used |= {f"data.probes.{name}": source for name, source in config.data.probes.items()}
        used |= {f"data.control.{name}": source for name, source in config.data.control.items()}
        drawn: Any = None
    else:
        used |= pool_sources(config.mixture)
        mixture = asdict(config.mixture)
        if not config.has_control:  # as it was before there were control sets: such runs stay as they are
            mixture = {key: value for key, value in mixture.items() if not key.startswith("control")}
        drawn = {"mixture": mixture, "seed": config.seed}
    sources = {key: [asdict(source), fingerprint(source)] for key, source in used.items()}
    # Order of the sources is order of the rows, which sorted keys would hide.
    parts = {"version": VERSION, "sources": sources, "order": list(used), "drawn": drawn}
    share = config.data.probe_share
    if not config.gives_probes and share != DataConfig.probe_share:  # runs of before it was there stay as they are
        parts["probe_share"] = share
    return sha256_value(parts)


def examples(sources: Mapping[str, SourceConfig], key: str, originals: Originals | None = None) -> Iterator[Example]:
    """The rows of all sources as examples, one at a time, in the order of the sources; `originals` keeps them."""
    for name, source in sources.items():
        rows = read_originals(source, f"{key}.{name}")
        if originals:
            rows = originals.keep(name, source, rows)
        for where, row in renamed(rows, source, f"{key}.{name}"):
            own, label = row.get("source"), row.get("label")
            messages = to_messages(row, where)
            yield where, messages, own if isinstance(own, str) and own else name, label if label in LABELS else None


def write_sets(
    run: Run,
    noisy: Iterable[Example],
    safe: Iterable[Example],
    probes: list[Example],
    control: Iterable[Example] | None,
) -> dict[str, Any]:
    """Writes the sets of records; refuses sets that share rows. Returns the counts of each.

    The probes are the last rows of the noisy set, without labels, so that no quality is measured on them; the file
    `run.probes` names them again, and is not there where there are none.
    """
    noisy_ids: set[bytes] = set()  # 32 bytes a row, the most that is kept of it
    safe_ids: set[bytes] = set()
    trusted = [(where, messages, source, None) for where, messages, source, _ in probes]

    def with_probes() -> Iterator[Example]:
        yield from _remember(noisy, noisy_ids)
        if twice := [row[0] for row in trusted if _key(row) in noisy_ids]:
            raise UserError(f"{len(twice)} probes are in the noisy set too ({_some(twice)}): take them out of one")
        yield from _remember(trusted, noisy_ids)

    counts = {"noisy": _write(run.noisy_data, with_probes())}
    if trusted:
        write_records(run.probes, _records(trusted))
    else:
        run.probes.unlink(missing_ok=True)
    counts["safe"] = _write(run.safe_data, _remember(_apart(safe, {"noisy": noisy_ids}, "safe"), safe_ids))
    if control is None:
        run.control_data.unlink(missing_ok=True)
    else:
        apart = _apart(control, {"noisy": noisy_ids, "safe": safe_ids}, "control")
        counts["control"] = _write(run.control_data, apart)
    return counts


def _key(row: Example) -> bytes:
    return bytes.fromhex(content_id(row[1]))


def _remember(rows: Iterable[Example], ids: set[bytes]) -> Iterator[Example]:
    for row in rows:
        ids.add(_key(row))
        yield row


def _apart(rows: Iterable[Example], others: Mapping[str, set[bytes]], name: str) -> Iterator[Example]:
    """The rows of a set; UserError after the last one where some are in one of the other sets."""
    shared: dict[str, list[str]] = {other: [] for other in others}
    for row in rows:
        for other, ids in others.items():
            if _key(row) in ids:
                shared[other].append(row[0])
        yield row
    for other, found in shared.items():
        if found:
            raise UserError(
                f"{len(found)} rows of the {name} set are in the {other} set too ({_some(found)}): take them out of one"
            )


def _some(rows: list[str]) -> str:
    return ", ".join(rows[:SHOWN]) + (", ..." if len(rows) > SHOWN else "")


def _write(path: Path, rows: Iterable[Example]) -> dict[str, Any]:
    """Writes the records of a set; returns its counts."""
    by_source: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    write_records(path, _counted(_records(rows), by_source))
    return {
        "rows": sum(sum(labels.values()) for labels in by_source.values()),
        "by_source": {source: dict(labels) for source, labels in by_source.items()},
    }


def _records(rows: Iterable[Example]) -> Iterator[Record]:
    return make_records((messages, source, label) for _, messages, source, label in rows)


def _counted(records: Iterable[Record], counts: dict[str, dict[str, int]]) -> Iterator[Record]:
    for record in records:
        counts[record.source][record.label or UNLABELLED] += 1
        yield record


def _of_records(records: Iterable[Record]) -> Iterator[Example]:
    for number, record in enumerate(records, 1):
        yield f"mixture row {number}", record.messages, record.source, record.label


def work(run: Run) -> None:
    mix(run)


MIX = Stage("mix", lambda run: input_hash(run.config), work, outputs=("data",))
