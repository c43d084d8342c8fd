"""The readers on files that nobody would write: what comes out is rows or one line of a UserError, never a traceback.

    python bench/fuzz_readers.py [--seconds 120] [--seed 0]

Small files of every kind and shape are mutated (bytes flipped, cut out, doubled, exchanged with others', words of
trouble put in), read as a source, made into messages and records, and written as the mix stage writes them. Any other
error than a UserError is printed with the file that gave it, and ends the run with exit code 1.
"""

import argparse
import gzip
import json
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forgetfilter.config.registry import SUITES, own_prompts
from forgetfilter.config.schema import SourceConfig
from forgetfilter.data.original_rows import Originals, to_line
from forgetfilter.data.records import make_records, read_records, write_records
from forgetfilter.data.shapes import to_messages
from forgetfilter.data.sources import fingerprint, read_originals
from forgetfilter.data.told import Told
from forgetfilter.errors import UserError
from forgetfilter.mix.benchmarks.prompts import with_ids

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
ROWS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}]},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s", "tools": "[1]"},
    {"prompt": [{"role": "user", "content": [{"type": "text", "text": "q"}]}], "completion": {"role": "assistant"}},
    {"prompt": "q", "completion": "a", "history": [["q", "a"]], "weight": 0.5},
    {"instruction": "q", "input": 0, "output": {"a": [None, 1.5, True]}, "system": "s"},
    {"text": "a b c d e", "source": "s", "label": "safe", "n": float("nan")},
    {"prompt": "q", "choices": ["a", "b", "c"], "gold": 0, "unknown": 0, "stereotyped": 1, "polarity": "neg"},
]
TROUBLE = [
    b"\xff", b"\x00", b"\r", b"\xef\xbb\xbf", b"\\ud800", b"NaN", b"-Infinity", b"1e999", b"9" * 5000,
    b"[" * 3000, b'"', b'{"role":', b"null", b"{}", b"[]", b"\xe2\x80\xa8", b",", b"\t", b"\n", b"0", b"false",
    b'"from"', b'"type"', b"\\u0000",
]  # fmt: skip
NAMES = ("a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.arrow", "a.jsonl.gz", "a.csv.gz")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, counts = random.Random(options.seed), {"read": 0, "refused": 0, "slowest_seconds": 0.0}
    os.fsync = lambda handle: None  # type: ignore[assignment]  # nothing here must outlive the machine
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seeds = {name: [written(Path(folder) / name, [row]) for row in ROWS] for name in NAMES}
        while time.monotonic() - start < options.seconds:
            name = rng.choice(NAMES)
            path = Path(folder) / name
            content = mutated(rng, rng.choice(seeds[name]), rng.choice(seeds[name]), zipped=name.endswith(".gz"))
            path.write_bytes(content)
            began = time.monotonic()
            try:
                counts["read" if reads(path, rng) else "refused"] += 1
            except Exception:
                traceback.print_exc()
                print(f"{name}: {content[:2000]!r}", file=sys.stderr)
                return 1
            counts["slowest_seconds"] = round(max(counts["slowest_seconds"], time.monotonic() - began), 2)
    print(json.dumps(counts))
    return 0


def written(path: Path, rows: list[dict[str, Any]]) -> bytes:
    """The content of a file with these rows."""
    cells = [
        {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()} for row in rows
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if ".parquet" in path.name:
        pq.write_table(pa.Table.from_pylist(rows if "output" not in rows[0] else cells), path)
        return path.read_bytes()
    if ".arrow" in path.name:
        table = pa.Table.from_pylist(cells)
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
        return path.read_bytes()
    if ".json" in path.suffixes:
        return json.dumps(rows).encode()
    if ".csv" in path.suffixes or ".tsv" in path.suffixes:
        import csv
        import io

        text = io.StringIO()
        writer_ = csv.writer(text, delimiter="\t" if ".tsv" in path.suffixes else ",")
        writer_.writerows([[*cells[0]], *([*row.values()] for row in cells)])
        return text.getvalue().encode()
    return lines


def mutated(rng: random.Random, content: bytes, other: bytes, zipped: bool) -> bytes:
    for _ in range(rng.randint(0, 3)):
        place, end = sorted(rng.randint(0, len(content)) for _ in range(2))
        end = min(end, place + rng.choice((1, 4, 40)))
        cut = sorted(rng.randint(0, len(other)) for _ in range(2))
        content = (
            content[:place]
            + rng.choice((b"", content[place:end] * 2, rng.choice(TROUBLE), rng.randbytes(3), other[cut[0] : cut[1]]))
            + content[end if rng.random() < 0.7 else place :]
        )
    if not zipped:
        return content
    packed = gzip.compress(content, 1)
    return packed[: rng.randint(0, len(packed))] if rng.random() < 0.2 else packed


def reads(path: Path, rng: random.Random) -> bool:
    """Whether the file is read to its end, as the mix stage and the evaluation do it. False: it was refused."""
    source, told = SourceConfig(path=str(path)), Told()
    fingerprint(source)
    try:
        originals = Originals(path.parent / "originals")
        rows = [*originals.keep("fuzz", source, read_originals(source, "data.noisy.fuzz", told))]
    except UserError as error:
        assert str(error)
        return False
    whole, examples = True, []
    for where, row in rows:
        json.loads(to_line(row))
        try:
            examples.append((to_messages(row, where, told), str(row.get("source"))[:9], None))
        except UserError:
            whole = False
        try:
            asked = with_ids([("s", SUITES.get(rng.choice(own_prompts()), "eval.data").prompt(dict(row), where))])
            json.dumps(asked, ensure_ascii=False).encode()
        except UserError:
            whole = False
    made = path.parent / "records.jsonl"
    records = [*make_records(examples)]
    if all(record.source.isprintable() for record in records):
        write_records(made, records)
        assert [*read_records(made)] == records
    told.lines("k")
    json.dumps(told.counts(), ensure_ascii=False).encode()
    return whole


if __name__ == "__main__":
    sys.exit(main())
