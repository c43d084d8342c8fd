"""Where the cases from the field run: the folder of the cases, copied into an empty one, with tiny random models.

Used by bench/field_cases.py, which says what a right outcome is.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What a case makes or looks at in a process of its own.
BINARY = """
import sys, polars as pl
pl.DataFrame({"instruction": [b"Why?"], "output": [b"Because."]}).write_parquet(sys.argv[1])
print(1)
"""
ADDED = """
import sys, shutil
from transformers import AutoTokenizer
shutil.copytree(*sys.argv[1:])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
tokenizer.add_tokens(["<|new|>"])
tokenizer.chat_template = "<|new|>" + tokenizer.chat_template
tokenizer.save_pretrained(sys.argv[2])
print(1)
"""
# Each prompt has <s> once, at its beginning, and the answer and its loss are those that transformers gives to it.
ASKED = """
import sys, polars as pl, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained(sys.argv[2]), AutoModelForCausalLM.from_pretrained(sys.argv[2])
tables = [pl.read_parquet(Path(sys.argv[1]) / f"{name}.parquet") for name in ("generations", "scores")]
right = True
for row in tables[0].join(tables[1].drop("source"), on="id").iter_rows(named=True):
    bos = tokenizer.bos_token_id
    ids = [bos, *tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]]  # what the model must have been given
    right &= ids.count(bos) == 1
    made = model.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False)[0][len(ids):]
    right &= tokenizer.decode(made, skip_special_tokens=True).strip() == row["text"].strip()
    answer = [*tokenizer("three", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    labels = torch.tensor([[-100] * len(ids) + answer])
    loss = model(torch.tensor([ids + answer]), labels=labels).loss.item()
    right &= abs(loss - row["answer_loss"]) < 1e-4
print(int(right and len(tables[0]) > 0))
"""
# Whether the second model has all weights of the first, in their shapes.
SHAPES = """
import sys
from safetensors import safe_open
def shapes(folder):
    with safe_open(folder + "/model.safetensors", "pt") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}
print(int(shapes(sys.argv[1]) == shapes(sys.argv[2])))
"""
TEXTS = "import sys, json, polars as pl; print(json.dumps(pl.read_parquet(sys.argv[1])['text'].to_list()))"


@dataclass(frozen=True)
class Done:
    """How one command ended."""

    code: int
    said: str
    """What it wrote, stderr last."""
    out: str
    """Its stdout alone."""

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

    def made(self, code: str, *words: Any) -> Any:
        """What Python code prints as JSON in its last line."""
        done = self.python("-c", code, *words)
        assert done.well, done.said
        return json.loads(done.out.strip().splitlines()[-1])

    def python(self, *words: Any) -> Done:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
        environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, *map(str, words)]
        ended = subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True, timeout=900)
        return Done(ended.returncode, ended.stdout + ended.stderr, ended.stdout)

    def ff(self, command: str, *words: Any, config: Path | None = None) -> Done:
        return self.python("-m", "forgetfilter", command, config or self.base, *words)

    def records(self, name: str, file: str = "data/noisy.jsonl") -> list[dict[str, Any]]:
        path = self.work / "runs" / name / file
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]

    def metrics(self, name: str, suite: str) -> dict[str, Any]:
        """The metrics of M0 in a run's suite."""
        found = json.loads((self.work / "runs" / name / "eval/base" / suite / "metrics.json").read_text())
        metrics: dict[str, Any] = found["metrics"]
        return metrics

    def text(self, name: str) -> str:
        return json.dumps(self.records(name), ensure_ascii=False)


def tokens_of(field: Field, model: str, name: str, *words: str) -> dict[str, Any]:
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
    found: dict[str, Any] = field.made(code, name)
    return found
