"""The loss log beside the batches and the loss of a trainer's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from forgetfilter.train.hook import LossCollator, LossLog
from forgetfilter.train.stage import settings
from forgetfilter.train.watching import RowCollator, watch
from toy_study import call, write_config
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    DataCollatorWithFlattening,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from forgetfilter.api import forgetting
from forgetfilter.data.batches import TrainingPlan
from forgetfilter.data.records import read_records
from forgetfilter.data.token_files import prepare
from forgetfilter.models.example_losses import attach
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import merged

Rows = list[dict[str, Any]]
SCHEDULE = {"epochs": 1, "lr": 1e-2, "batch_size": 4, "warmup_share": 0.0}


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    """The project's own run on made-up rows, up to the decision."""
    folder = tmp_path_factory.mktemp("own")
    rows = {
        name: [
            {"prompt": f"what is {n}?", "completion": f"it is {n * 7}" + " so" * (n % 3)}
            for n in range(start, start + number)
        ]
        for name, start, number in (("noisy", 0, 26), ("safe", 100, 9))
    }
    config = write_config(
        folder,
        tiny_model,
        rows,
        train={"method": "full", "noisy": SCHEDULE, "safe": SCHEDULE},
        filter={"rule": "quantile", "signal": "relative_loss_rise"},
    )
    for stage in ("mix", "train", "score", "filter"):
        assert call(stage, config, *(["noisy", "safe"] if stage == "train" else [])) == 0
    return Run.open(folder / "runs" / "r")


def tokens(run: Run, stage: str) -> tuple[Rows, Rows]:
    """(rows of a stage in their own order, and in the order in which the project learned them)."""
    task = settings(run, stage)
    prepared = prepare(task.data, task.model.tokenizer(), task.max_length, task.model.cache)
    labels = prepared.num_labels()
    rows = [
        {"input_ids": ids, "labels": [-100] * (len(ids) - n) + ids[-n:], "row": row}
        for row, (ids, n) in enumerate(zip(prepared.table["input_ids"].to_pylist(), labels.tolist()))
    ]
    own = task.schedule
    plan = TrainingPlan(prepared.lengths(), labels, task.seed, own.epochs, own.batch_size, 10**6, 1)
    return rows, [rows[row] for step in range(plan.num_steps) for row in plan.rows(step)]


def plain(model: Any, rows: Rows, folder: Path, callbacks: list[TrainerCallback], **options: Any) -> Trainer:
    """transformers.Trainer with its own collator for padded rows."""
    arguments = TrainingArguments(str(folder), **options)
    trainer = Trainer(model, arguments, train_dataset=rows, callbacks=callbacks)
    trainer.data_collator = DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(model.name_or_path))
    return trainer


def of_trl(model: Any, rows: Rows, folder: Path, callbacks: list[TrainerCallback], **options: Any) -> Trainer:
    """TRL's SFTTrainer, which prepares the rows and makes its own batches and loss."""
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    given = Dataset.from_list(rows)
    arguments = trl.SFTConfig(str(folder), **options, max_length=64, bf16=False, gradient_checkpointing=False)
    made: Trainer = trl.SFTTrainer(model, arguments, train_dataset=given, eval_dataset=given, callbacks=callbacks)
    return made


OPTIONS = {
    "per_device_train_batch_size": 4, "per_device_eval_batch_size": 8, "num_train_epochs": 1, "learning_rate": 1e-2,
    "lr_scheduler_type": "linear", "train_sampling_strategy": "sequential", "remove_unused_columns": False,
    "save_strategy": "no", "report_to": [], "disable_tqdm": True, "use_cpu": True, "prediction_loss_only": True,
}  # fmt: skip


@pytest.mark.parametrize("make", [plain, of_trl])
def test_two_logs_of_another_trainer_give_the_decision_of_the_projects_own_run(
    own_run: Run, tmp_path: Path, make: Callable[..., Trainer]
) -> None:
    # The same rows are dropped in the same order if another trainer trains M1 and M2, its evaluation scores them, and
    # filter --from decides.
    model = AutoModelForCausalLM.from_pretrained(own_run.config.model.name, dtype=torch.float32)
    noisy, ordered = tokens(own_run, "noisy")
    ids = [record.id for record in read_records(own_run.noisy_data)]
    for state, rows in (("before", ordered), ("after", tokens(own_run, "safe")[1])):
        make(model, rows, tmp_path, [], **OPTIONS).train()
        log = LossLog(str(tmp_path / state), ids)
        scorer = make(model, noisy, tmp_path, [log], **OPTIONS)
        scorer.data_collator = RowCollator(scorer.data_collator)
        detach = watch(model, log.record)
        scorer.evaluate(scorer.train_dataset)
        detach()
    data = [f"{own_run.folder.parents[1]}/{name}.jsonl" for name in ("noisy", "safe")]
    words = ("filter", "--from", tmp_path / "before", tmp_path / "after", "--data", data[0], "--safe", data[1])
    options = ("name=logged", f"output={tmp_path}", "filter.rule=quantile", "filter.signal=relative_loss_rise")
    assert call(*words, *options) == 0
    own, theirs = (pl.read_parquet(run / "filter/decisions.parquet") for run in (own_run.folder, tmp_path / "logged"))
    assert own["drop"].to_list() == theirs["drop"].to_list() and own["drop"].sum() == 8
    assert np.allclose(own["before_loss"], theirs["before_loss"], atol=1e-3) and np.allclose(
        own["score"], theirs["score"], rtol=1e-2
    )
    dropped = (own_run.folder / "filter/export/dropped.jsonl").read_text()
    assert (tmp_path / "logged/filter/export/dropped.jsonl").read_text() == dropped
    assert call("report", tmp_path / "logged") == 0 and (tmp_path / "logged/report.html").is_file()


def flattened(model: Any, rows: Rows) -> Callable[[Any], Any]:
    return DataCollatorWithFlattening(return_position_ids=True)


def padded(model: Any, rows: Rows) -> Callable[[Any], Any]:
    return DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(model.name_or_path))


def logged(folder: Path, model: Any, rows: Rows, collator: Any, watched: bool = True) -> pl.DataFrame:
    """The losses of an evaluation by transformers.Trainer, by row."""
    log = LossLog(folder, [f"{row['row']:02}" for row in rows])
    detach = watch(model, log.record) if watched else attach(model, log.record)
    arguments = TrainingArguments(str(folder / "out"), **OPTIONS)
    Trainer(model, arguments, data_collator=collator, callbacks=[log]).evaluate(rows)
    detach()
    return merged(folder, log.ids.to_pylist())


@pytest.mark.parametrize("make", [padded, flattened])
def test_the_watched_losses_are_those_of_the_projects_own_batches(
    own_run: Run, tmp_path: Path, make: Callable[..., Any]
) -> None:
    # Padded to a batch, or with several examples in one row, each example's sum and label tokens are those of
    # LossCollator.
    rows, _ = tokens(own_run, "noisy")
    model = AutoModelForCausalLM.from_pretrained(own_run.config.model.name, dtype=torch.float32)
    mine = [row | {"num_prompt": row["labels"].count(-100)} for row in rows]
    own = logged(tmp_path / "own", model, mine, LossCollator(), watched=False)
    found = logged(tmp_path / "watched", model, rows, RowCollator(make(model, rows)))
    assert found["num_tokens"].to_list() == own["num_tokens"].to_list()
    assert np.allclose(found["loss_sum"], own["loss_sum"], rtol=1e-4)


def test_rows_that_trl_packs_keep_their_numbers(own_run: Run, tmp_path: Path) -> None:
    # A list `row` is packed with the tokens it belongs to, and each example's loss is that of the example alone.
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    rows, _ = tokens(own_run, "noisy")
    model = AutoModelForCausalLM.from_pretrained(own_run.config.model.name, dtype=torch.float32)
    logged(tmp_path / "alone", model, rows, RowCollator(padded(model, rows)))
    listed = Dataset.from_list([row | {"row": [row["row"]] * len(row["input_ids"])} for row in rows])
    packed = trl.pack_dataset(listed, 64, "bfd")
    assert len(packed) < len(rows)
    more = {"packing": True, "max_length": 64, "bf16": False, "dataset_kwargs": {"skip_prepare_dataset": True}}
    arguments = trl.SFTConfig(str(tmp_path), **OPTIONS | more | {"learning_rate": 0.0})
    log = LossLog(tmp_path / "packed", [f"{row['row']:02}" for row in rows])
    trainer = trl.SFTTrainer(model, arguments, train_dataset=packed, callbacks=[log])
    trainer.data_collator = RowCollator(trainer.data_collator)
    watch(model, log.record)
    trainer.train()
    found = forgetting(tmp_path / "packed", tmp_path / "alone")
    assert np.allclose(found["before_loss_sum"], found["after_loss_sum"], rtol=1e-3)
