"""Reads and checks the evaluation prompts of eval.data, and counts what is left out of them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from forgetfilter.config.registry import SUITES, own_prompts
from forgetfilter.config.schema import Config, SourceConfig
from forgetfilter.data.sources import Row, read_rows
from forgetfilter.errors import UserError, nearest, printable
from forgetfilter.files import write_text
from forgetfilter.mix.benchmarks import bbq
from forgetfilter.mix.benchmarks.candidates import field, text
from forgetfilter.mix.benchmarks.prompts import Prompt, with_ids
from forgetfilter.mix.sets import own_source
from forgetfilter.process.progress import console
from forgetfilter.storage.run_paths import RunPaths


def asked_sources(config: Config) -> dict[str, SourceConfig]:
    """The sources of eval.data that are read: where nothing is trained, only those that a suite of eval.suites asks.

    Before a training all are read, since its settings stay and the suites may change.
    """
    asked = {SUITES.get(suite, "eval.suites").prompts or suite for suite in config.eval.suites}
    return {name: one for name, one in config.eval.data.items() if name in asked or not config.only_evaluates}


def given_prompts(config: Config) -> tuple[dict[str, list[Prompt]], dict[str, dict[str, int]]]:
    """The prompts of eval.data by suite, and the rows that were left out: {CONFIG KEY: {REASON: rows}}."""
    made = {config.mixture.kind, "task"} if config.mixture else set()
    prompts: dict[str, list[Prompt]] = {}
    skipped: dict[str, dict[str, int]] = {}
    for suite in config.eval.data:
        if suite not in (known := own_prompts()):
            raise UserError(f"eval.data.{suite} is no suite{nearest(suite, known)}")
    sources = asked_sources(config)
    if left_out := [suite for suite in config.eval.data if suite not in sources]:
        console.print(f"eval.data: {', '.join(left_out)} is not read, for eval.suites does not name it")
    for suite, source in sources.items():
        key = f"eval.data.{suite}"
        if suite in made:
            raise UserError(f"{key} is set, but the mixture makes the prompts of {suite}: take it out")
        rows: Iterable[tuple[str, Row]] = read_rows(source, key)
        if suite == "bias":
            skipped[key] = defaultdict(int)
            rows = _with_groups(rows, config.eval.bbq_metadata, skipped[key])
        make = SUITES.get(suite, key).prompt
        pairs = ((own_source(row, where) or suite, make(dict(row), where)) for where, row in rows)
        prompts[suite] = with_ids(pairs)
        if not prompts[suite]:
            raise UserError(f"{key} gives no prompt{_reasons(skipped.get(key, {}))}")
        if skipped.get(key):
            console.print(f"{key}: {sum(skipped[key].values())} rows left out{_reasons(skipped[key])}")
    return prompts, {key: dict(counts) for key, counts in skipped.items() if counts}


def _with_groups(
    rows: Iterable[tuple[str, Row]], metadata: SourceConfig | None, skipped: dict[str, int]
) -> Iterator[tuple[str, Row]]:
    """BBQ rows whose stereotyped answer is known, from the row or the metadata; the others are counted.

    UserError after the last one where the metadata is of another form than BBQ's: see `_agreement`.
    """
    targets = _targets(metadata)
    compared: dict[bool | None, int] = defaultdict(int)
    for where, row in rows:
        if row.get("answer_info") is None:  # a row in the project's own shape, which names the answers
            yield where, row
            continue
        target = targets.get((text(row, "category", where), _whole(row.get("example_id"))))
        known = dict(row) if target is None else row | {"target_loc": target}
        if isinstance(roles := bbq.find_roles(known, where), str):
            skipped[f"{printable(text(row, 'category', where))}: {roles}"] += 1
            continue
        if field(row, "question_polarity", where) != "neg":
            compared[bbq.contradicts(known, where)] += 1
        yield where, known
    _check_agreement(compared[True], compared[False])


def _targets(metadata: SourceConfig | None) -> dict[tuple[str, str], Any]:
    """{(category, example_id): target_loc} of BBQ's table."""
    rows = read_rows(metadata, "eval.bbq_metadata") if metadata else iter(())
    return {
        (text(row, "category", where), _whole(field(row, "example_id", where))): row.get("target_loc")
        for where, row in rows
    }


def _whole(number: Any) -> str:
    """A whole number that a table may have as 3, "3" or 3.0."""
    return str(number).strip().removesuffix(".0")


def _check_agreement(contradicted: int, confirmed: int) -> None:
    """Tells how often `target_loc` and the groups name different answers, in non-negative rows where both name one.

    A table whose `target_loc` is not turned by the polarity, as BBQ's is, contradicts them nearly everywhere, and would
    be wrong just where only the table speaks.
    """
    if contradicted > confirmed:
        raise UserError(
            f"eval.bbq_metadata: target_loc contradicts the groups of {contradicted} of {contradicted + confirmed} "
            "non-negative rows, so it is not turned by the polarity, as that of BBQ's own table is: take BBQ's table"
        )
    if contradicted:
        console.print(f"eval.bbq_metadata: {contradicted} rows whose groups name another answer are read by the groups")


def _reasons(counts: Mapping[str, int]) -> str:
    return f" ({'; '.join(f'{reason}: {count}' for reason, count in sorted(counts.items()))})" if counts else ""


def write_prompts(paths: RunPaths, prompts: Mapping[str, list[Prompt]]) -> None:
    for suite in own_prompts():
        path = paths.eval_prompts(suite)
        if suite in prompts:
            write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in prompts[suite]))
        else:  # an earlier mix of this run with other settings may have left it
            path.unlink(missing_ok=True)
