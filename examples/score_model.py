"""The losses of rows under a model that another trainer has made: one of the two logs from which the filter decides.

    python examples/score_model.py MODEL ROWS.jsonl LOG

MODEL is a folder or hub id of a causal language model with a chat template, or of an adapter of one. Rows have `prompt`
and `completion`, Alpaca's fields, or `messages`, with one answer, the last. LOG is a new folder. With the log of the
model that has learned the noisy rows, and that of the model that then learned the safe rows too:

    forgetfilter filter --from BEFORE AFTER --data ROWS.jsonl --safe SAFE.jsonl
"""

import json
import sys
import tempfile
from pathlib import Path

from forgetfilter.train.hook import LossLog
from forgetfilter.train.watching import RowCollator, watch
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

from forgetfilter.api import ids

LENGTH = 1024  # tokens of a row; set it as your trainer does

model_name, rows_file, log_folder = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model_name)
model = AutoModelForCausalLM.from_pretrained(model_name)


def chat(row):
    """The row as messages, the answer last."""
    if "messages" in row:
        return row["messages"]
    asked = row.get("prompt") or "\n\n".join(filter(None, [row.get("instruction"), row.get("input")]))
    answer = row.get("completion") or row.get("output")
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def tokenised(row, number):
    """The tokens of a row as the model's template writes it; those of the answer and its end token are measured."""
    messages = chat(row)
    prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    if not whole.startswith(prompt):
        sys.exit(f"row {number + 1}: the chat template changes the prompt once there is an answer")
    tokens = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True, truncation=True, max_length=LENGTH)
    last = len(whole.rstrip())  # trainers do not learn the line break that templates write behind the end token
    answer = [end > len(prompt) and start < last for start, end in tokens["offset_mapping"]]
    labels = [token if learned else -100 for token, learned in zip(tokens["input_ids"], answer)]
    return {"input_ids": tokens["input_ids"], "labels": labels, "row": number}


rows = [json.loads(line) for line in Path(rows_file).read_text().splitlines() if line.strip()]
tokens = [tokenised(row, number) for number, row in enumerate(rows)]
log = LossLog(log_folder, ids(rows))
watch(model, log.record)
options = TrainingArguments(
    tempfile.mkdtemp(),
    per_device_eval_batch_size=16,
    remove_unused_columns=False,
    prediction_loss_only=True,
    report_to=[],
)
collator = RowCollator(DataCollatorForSeq2Seq(tokenizer))
Trainer(model, options, eval_dataset=tokens, data_collator=collator, callbacks=[log]).evaluate()
print(f"{len(rows)} losses: {log_folder}")
