"""Writes the rows of the refit to one file: the kept rows and, if asked for, the rows of the safe set after them.

A line is a record with `part`, which is kept or trusted. A row that is in both parts stands only among the trusted
rows. The probes, which the filter always keeps, are left out, so that M* can be measured on rows that it has not
learned.
"""

import json
from collections import Counter
from typing import Any

from forgetfilter.config.schema import RefitConfig
from forgetfilter.data.records import read_record_rows
from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path, sha256_file, write_json
from forgetfilter.storage.formats import RefitData, RefitRows
from forgetfilter.storage.run_paths import RunPaths


def inputs(paths: RunPaths, chosen: RefitConfig) -> list[object]:
    """What a refit depends on besides its schedule and the kept rows, by content.

    The list is empty where these rows are all and the run has no probes, so that such refits of earlier versions stay
    done.
    """
    parts = {"safe": paths.safe_data} if chosen.data != "kept" else {}
    parts |= {"probes": paths.probes} if paths.probes.exists() else {}
    hashes = {name: sha256_file(path) for name, path in parts.items()}
    again = [chosen.trusted_epochs] if chosen.data == "kept_then_trusted" else []
    return [chosen.data, hashes, *again] if parts else []


def write_refit_rows(paths: RunPaths, data: RefitData) -> RefitRows:
    """Writes the file, then its counts beside it: {"data", "kept", "trusted", "left_out": {"probes", "twice"}}.

    `data` is the setting train.refit.data. There may be any number of kept rows, so they are not held in memory.
    UserError where no kept row is left to learn.
    """
    trusted = list(read_record_rows(paths.safe_data)) if data != "kept" else []
    known = {"twice": {_content(row) for row in trusted}}
    known["probes"] = {_content(row) for row in read_record_rows(paths.probes)} if paths.probes.exists() else set()
    counts: Counter[str] = Counter()
    with atomic_path(paths.refit_data) as temporary, open(temporary, "w", encoding="utf-8") as out:
        for row in read_record_rows(paths.kept_data):
            reason = next((reason for reason, contents in known.items() if _content(row) in contents), None)
            counts[reason or "kept"] += 1
            if reason is None:
                out.write(json.dumps(row | {"part": "kept"}, ensure_ascii=False) + "\n")
        out.writelines(json.dumps(row | {"part": "trusted"}, ensure_ascii=False) + "\n" for row in trusted)
    if not counts["kept"]:
        raise UserError(f"{paths.kept_data} holds no row but trusted ones: nothing is left to refit; drop less")
    left_out = {reason: counts[reason] for reason in sorted(known)}
    told: RefitRows = {"data": data, "kept": counts["kept"], "trusted": len(trusted), "left_out": left_out}
    write_json(paths.refit_counts, told)
    return told


def _content(row: dict[str, Any]) -> str:
    """The id that all copies of a row share."""
    return str(row["id"]).partition("-")[0]
