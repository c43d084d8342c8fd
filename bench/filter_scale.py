"""Compares the filter with one plain read of the same Parquet shards, at any size.

    python bench/filter_scale.py --rows 1000000 10000000 --folder FOLDER [--repeats 3] [--rules] [--texts] [--keep]

The shards of both states are made up, as a scoring leaves them (zstd, with rows in the order of their lengths and the
data in another order). These are timed in turn, each in a process of its own: reading every column of both states; and
joining, scoring, ranking, deciding and writing decisions.parquet. With --rules the rule otsu, excess_rise with
conformal and 1,000 probes, and pooled_excess with conformal from stored clusters are timed too, and a plain read of the
states with the clusters. With --texts kept.jsonl and dropped.jsonl, the clusters of alike texts and what the texts
foretell are timed too, from a data file of some 300 bytes a row, and one plain copy of that file. On what --keep left,
--worker tied --folder FOLDER/ROWS orders the rows by a signal of few values. The result is
bench/results/filter_scale.json, with one entry for each size. A row needs some 400 bytes of disk (1,100 with texts),
which are deleted unless --keep keeps them for the next time. --repeats 0 --keep makes them and times nothing.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from forgetfilter.storage.run_folder import Run, versions
from forgetfilter.storage.shards import (
    COMPARABLE,
    LOSS_SCHEMA,
    read_manifest,
    shard_path,
    shard_paths,
    write_manifest,
    write_shard,
)

RESULT = Path(__file__).parent / "results" / "filter_scale.json"
SHARD = 1_000_000  # rows
SOURCES = ("book", "forum", "mail", "web")
SHARE = 0.3  # to drop
PROBES = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rules", action="store_true")
    parser.add_argument("--texts", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--worker", choices=WORK)
    options = parser.parse_args()
    if options.worker:
        start = time.perf_counter()
        found = WORK[options.worker](options.folder) or {}
        seconds = {"seconds": round(time.perf_counter() - start, 3), "cpu_seconds": round(sum(os.times()[:4]), 3)}
        status = Path("/proc/self/status").read_text()  # getrusage's peak would be that of the parent, if higher
        peak = int(status.split("VmHWM:")[1].split()[0]) / 2**20
        print(json.dumps(found | seconds | {"peak_gb": round(peak, 2)}))
        return
    for count in options.rows:
        folder = options.folder / str(count)
        try:
            if not (folder / "signals" / STATES[-1] / "manifest.json").exists():
                make(count, folder, options.rules, options.texts)
            if options.repeats:
                names = ["read", "filter", *(RULES if options.rules else []), *(TEXTS if options.texts else [])]
                measure(count, folder, options.repeats, names)
        finally:
            if not options.keep:
                shutil.rmtree(folder, ignore_errors=True)


def measure(count: int, folder: Path, repeats: int, names: list[str]) -> None:
    """Times every kind of work in turn, and adds the size's entry to the result."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            command = [sys.executable, __file__, "--worker", name, "--folder", str(folder)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[name].append(json.loads(done.stdout))
            print(count, name, runs[name][-1], flush=True)
    medians = {name: statistics.median(run["seconds"] for run in found) for name, found in runs.items()}
    cpu = {name: statistics.median(run["cpu_seconds"] for run in found) for name, found in runs.items()}
    shards = [path for state in STATES for path in shard_paths(folder / "signals" / state)]
    entry = {
        "versions": versions(),
        "runs": runs,
        "filter_over_read": round(medians["filter"] / medians["read"], 2),
        "cpu_filter_over_read": round(cpu["filter"] / cpu["read"], 2),
        "shard_bytes": sum(path.stat().st_size for path in shards),
    }
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    RESULT.write_text(json.dumps(results | {str(count): entry}, indent=2) + "\n")
    print(count, "filter over read:", entry["filter_over_read"])


STATES = ("before", "after")


def make(count: int, folder: Path, rules: bool, texts: bool) -> None:
    """A run folder: the data, Parquet without texts, JSONL with them; shards, and their manifests last of all."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    tokens = np.minimum(random.geometric(1 / 120, count), 2000).astype(np.int32)
    order = np.argsort(tokens, kind="stable").astype(np.uint32)  # as plan_scoring sorts
    schema = pa.schema([(name, pa.string()) for name in ("id", "source", "label")])
    with pq.ParquetWriter(folder / "data" / "noisy.parquet", schema, compression="zstd") as writer:
        for start in range(0, count, SHARD):
            rows = np.arange(start, min(count, start + SHARD), dtype=np.uint32)
            writer.write_table(pa.table([ids(rows), sources(rows), pa.nulls(len(rows), pa.string())], schema=schema))
    if texts:
        write_texts(folder / "data")
    signals = folder / "signals"
    if rules:
        from forgetfilter.filter.texts.column_shards import BLOCK_ROWS
        from forgetfilter.filter.texts.text_columns import VERSION

        for start in range(0, count, BLOCK_ROWS):
            rows = np.arange(start, min(count, start + BLOCK_ROWS), dtype=np.uint32)
            clusters = pa.table({"id": ids(rows), "cluster": random.integers(2_000, size=len(rows), dtype=np.int32)})
            write_shard(shard_path(signals / "texts" / "cluster", 0, start // BLOCK_ROWS), clusters)
        write_manifest(signals / "texts" / "cluster", {"data": "same", "version": VERSION, "rows": count})
    for state in STATES:
        for start in range(0, count, SHARD):
            rows = order[start : start + SHARD]
            loss = (tokens[rows] * random.gamma(2, 0.5, len(rows))).astype(np.float32).astype(np.float64)
            zeros = np.zeros(len(rows), dtype=np.int32)
            step = (start + np.arange(len(rows), dtype=np.int32)) // 64
            columns = [ids(rows), sources(rows), tokens[rows], loss, zeros, step, zeros]
            table = pa.table(columns, names=LOSS_SCHEMA.names).cast(LOSS_SCHEMA)
            write_shard(shard_path(signals / state, 0, start // SHARD), table)
        write_manifest(signals / state, dict.fromkeys(COMPARABLE, "same"))


def write_texts(folder: Path) -> None:
    """noisy.jsonl of the rows in noisy.parquet: an answer of 30 of 20,000 made-up words a row, chosen by its id."""
    words = pl.lit(pl.Series([f"word{number}" for number in range(20_000)]))
    chosen = [words.gather(pl.col("id").hash(seed) % 20_000 % (1 + 700 * seed)) for seed in range(30)]
    record = pl.concat_str(
        pl.lit('{"id": "'),
        "id",
        pl.lit('", "messages": [{"role": "assistant", "content": "'),
        pl.concat_str(chosen, separator=" "),
        pl.lit('"}], "source": "'),
        "source",
        pl.lit('", "label": null}\n'),
    )
    with open(folder / "noisy.jsonl", "w", encoding="utf-8") as handle:
        for piece in pl.scan_parquet(folder / "noisy.parquet").select(record).collect_batches(maintain_order=True):
            handle.write("".join(piece.to_series()))


def ids(rows: np.ndarray[Any, Any]) -> pa.StringArray:
    """64 hexadecimal characters a row, like hashes: a bijective mixing of the row's number (splitmix64)."""
    words = np.stack([_mixed(rows.astype(np.uint64) * np.uint64(4) + np.uint64(word)) for word in range(4)], axis=1)
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8).astype(np.uint16)
    pairs = digits[np.arange(256) >> 4] | digits[np.arange(256) & 15] << 8
    text = pairs.astype(np.uint16)[words.view(np.uint8).reshape(len(rows), 32)]
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * 64
    return pa.StringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text)))


def _mixed(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def sources(rows: np.ndarray[Any, Any]) -> pa.StringArray:
    return pa.DictionaryArray.from_arrays(pa.array((rows % 4).astype(np.int32)), list(SOURCES)).cast(pa.string())


def read(folder: Path, names: tuple[str, ...] = STATES) -> None:
    """One plain read: every column of every shard of both states."""
    for name in names:
        for path in shard_paths(folder / "signals" / name):
            pl.read_parquet(path)


def read_clusters(folder: Path) -> None:
    """The same, and of the clusters: all that pooled_excess reads."""
    read(folder, (*STATES, "texts/cluster"))


def decide(folder: Path) -> dict[str, float]:
    """Join, signal, ranks, rule and decisions.parquet, as the filter stage does them."""
    return decided(folder, "relative_loss_rise", "quantile", {"quantile": SHARE})


def otsu(folder: Path) -> dict[str, float]:
    """The same by the rule for data without probes."""
    return decided(folder, "relative_loss_rise", "otsu", {})


def conformal(folder: Path, signal: str = "excess_rise") -> dict[str, float]:
    """The same by a signal and a rule for data with probes, each row's p-value among the decisions."""
    probes = folder / "data" / "probes.jsonl"
    pl.scan_parquet(folder / "data" / "noisy.parquet").select("id").head(PROBES).collect().write_ndjson(probes)
    return decided(folder, signal, "conformal", {"max_false_drop": 0.1, "fdr": None, "confidence": 0.975}, probes)


def pooled(folder: Path) -> dict[str, float]:
    """The same by the signal that data with probes has by default."""
    return conformal(folder, "pooled_excess")


def tied(folder: Path) -> dict[str, float]:
    """The order of a signal of few values, in which nearly all rows must be ordered by their ids."""
    from forgetfilter.filter import signals
    from forgetfilter.filter.decide import make_scores
    from forgetfilter.filter.table.joined_table import joined

    exact = signals.get("relative_loss_rise")
    assert exact.expression is not None
    with joined(folder / "data" / "noisy.parquet", folder / "signals", exact.needs) as table:
        scores = make_scores(table, replace(exact, expression=exact.expression.round(0)))
        return {"scored": len(scores.order), "values": len(np.unique(scores.evenly()))}


def decided(
    folder: Path, signal: str, rule: str, settings: dict[str, Any], probes: Path | None = None
) -> dict[str, float]:
    data = folder / "data" / "noisy.parquet"
    with decisions_of(data, folder, signal, rule, settings, probes) as decisions:
        decisions.write(folder / "filter" / "decisions.parquet")
        return {"dropped": int(decisions.drop.sum())}


@contextmanager
def decisions_of(
    data: Path, folder: Path, signal: str, rule: str, settings: dict[str, Any], probes: Path | None = None
) -> Iterator[Any]:
    from forgetfilter.filter import rules, signals
    from forgetfilter.filter.decide import make_decisions, make_scores
    from forgetfilter.filter.probes import read_probes
    from forgetfilter.filter.table.joined_table import joined

    known = signals.get(signal)
    with joined(data, folder / "signals", known.needs) as table:
        probe = read_probes(probes, table) if probes else None
        scores = make_scores(table, known, probe)
        review = np.zeros(table.count, dtype=np.int8)
        yield make_decisions(table, scores, known, rules.get(rule), settings, review)


def copy(folder: Path) -> None:
    """One plain copy of the data file, line by line as bytes."""
    with open(folder / "data" / "noisy.jsonl", "rb") as lines, open(folder / "copy.jsonl", "wb") as out:
        out.writelines(lines)
    (folder / "copy.jsonl").unlink()


def split(folder: Path) -> dict[str, float]:
    """The whole of it from the JSONL on: ids from the texts, decisions, kept.jsonl and dropped.jsonl."""
    from forgetfilter.filter.split import write_split

    data, rule = folder / "data" / "noisy.jsonl", ("relative_loss_rise", "quantile", {"quantile": SHARE})
    with decisions_of(data, folder, *rule) as decisions:
        decisions.write(folder / "filter" / "decisions.parquet")
        start = time.perf_counter()
        write_split(data, folder, decisions)
        return {"split_seconds": round(time.perf_counter() - start, 3)}


def clusters(folder: Path) -> dict[str, float]:
    """Clusters of alike texts, as a signal makes them at its first use, on all cores."""
    from forgetfilter.filter.texts.text_columns import prepare

    run = run_of(folder)
    shutil.rmtree(run.signals("texts"), ignore_errors=True)
    start = time.perf_counter()
    prepare(run, ["cluster"])
    rows = int(read_manifest(run.signals("texts") / "cluster")["rows"])
    return {"processes": len(os.sched_getaffinity(0)), "rows_a_second": round(rows / (time.perf_counter() - start))}


def foretold(folder: Path) -> dict[str, float]:
    """What the texts foretell of pooled_excess, as distilled_excess makes it at its first use, after `clusters`; with a
    safe set of as many rows as are fitted to at most, the first of the noisy ones."""
    from forgetfilter.filter import signals
    from forgetfilter.filter.foretell import FITTED, add_foretold
    from forgetfilter.filter.probes import read_probes
    from forgetfilter.filter.table.joined_table import joined

    run, base = run_of(folder), signals.get("pooled_excess")
    shutil.rmtree(run.signals("texts") / "foretold_pooled_excess", ignore_errors=True)
    pl.scan_parquet(folder / "data" / "noisy.parquet").select("id").head(PROBES).collect().write_ndjson(run.probes)
    with open(run.noisy_data, "rb") as rows, open(run.safe_data, "wb") as safe:
        safe.writelines(islice(rows, FITTED))
    with joined(run.noisy_data, folder / "signals", base.needs) as table:
        read_probes(run.probes, table)
        start = time.perf_counter()
        add_foretold(run, table, [base], None, 1)  # made-up rows are clean: probes would stop it
        return {"foretold_seconds": round(time.perf_counter() - start, 3)}


def run_of(folder: Path) -> Run:
    """The folder as a run, which other processes can open."""
    from forgetfilter.config.schema import Config, DataConfig, SourceConfig

    source = {"made-up": SourceConfig(path="none")}
    run = Run(folder, Config(name="scale", data=DataConfig(noisy=source, safe=source)))
    run.write_config()
    return run


WORK: dict[str, Callable[[Path], dict[str, float] | None]] = {
    "read": read,
    "read_clusters": read_clusters,
    "filter": decide,
    "otsu": otsu,
    "conformal": conformal,
    "pooled": pooled,
    "tied": tied,
    "copy": copy,
    "texts": split,
    "clusters": clusters,
    "foretold": foretold,
}
RULES, TEXTS = ("otsu", "conformal", "read_clusters", "pooled"), ("copy", "texts", "clusters", "foretold")

if __name__ == "__main__":
    main()
