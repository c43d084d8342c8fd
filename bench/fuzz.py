"""Atheris looks for inputs that nobody would write: what comes out is a result or one line of a UserError.

    python -m pip install atheris
    python bench/fuzz.py readers|renderer|config [--seconds 1200] [--seed 0]

Atheris mutates inputs and keeps those that reach code which no input had reached. The targets: `readers` reads a file
of any kind as the mix stage and the evaluation do, and writes it as records; `renderer` makes tokens of a chat by the
template and tokenizer of each family of bench/family_models.py; `config` loads a YAML file. Any other error than a
UserError ends the run with exit code 77 and prints the input's file. An input that takes longer than 10 s, or more than
4 GB, is a failure too.
"""

import argparse
import csv
import gzip
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["forgetfilter"]):
    from forgetfilter.config.load import load_config, to_yaml
    from forgetfilter.config.registry import SUITES, own_prompts
    from forgetfilter.config.schema import SourceConfig
    from forgetfilter.data.original_rows import Originals, to_line
    from forgetfilter.data.records import make_records, read_records, write_records
    from forgetfilter.data.shapes import to_messages
    from forgetfilter.data.sources import fingerprint, read_originals
    from forgetfilter.data.tokens import encode
    from forgetfilter.data.told import Told
    from forgetfilter.errors import UserError
    from forgetfilter.mix.benchmarks.prompts import with_ids

import pyarrow as pa
import pyarrow.parquet as pq
from family_models import FAMILIES, make_tokenizer

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
    b"\xff", b"\x00", b"\r", b"\xef\xbb\xbf", b"\\ud800", b"NaN", b"-Infinity", b"1e999", b"9" * 60, b"[" * 60, b'"',
    b'{"role":', b"null", b"{}", b"[]", b"\xe2\x80\xa8", b"\t", b"false", b'"from"', b'"type"', b"\\u0000", b"${",
    b"!!", b"&a", b"*a", b"<<:", b".inf", b"oc.env:", b"0x", b"1_0",
]  # fmt: skip
NAMES = ("a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.arrow", "a.jsonl.gz", "a.csv.gz")
MAX_LENGTH = 64
ROLES = ("user", "assistant", "system", "tool")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=["readers", "renderer", "config"])
    parser.add_argument("--seconds", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.fsync = lambda handle: None  # type: ignore[assignment]  # nothing here must outlive the machine
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{options.target}-"))
    corpus, words = folder / "corpus", folder / "words"
    corpus.mkdir()
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in TROUBLE))
    for number, content in enumerate(SEEDS[options.target](folder)):
        (corpus / f"{number:03d}").write_bytes(content)
    # A seed of 0 would mean the clock.
    limits = [f"-max_total_time={options.seconds}", f"-seed={options.seed + 1}", "-timeout=10", "-rss_limit_mb=4000"]
    atheris.Setup(
        [sys.argv[0], str(corpus), *limits, f"-dict={words}", f"-artifact_prefix={folder}/", "-print_final_stats=1"],
        TARGETS[options.target](folder),
    )
    atheris.Fuzz()


def readers(folder: Path) -> Callable[[bytes], None]:
    """The first byte says the kind of file, the rest is its content, packed by gzip where the kind is."""

    def read(data: bytes) -> None:
        name = NAMES[data[0] % len(NAMES)] if data else NAMES[0]
        path = folder / name
        path.write_bytes(gzip.compress(data[1:], 1) if name.endswith(".gz") else data[1:])
        source, told = SourceConfig(path=str(path)), Told()
        fingerprint(source)
        try:
            rows = [*Originals(folder / "originals").keep("fuzz", source, read_originals(source, "data.noisy.f", told))]
        except UserError as error:
            assert str(error)
            return
        examples = []
        for where, row in rows:
            json.loads(to_line(row))
            try:
                examples.append((to_messages(row, where, told), str(row.get("source"))[:9], None))
            except UserError as error:
                assert str(error).startswith(where)
            for suite in own_prompts():
                _prompts(suite, row, where)
        records = [*make_records(examples)]
        if all(record.source.isprintable() for record in records):
            write_records(folder / "records.jsonl", records)
            assert [*read_records(folder / "records.jsonl")] == records
        told.lines("k")
        json.dumps(told.counts(), ensure_ascii=False).encode()

    return read


def _prompts(suite: str, row: dict[str, Any], where: str) -> None:
    try:
        asked = with_ids([("s", SUITES.get(suite, "eval.data").prompt(dict(row), where))])
    except UserError:
        return
    json.dumps(asked, ensure_ascii=False).encode()


def file_seeds(folder: Path) -> list[bytes]:
    return [bytes([kind]) + written(folder / name, row) for kind, name in enumerate(NAMES) for row in ROWS]


def written(path: Path, row: dict[str, Any]) -> bytes:
    """The content of a file with this row, before it is packed."""
    cells = {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([cells if "output" in row else row]), path)
        return path.read_bytes()
    if path.suffix == ".arrow":
        table = pa.Table.from_pylist([cells])
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
        return path.read_bytes()
    if path.suffix == ".json":
        return json.dumps([row]).encode()
    if ".csv" in path.suffixes or ".tsv" in path.suffixes:
        text = io.StringIO()
        csv.writer(text, delimiter="\t" if ".tsv" in path.suffixes else ",").writerows([[*cells], [*cells.values()]])
        return text.getvalue().encode()
    return json.dumps(row).encode() + b"\n"


def renderer(folder: Path) -> Callable[[bytes], None]:
    """The first byte names the family; then a turn is a byte for its role and a text that ends with a line end."""
    families = [(family, make_tokenizer(family)) for family in FAMILIES.values()]

    def render(data: bytes) -> None:
        family, tokenizer = families[data[0] % len(families)] if data else families[0]
        turns = [turn for turn in data[1:].split(b"\n") if len(turn) > 1]
        chat = [{"role": ROLES[turn[0] % 4], "content": turn[1:].decode("utf-8", "replace")} for turn in turns]
        chat = [*chat[:-1], {"role": "assistant", "content": chat[-1]["content"]}] if chat else chat
        try:  # as every reader makes them, which refuse a row without an answer
            messages = to_messages({"messages": chat}, "f line 1", Told())
            [(ids, [(num_prompt, _)], cut)] = encode(tokenizer, [messages], MAX_LENGTH)
        except UserError as error:
            assert str(error)
            return
        assert 0 < num_prompt < len(ids) <= MAX_LENGTH and max(ids) < len(tokenizer)
        if family.pieces == "bytes" and not cut and family.template != "inst":
            assert messages[-1]["content"] in tokenizer.decode(ids[num_prompt:])

    return render


def chat_seeds(folder: Path) -> list[bytes]:
    chats = [
        b"\0q\n\1a",
        b"\2s\n\0q\n\1a\n\0b c\n\1 d ",
        b"\1text",
        b"\0<s>[INST] x\n\1</s><|end|>",
        b"\3t\n\1\xe2\x96\x81",
    ]
    return [bytes([family]) + chat for family in range(len(FAMILIES)) for chat in chats]


def config(folder: Path) -> Callable[[bytes], None]:
    """A config that is taken is written and read again as the same one."""
    given, again = folder / "given.yaml", folder / "again.yaml"

    def load(data: bytes) -> None:
        given.write_bytes(data)
        try:
            taken = load_config(given)
        except UserError as error:
            assert str(error)
            return
        again.write_text(to_yaml(taken))
        assert replace(load_config(again, own=True), references=taken.references) == taken

    return load


def config_seeds(folder: Path) -> list[bytes]:
    root = Path(__file__).parents[1] / "configs"
    small = [
        b"name: a\ndata: {noisy: {a: {path: b}}, safe: {c: {path: d}}}\n",
        b"filter: {rule: quantile, quantile: 0.3}\n",
    ]
    return [*small, *(path.read_bytes() for path in sorted(root.rglob("*.yaml")))]


TARGETS = {"readers": readers, "renderer": renderer, "config": config}
SEEDS = {"readers": file_seeds, "renderer": chat_seeds, "config": config_seeds}

if __name__ == "__main__":
    main()
