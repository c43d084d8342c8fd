"""Compares the filter's own join and sort with Polars' streaming engine and DuckDB, on the same shards.

    python bench/filter_scale.py --rows 10000000 --repeats 0 --keep --folder FOLDER
    python bench/engines.py --rows 10000000 --folder FOLDER [--repeats 3] [--engines arg_sort ours polars]

DuckDB is no dependency of the project: run `pip install duckdb` first, or leave it out by --engines. Each engine runs
in turn, in a process of its own. It joins the data with both states' shards by id, proves that every id is there
exactly once, computes relative_loss_rise, ranks by it with ties by id, drops the highest 30% and writes decisions in
the data's order. `arg_sort` is the filter itself, but Polars sorts all rows at once in place of filter/table/sorting.py
(equal keys then come in any order, which these data do not show). Names that end in `_hashes` join by the ids' 64-bit
hashes, as the filter's own code does, so that no text is in memory while they join; they ignore that two ids may have
one hash. A last step compares every decision with the filter's own. The result is bench/results/engines.json, with one
entry for each size.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl
from filter_scale import SHARE, STATES, decide

from forgetfilter.storage.run_folder import versions
from forgetfilter.storage.shards import shard_paths

RESULT = Path(__file__).parent / "results" / "engines.json"
COMPARED = ["id", "num_tokens", "before_loss", "after_loss", "score", "rank", "drop"]
MEMORY = "3GB"  # DuckDB's own limit, beyond which it uses the disk; the process takes more
FLOOR_NATS = 0.05  # as the signal relative_loss_rise has it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--worker", choices=ENGINES)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.folder)
    else:
        measure(options.rows, options.folder / str(options.rows), options.repeats, options.engines)


def work(name: str, folder: Path) -> None:
    """One engine's run; prints its seconds and its largest resident memory."""
    start = time.perf_counter()
    ENGINES[name](folder)
    seconds = {"seconds": round(time.perf_counter() - start, 3), "cpu_seconds": round(sum(os.times()[:4]), 3)}
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20
    print(json.dumps(seconds | {"peak_gb": round(peak, 2)}))


def measure(rows: int, folder: Path, repeats: int, names: list[str]) -> None:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    failed: dict[str, str] = {}
    for _ in range(repeats):
        for name in names:
            if name in failed:
                continue
            command = [sys.executable, __file__, "--rows", str(rows), "--worker", name, "--folder", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                failed[name] = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
                print(rows, name, failed[name], flush=True)
                continue
            runs[name].append(json.loads(done.stdout))
            print(rows, name, runs[name][-1], flush=True)
    seconds = {name: statistics.median(run["seconds"] for run in found) for name, found in runs.items() if found}
    entry = {
        "versions": versions(),
        "runs": runs,
        "failed": failed,
        "over_ours": {name: round(value / seconds["ours"], 2) for name, value in seconds.items()},
        "equal_to_ours": {name: equal(folder, name) for name in seconds if name != "ours"},
    }
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    RESULT.write_text(json.dumps(results | {str(rows): entry}, indent=2) + "\n")
    print(json.dumps({key: entry[key] for key in ("over_ours", "equal_to_ours")}))


def equal(folder: Path, name: str, piece: int = 1_000_000) -> bool:
    """Whether an engine's decisions are the filter's own, row by row."""
    ours, theirs = (
        pl.scan_parquet(path).select(COMPARED)
        for path in (folder / "filter" / "decisions.parquet", folder / f"{name}.parquet")
    )
    count = int(ours.select(pl.len()).collect().item())
    if count != int(theirs.select(pl.len()).collect().item()):
        return False
    for start in range(0, count, piece):
        one, other = (frame.slice(start, piece).collect() for frame in (ours, theirs))
        if not one.equals(other.cast(dict(one.schema)), null_equal=True):
            return False
    return True


def polars(folder: Path, hashes: bool = False) -> None:
    """By Polars' streaming engine: the states joined and proven, then ranked, then in the data's order again."""
    data = pl.scan_parquet(folder / "data" / "noisy.parquet")
    key = (pl.col("id").hash(0) if hashes else pl.col("id")).alias("key")
    table = data.select(key, *([] if hashes else ["source", "label"])).with_row_index("row")
    count, different = table.select(pl.len(), different=pl.col("key").n_unique()).collect(engine="streaming").row(0)
    assert different == count, "an id is there twice"
    for state in STATES:
        shards = pl.scan_parquet(shard_paths(folder / "signals" / state), hive_partitioning=False)
        assert shards.select(pl.len()).collect().item() == count, f"{state}: not as many rows as the data"
        own = shards.select(key, pl.col("num_tokens").alias(f"{state}_tokens"), pl.col("loss_sum").alias(state))
        table = table.join(own, on="key", how="left")
    tokens = pl.col("before_tokens")
    means = {f"{state}_loss": pl.when(tokens > 0).then(pl.col(state) / tokens) for state in STATES}
    rise = (pl.col("after_loss") - pl.col("before_loss")) / (pl.col("before_loss") + FLOOR_NATS)
    scored = table.with_columns(**means).with_columns(score=rise)
    joined = folder / "polars-joined.parquet"
    scored.sink_parquet(joined, compression="uncompressed", engine="streaming")
    scored = pl.scan_parquet(joined)
    proof = scored.select(
        pl.len(), pl.col("after_tokens", "before_tokens").null_count(), unequal=(tokens != pl.col("after_tokens")).sum()
    )
    assert proof.collect(engine="streaming").row(0) == (count, 0, 0, 0), "an id is missing, or its tokens differ"
    by_rank = scored.select("row", "key", "score").sort("score", "key", descending=[True, False], nulls_last=True)
    place = by_rank.select("row").with_row_index("rank", offset=1).sort("row")
    number = round(SHARE * count)
    place = place.select("rank", drop=pl.col("rank") <= number)
    decided = pl.concat([scored.sort("row").rename({"before_tokens": "num_tokens"}), place], how="horizontal")
    if hashes:
        decided = pl.concat([decided, data], how="horizontal")
    decided = decided.rename({"key": "id"}) if not hashes else decided
    decided.select("source", "label", *COMPARED).sink_parquet(
        folder / f"polars{'_hashes' if hashes else ''}.parquet", compression="zstd", engine="streaming"
    )
    joined.unlink()


def polars_hashes(folder: Path) -> None:
    polars(folder, hashes=True)


def duckdb(folder: Path, hashes: bool = False) -> None:
    """By DuckDB within MEMORY, the rest of it on the disk: one query joins, a second one ranks and writes."""
    import duckdb as engine

    base = folder / "duckdb.db"
    base.unlink(missing_ok=True)
    with engine.connect(str(base)) as database:
        database.execute(f"SET memory_limit='{MEMORY}'; SET threads={len(os.sched_getaffinity(0))}")
        database.execute(f"SET temp_directory='{folder / 'duckdb-spilled'}'; SET preserve_insertion_order=false")
        data = f"read_parquet('{folder / 'data' / 'noisy.parquet'}', file_row_number=true)"
        key = "hash(id)" if hashes else "id"
        states = {
            state: f"(SELECT {key} AS key, num_tokens, loss_sum FROM read_parquet("
            f"{[str(path) for path in shard_paths(folder / 'signals' / state)]}, hive_partitioning=false))"
            for state in STATES
        }
        counts = [
            database.execute(f"SELECT count(*) FROM {source}").fetchall()[0][0] for source in (data, *states.values())
        ]
        different = database.execute(f"SELECT count(DISTINCT {key}) FROM {data}").fetchall()[0][0]
        assert len({*counts, different}) == 1, f"an id is missing or there twice: {counts}, {different} different"
        database.execute(
            f"""CREATE TABLE joined AS SELECT d.row, b.num_tokens, b.num_tokens AS before_tokens,
            a.num_tokens AS after_tokens, b.loss_sum / nullif(b.num_tokens, 0) AS before_loss,
            a.loss_sum / nullif(b.num_tokens, 0) AS after_loss, {"" if hashes else "id, source, label,"}
            (after_loss - before_loss) / (before_loss + {FLOOR_NATS}) AS score
            FROM (SELECT {key} AS key, {"" if hashes else "id, source, label,"} file_row_number AS row FROM {data}) d
            LEFT JOIN {states["before"]} b USING (key) LEFT JOIN {states["after"]} a USING (key)"""
        )
        proof = "SELECT count(*), count(after_tokens), count(*) FILTER (before_tokens = after_tokens) FROM joined"
        assert set(database.execute(proof).fetchall()[0]) == set(counts), "an id is missing, or its tokens differ"
        texts = f"JOIN (SELECT id, source, label, file_row_number AS row FROM {data}) USING (row)" if hashes else ""
        target = folder / f"duckdb{'_hashes' if hashes else ''}.parquet"
        database.execute(
            f"""COPY (SELECT id, source, label, num_tokens, before_loss, after_loss, score, rank,
            rank <= {round(SHARE * counts[0])} AS drop FROM (SELECT *,
            row_number() OVER (ORDER BY score DESC NULLS LAST, id) AS rank FROM joined {texts}) ORDER BY row)
            TO '{target}' (COMPRESSION zstd)"""
        )
    base.unlink()


def duckdb_hashes(folder: Path) -> None:
    duckdb(folder, hashes=True)


def ours(folder: Path) -> None:
    decide(folder)


def arg_sort(folder: Path) -> None:
    """The filter itself with its sort replaced: Polars' arg_sort of all keys at once, handed on in pieces."""
    from forgetfilter.filter.rules import base
    from forgetfilter.filter.table import joined_table, match
    from forgetfilter.filter.table.sorting import PART, Keys, Rows

    def in_order(lists: Sequence[Keys]) -> Iterator[list[tuple[Rows, Keys]]]:
        rows = [pl.Series(keys).arg_sort().to_numpy() for keys in lists]
        for start in range(0, len(lists[0]), PART):
            own = [found[start : start + PART] for found in rows]
            yield [(part, keys.take(part)) for part, keys in zip(own, lists)]

    for module in (base, match, joined_table):
        module.in_order = in_order
    decide(folder)
    (folder / "filter" / "decisions.parquet").rename(folder / "arg_sort.parquet")


ENGINES: dict[str, Callable[[Path], None]] = {
    "arg_sort": arg_sort,
    "ours": ours,  # after arg_sort, which takes its decisions away
    "polars": polars,
    "polars_hashes": polars_hashes,
    "duckdb": duckdb,
    "duckdb_hashes": duckdb_hashes,
}

if __name__ == "__main__":
    main()
