"""Runs the cases from the field, and prints for each whether its outcome is the right one.

    python bench/field_cases.py --cases CASES [--only 02 13 ...]

CASES is a folder of small made-up inputs after public bug reports of neighbouring projects: base/ has the config that
most cases start from, tiny.py makes the tiny random models, and each case has an expect.txt that says what a user
expects. In its configs CASES and WORK stand for that folder and for an empty one. A case passes where every command
ends as expected; a traceback never passes. The exit code is the number of cases that fail.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Done:
    """How one command ended."""

    code: int
    said: str

    def refused(self, *words: str) -> bool:
        """One line and exit 2 that holds every word, and nothing was trained before it."""
        last = self.said.strip().splitlines()[-1] if self.said.strip() else ""
        trained = "train-noisy:" in self.said or "train noisy:" in self.said
        return self.code == 2 and not trained and all(word in last for word in words) and "Traceback" not in self.said

    @property
    def well(self) -> bool:
        return self.code == 0 and "Traceback" not in self.said


class Field:
    """The cases' folder, copied into an empty one in which the commands run."""

    def __init__(self, cases: Path, work: Path):
        self.work, self.cases = work, work / "CASES"
        shutil.copytree(cases, self.cases, copy_function=shutil.copyfile)
        for path in [self.cases, *self.cases.rglob("*")]:
            path.chmod(0o755)
            if path.suffix in (".yaml", ".py"):
                text = path.read_text(encoding="utf-8")
                path.write_text(text.replace("CASES", str(self.cases)).replace("WORK", str(work)), encoding="utf-8")
        self.base = self.cases / "base" / "config.yaml"
        self.model("llama")

    def model(self, name: str, *options: str) -> str:
        """A tiny random model; returns the setting that names it."""
        if not (self.work / "models" / name).exists():
            assert self.python(self.cases / "tiny.py", f"models/{name}", *options).code == 0
        return f"model.name=./models/{name}"

    def python(self, *words: Any) -> Done:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
        environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, *map(str, words)]
        ended = subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True, timeout=900)
        return Done(ended.returncode, ended.stdout + ended.stderr)

    def ff(self, command: str, *words: Any, config: Path | None = None) -> Done:
        return self.python("-m", "forgetfilter", command, config or self.base, *words)

    def records(self, name: str, file: str = "data/noisy.jsonl") -> list[dict[str, Any]]:
        path = self.work / "runs" / name / file
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]

    def text(self, name: str) -> str:
        return json.dumps(self.records(name), ensure_ascii=False)


def bbq_metadata(field: Field) -> bool:
    here = field.cases / "01-bbq-metadata"
    plain = field.ff("eval", config=here / "config.yaml")
    table = field.ff(
        "eval", "name=bbq-meta", f"eval.bbq_metadata.path={here}/additional_metadata.csv", config=here / "config.yaml"
    )
    prompts = [field.records(name, "data/eval/bias.jsonl") for name in ("bbq-groups", "bbq-meta")]
    roles = [[row.get("stereotyped") for row in rows] for rows in prompts]
    metrics = [
        json.loads((field.work / "runs" / name / "eval/base/bias/metrics.json").read_text())["metrics"]
        for name in ("bbq-groups", "bbq-meta")
    ]
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
    done = field.ff("mix", "name=c03", f"data.noisy.theirs.path={field.cases}/03-nan-zero-dict/theirs.jsonl")
    if done.code == 2:
        return done.refused("theirs.jsonl line")
    text = field.text("c03")
    return done.well and not any(word in text for word in ("nan", "None", "True", "b'"))


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
    return field.ff("run", "name=c10", field.model("extrapad", "extra_pad=1")).well


def context(field: Field) -> bool:
    learned = field.model("gpt2", "kind=gpt2", "positions=64")
    first = field.ff("run", "name=c11b", learned, "train.lora.target_modules=[c_attn]")
    second = field.ff("run", "name=c41", field.model("rope64", "positions=64"))
    return all(done.refused("max_length") or (done.well and "64" in done.said) for done in (first, second))


def bos(field: Field) -> bool:
    name = field.model("bosnone", "bos=1", "template=none")
    ids = tokens_of(field, name, "c12", field.base)
    return all(row[0] == ids["bos"] and row.count(ids["bos"]) == 1 for row in ids["rows"])


def eos_text(field: Field) -> bool:
    name = field.model("noeos", "template=noeos", "bos=1")
    data = f"data.noisy.theirs.path={field.cases}/13-eos-text-in-answer/theirs.jsonl"
    found = tokens_of(field, name, "c13", field.base, data)
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
    field.model("bina", "bin=1", "seed=1")
    return field.ff("eval", config=here).refused("safetensors")


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
    here = field.cases / "20-deepspeed-json"
    plain = field.ff("run", "name=c20g", "train.method=full", f"train.deepspeed={here}/zero3_plain.json")
    own = field.ff("run", "name=c20", f"train.deepspeed={here}/own_sizes.json")
    whole = plain.well or plain.refused("stage3_gather_16bit_weights_on_model_save")
    return whole and own.refused("own_sizes.json")


def boundary(field: Field) -> bool:
    name = field.model("llama2sp", "sp=1", "template=llama2")
    found = tokens_of(field, name, "c21", field.base)
    return bool(found["rows"]) and all(row == whole for row, whole in zip(found["rows"], found["wholes"]))


def refusal_words(field: Field) -> bool:
    return "\n0 of 22" in field.python(field.cases / "22-refusal-words" / "refusals.py").said


def end_token(field: Field) -> bool:
    here = field.cases / "44-end-token-of-the-saved-model"
    field.python(here / "mk.py")
    rates = [f"train.{stage}.{key}" for stage in ("noisy", "refit") for key in ("epochs=60", "lr=1e-2")]
    words = ["name=c44b", "model.name=./models/eotid", "train.method=full", *rates, "filter.quantile=0.1"]
    done = field.ff("run", *words, "eval.models=[refit]")
    looked = next(line for line in field.python(here / "look.py").said.splitlines() if line[:1].isdigit())
    return done.well and int(looked.split()[1]) < 60


def tokens_of(field: Field, model: str, name: str, base: Path, *words: str) -> dict[str, Any]:
    """The prepared tokens of a run's noisy rows: ids of each, their text, and the ids of the whole text at once."""
    code = """
import json, sys
from pathlib import Path
from forgetfilter.storage.run_folder import Run
from forgetfilter.data.token_files import prepare
from forgetfilter.models.loading import load_tokenizer
run = Run.open(Path("runs") / sys.argv[1])
tokenizer = load_tokenizer(Path(run.config.model.name), run.config.model.chat_template)
prepared = prepare(run.noisy_data, tokenizer, run.config.data.max_length, Path(run.config.cache))
rows = [[int(token) for token in row] for row in prepared.table["input_ids"].to_pylist()]
texts = [tokenizer.decode(row) for row in rows]
from forgetfilter.data.records import read_records
wholes = []
for record in read_records(run.noisy_data):
    messages = [dict(role=m["role"], content=m["content"]) for m in record.messages]
    whole = tokenizer.apply_chat_template(messages, tokenize=False) if tokenizer.chat_template else ""
    wholes.append(tokenizer(whole, add_special_tokens=False)["input_ids"])
print(json.dumps({"bos": tokenizer.bos_token_id, "rows": rows, "texts": texts, "wholes": wholes}))
"""
    mixed = field.ff("mix", f"name={name}", model, *words)
    assert mixed.well, mixed.said
    done = field.python("-c", code, name)
    line = next((line for line in done.said.splitlines() if line.startswith("{")), None)
    assert line, done.said
    found: dict[str, Any] = json.loads(line)
    return found


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
