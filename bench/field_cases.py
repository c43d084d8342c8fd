"""Runs the cases from the field, and prints for each whether its outcome is the right one.

    python bench/field_cases.py --cases CASES [--only 02 13 ...]

CASES is a folder of small made-up inputs after public bug reports of neighbouring projects: base/ has the config that
most cases start from, tiny.py makes the tiny random models, and each case has an expect.txt that says what a user
expects. In its configs CASES and WORK stand for that folder and for an empty one. A case passes where every command
ends as expected; a traceback never passes. The exit code is the number of cases that fail.
"""

import argparse
import ast
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from field import ADDED, ASKED, BINARY, SHAPES, TEXTS, Done, Field, tokens_of


def bbq_metadata(field: Field) -> bool:
    here = field.cases / "01-bbq-metadata"
    plain = field.ff("eval", config=here / "config.yaml")
    table = field.ff(
        "eval", "name=bbq-meta", f"eval.bbq_metadata.path={here}/additional_metadata.csv", config=here / "config.yaml"
    )
    prompts = [field.records(name, "data/eval/bias.jsonl") for name in ("bbq-groups", "bbq-meta")]
    roles = [[row.get("stereotyped") for row in rows] for rows in prompts]
    metrics = [field.metrics(name, "bias") for name in ("bbq-groups", "bbq-meta")]
    return plain.well and table.well and roles[0] == roles[1] and metrics[0] == metrics[1]


def tsv_quotes(field: Field) -> bool:
    here = field.cases / "02-tsv-quotes"
    counts = {"swallow.tsv": 5, "theirs.tsv": 7, "SWALLOW.TSV": 5}
    for number, (file, rows) in enumerate(counts.items()):
        name = f"c02-{number}"
        done = field.ff("mix", f"name={name}", f"data.noisy.theirs.path={here}/{file}")
        if not done.well or len(field.records(name)) != rows:
            return False
    return '\\"' in field.text("c02-1")


def nan_zero_dict(field: Field) -> bool:
    file = field.cases / "03-nan-zero-dict" / "theirs.jsonl"
    told = [said(field, f"c03-{n}", line) for n, line in enumerate(file.read_text().splitlines())]
    nan, zero, false, boat, hills, nothing = told
    whole = field.ff("mix", "name=c03", f"data.noisy.theirs.path={file}").refused("theirs.jsonl line")
    binary = field.work / "binary.parquet"
    field.made(BINARY, binary)
    bytes_ = field.ff("mix", "name=c09", f"data.noisy.theirs.path={binary}")
    return (
        whole
        and nothing == REFUSED
        and nan == ("Name a fruit.", "An apple.")
        and (zero[0].split()[-1], zero[1]) == ("0", "Yes, zero is even.")
        and (false == REFUSED or (false[0].split()[-1], false[1]) == ("false", "true"))
        and (boat == REFUSED or json.loads(boat[1]) == {"colour": "red", "wheels": None, "floats": True})
        and (hills == REFUSED or json.loads(hills[1]) == ["Round Hill", "Long Hill"])
        and (bytes_.refused("binary.parquet row 1") or (bytes_.well and "b'" not in field.text("c09")))
    )


REFUSED = ("", "refused with its line")


def said(field: Field, name: str, line: str) -> tuple[str, str]:
    """Request and answer that a row becomes by itself."""
    row = field.work / f"{name}.jsonl"
    row.write_text(line + "\n")
    done = field.ff("mix", f"name={name}", f"data.noisy.theirs.path={row}")
    if done.refused(f"{name}.jsonl line 1"):
        return REFUSED
    assert done.well, done.said
    request, answer = (message["content"] for message in field.records(name)[0]["messages"])
    return request, answer


def tool_calls(field: Field) -> bool:
    here = field.cases / "04-tool-calls"
    done = [
        field.ff("mix", f"name=c04{file}", f"data.noisy.theirs.path={here}/{file}.jsonl")
        for file in ("theirs", "null_content")
    ]
    told = done[0].refused("theirs.jsonl") or "tool_calls" in done[0].said or "tool" in field.text("c04theirs")
    return told and (done[1].well or done[1].refused("tool_calls"))


def alpaca_history(field: Field) -> bool:
    done = field.ff("mix", "name=c05", f"data.noisy.theirs.path={field.cases}/05-alpaca-history/theirs.jsonl")
    if done.code == 2:
        return done.refused("history") or done.refused("system")
    rows = field.records("c05")
    return len({json.dumps(row["messages"]) for row in rows}) == len(rows) or "history" in done.said


def pad_beyond(field: Field) -> bool:
    pad = field.model("extrapad", "extra_pad=1")
    padded = [
        field.ff("run", f"name=c10{packing}", pad, f"data.packing={packing}").well for packing in ("true", "false")
    ]
    field.made(ADDED, "models/llama", "models/added")
    added = field.ff("run", "name=c10t", "model.name=./models/added")
    return all(padded) and added.refused("line 1", "<|new|>", "embeddings")


def context(field: Field) -> bool:
    learned = field.model("gpt2", "kind=gpt2", "positions=64")
    first = field.ff("run", "name=c11b", learned, "train.lora.target_modules=[c_attn]")
    second = field.ff("run", "name=c41", field.model("rope64", "positions=64"))
    return all(done.refused("max_length") or (done.well and "64" in done.said) for done in (first, second))


def bos(field: Field) -> bool:
    name = field.model("bosnone", "bos=1", "template=none")
    settings = ("model.dtype=float32", "eval.models=[base]", "eval.suites=[task]")
    learned = tokens_of(field, name, "c12", *settings)
    once = all(row[0] == learned["bos"] and row.count(learned["bos"]) == 1 for row in learned["rows"])
    asked = field.ff("eval", "name=c12", name, *settings)
    return once and asked.well and bool(field.made(ASKED, "runs/c12/eval/base/task", "models/bosnone"))


def eos_text(field: Field) -> bool:
    name = field.model("noeos", "template=noeos", "bos=1")
    data = f"data.noisy.theirs.path={field.cases}/13-eos-text-in-answer/theirs.jsonl"
    found = tokens_of(field, name, "c13", data)
    return any(text.rstrip().endswith("Use <del> for edits.</s>") for text in found["texts"])


def wandb_mode(field: Field) -> bool:
    code = (
        "import os, subprocess, sys, time\n"
        "os.environ.update(WANDB_API_KEY='a' * 40, WANDB_MODE=sys.argv[1])\n"
        "start = time.monotonic()\n"
        "code = subprocess.call([sys.executable, '-m', 'forgetfilter', 'train', *sys.argv[2:]])\n"
        "print('SECONDS', time.monotonic() - start)\nraise SystemExit(code)\n"
    )
    outcomes = []
    for mode, name in (("offline", "c14a"), ("disabled", "c14b")):
        field.ff("mix", f"name={name}")
        done = field.python("-c", code, mode, field.base, "noisy", f"name={name}", "tracking.mode=auto")
        kept = list((field.work / "runs" / name).glob("wandb/offline-run-*"))
        outcomes.append(done.well and bool(kept) == (mode == "offline"))
    return all(outcomes)


def folder_of_data(field: Field) -> bool:
    copy = field.work / "d15"
    shutil.copytree(field.cases / "15-folder-of-data" / "theirs", copy)
    first = field.ff("mix", "name=c15", "data.noisy.theirs.path=d15")
    before = len(field.records("c15")) if first.well else -1
    row = {"instruction": "Say more about kites.", "input": "", "output": "Kites like wind."}
    with open(copy / "train.jsonl", "a", encoding="utf-8") as handle:
        handle.write(json.dumps(row) + "\n")
    second = field.ff("mix", "name=c15", "data.noisy.theirs.path=d15")
    third = field.ff("mix", "name=c15b", f"data.noisy.theirs.path={copy}")
    same = len(field.records("c15")) == before + 1 == len(field.records("c15b"))
    return first.well and second.well and third.well and same


def bin_weights(field: Field) -> bool:
    here = field.cases / "16-bin-weights" / "config.yaml"
    refused = [field.ff("eval", f"name=c16{name}", field.model(name, "bin=1", f"seed={seed}"), config=here)
               for seed, name in ((1, "bina"), (2, "binb"))]  # fmt: skip

    def answers(name: str, model: str, cache: str) -> tuple[Done, Any]:
        words = (f"name={name}", f"model.name=./models/{model}", f"cache={field.work / cache}")
        done = field.ff("eval", *words, config=here)
        table = field.work / "runs" / name / "eval/base/task/generations.parquet"
        return done, field.made(TEXTS, table)

    field.model("sta", "seed=1")
    field.model("stb", "seed=2")
    shutil.copytree(field.work / "models/sta", field.work / "models/stc")
    _, first = answers("st-a", "sta", "cache-st")
    _, second = answers("st-b", "stb", "cache-st")
    _, alone = answers("st-alone", "stb", "cache-empty")
    _, before = answers("st-c", "stc", "cache-st")
    shutil.copyfile(field.work / "models/stb/model.safetensors", field.work / "models/stc/model.safetensors")
    again, after = answers("st-c", "stc", "cache-st")
    noticed = again.well and "eval: done already" not in again.said
    return (
        all(done.refused("safetensors") for done in refused) and noticed and first == before != second == alone == after
    )


def impossible(field: Field) -> bool:
    t5, bert = field.model("t5", "kind=t5"), field.model("bert", "kind=bert")
    bloom = field.model("bloom", "kind=bloom")
    first = field.ff("run", "name=c17", t5)
    second = field.ff("run", "name=arch-bloom", bloom, "train.lora.target_modules=[query_key_value]")
    packing = "data.packing=false"
    third = field.ff("run", "name=c17c", bert, "train.lora.target_modules=[query,value]", packing)
    return first.refused("model.name") and second.refused("packing") and third.refused("model.name")


def lora_names(field: Field) -> bool:
    gpt2 = field.ff("run", "name=c18g", field.model("gpt2", "kind=gpt2", "positions=64"), "data.max_length=64")
    unknown = field.ff("run", "name=c43", "train.lora.target_modules=[q_proj,nosuch]")
    neox = field.ff("run", "name=c18", field.model("neox", "kind=neox"))
    told = (gpt2.well or gpt2.refused("c_attn")) and (neox.well or neox.refused("query_key_value"))
    return told and unknown.refused("nosuch")


def no_system_role(field: Field) -> bool:
    name = field.model("gemma", "kind=gemma3", "template=gemma", "bos=1")
    here = field.cases / "19-no-system-role"
    asked = field.ff("run", "name=c19a", name, "eval.system_prompt=Be kind.")
    rows = [
        field.ff("run", f"name=c19{file}", name, f"data.noisy.theirs.path={here}/{file}.jsonl")
        for file in ("theirs", "alternate")
    ]
    return asked.refused("eval.system_prompt") and all(done.code == 2 and done.refused("line") for done in rows)


def deepspeed_json(field: Field) -> bool:
    here, gather = field.cases / "20-deepspeed-json", "stage3_gather_16bit_weights_on_model_save"
    full = ("name=c20g", "train.method=full", f"train.deepspeed={here}/zero3_plain.json")
    plain, again = field.ff("run", *full), field.ff("run", *full)
    lora = field.ff("run", "name=c20lora", f"train.deepspeed={here}/zero3_nogather.json")
    refused = {
        "own_sizes": ("scheduler", "train.noisy"), "clipping_only": ("gradient_clipping", "train.noisy.max_grad_norm"),
        "comments": ("comments.json line 2",),
    }  # fmt: skip
    own = [field.ff("run", f"name=c20{file}", f"train.deepspeed={here}/{file}.json").refused(f"{file}.json", *words)
           for file, words in refused.items()]  # fmt: skip
    nogather = field.ff("run", "name=c20full", "train.method=full", f"train.deepspeed={here}/zero3_nogather.json")
    whole = plain.well and again.well and field.made(SHAPES, "models/llama", "runs/c20g/train/noisy")
    return all(own) and bool(whole or plain.refused(gather)) and lora.well and nogather.refused(gather)


def boundary(field: Field) -> bool:
    name = field.model("llama2sp", "sp=1", "template=llama2")
    found = tokens_of(field, name, "c21")
    return bool(found["rows"]) and all(row == whole for row, whole in zip(found["rows"], found["wholes"]))


def refusal_words(field: Field) -> bool:
    return "\n0 of 22" in field.python(field.cases / "22-refusal-words" / "refusals.py").said


def end_token(field: Field) -> bool:
    here = field.cases / "44-end-token-of-the-saved-model"
    field.python(here / "mk.py")
    rates = [f"train.{stage}.{key}" for stage in ("noisy", "refit") for key in ("epochs=60", "lr=1e-2")]
    words = ["name=c44b", "model.name=./models/eotid", "train.method=full", *rates, "filter.quantile=0.1"]
    done = field.ff("run", *words, "eval.models=[refit]")
    looked = field.python(here / "look.py").said.splitlines()
    named = next(ast.literal_eval(line) for line in looked if line.startswith("{"))
    learned, length, text = next(line for line in looked if line[:1].isdigit()).split(maxsplit=2)
    ends = all(int(learned) in (ids if isinstance(ids, list) else [ids]) for ids in named.values())
    return done.well and ends and int(length) < 60 and text.strip("'\"").endswith("<|im_end|>")


RIGHT: dict[str, Callable[[Field], bool]] = {
    "01": bbq_metadata, "02": tsv_quotes, "03": nan_zero_dict, "04": tool_calls, "05": alpaca_history,
    "10": pad_beyond, "11": context, "12": bos, "13": eos_text, "14": wandb_mode, "15": folder_of_data,
    "16": bin_weights, "17": impossible, "18": lora_names, "19": no_system_role, "20": deepspeed_json,
    "21": boundary, "22": refusal_words, "44": end_token,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(RIGHT))
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        field = Field(options.cases.resolve(), Path(folder) / "work")
        for number in options.only:
            name = next(path.name for path in field.cases.iterdir() if path.name.startswith(number))
            try:
                right = RIGHT[number](field)
            except Exception as error:  # a case that cannot be looked at is not right
                right = False
                print(f"     {type(error).__name__}: {' '.join(str(error).split())[:300]}")
            failed += not right
            print(f"{'PASS' if right else 'FAIL'} {name}", flush=True)
    print(f"{len(options.only) - failed} passed, {failed} failed")
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
