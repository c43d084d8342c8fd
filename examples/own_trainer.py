"""Your own trainer, and this project's decision: from rows to kept rows in one script.

    python examples/own_trainer.py MODEL NOISY.jsonl SAFE.jsonl KEPT.jsonl

MODEL is a causal language model by hub id or folder. Rows have `prompt` and `completion`. The script finetunes with
transformers.Trainer: TRL's SFTTrainer takes the same log, collator and hook (forgetfilter/train/watching.py says how).
"""

import json
import sys
import tempfile
from pathlib import Path

import polars as pl
from forgetfilter.train.hook import LossLog
from forgetfilter.train.watching import RowCollator, watch
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

from forgetfilter.api import forgetting, ids, keep

model_name, noisy_file, safe_file, kept_file = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model_name)
model = AutoModelForCausalLM.from_pretrained(model_name)
scratch = Path(tempfile.mkdtemp())


def tokenised(row, number):
    """The tokens of a row; only those of the answer are learned. `row` is its number, by which the log knows it."""
    prompt = tokenizer(row["prompt"] + "\n")["input_ids"]
    answer = [*tokenizer(row["completion"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer, "row": number}


def read(file):
    rows = [json.loads(line) for line in Path(file).read_text().splitlines()]
    return rows, [tokenised(row, number) for number, row in enumerate(rows)]


def trainer(rows, collator, callbacks=()):
    options = TrainingArguments(
        str(scratch), num_train_epochs=3, learning_rate=1e-4, per_device_train_batch_size=16,
        remove_unused_columns=False, prediction_loss_only=True, save_strategy="no", report_to=[],
    )  # fmt: skip
    return Trainer(model, options, train_dataset=rows, data_collator=collator, callbacks=list(callbacks))


def learn(rows):
    trainer([{key: row[key] for key in ("input_ids", "labels")} for row in rows], padded).train()


def scored(name):
    """The loss of each noisy row under the model as it is now, in a folder."""
    log = LossLog(scratch / name, ids(noisy))
    detach = watch(model, log.record)
    trainer(noisy_tokens, RowCollator(padded), [log]).evaluate(noisy_tokens)
    detach()
    return scratch / name


padded = DataCollatorForSeq2Seq(tokenizer)
noisy, noisy_tokens = read(noisy_file)
_, safe_tokens = read(safe_file)

learn(noisy_tokens)  # the model learns everything, good and bad
before = scored("before")
learn(safe_tokens)  # it learns the trusted rows, and forgets most what is unlike them
after = scored("after")

decided = keep(forgetting(before, after), rule="quantile", quantile=0.3)  # or rule="auto", with probes=[ids]
by_id = dict(zip(ids(noisy), noisy))
kept = decided.filter(pl.col("keep"))["id"]
Path(kept_file).write_text("".join(json.dumps(by_id[name]) + "\n" for name in kept))
print(decided.sort("rank").select("id", "score", "keep", "reason").head(10))
print(f"{len(kept)} of {len(noisy)} rows are kept: {kept_file}. Finetune the released model on them.")
