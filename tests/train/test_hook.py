"""The loss log on a plain transformers.Trainer: a collator and a callback, nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from forgetfilter.train.hook import LossCollator, LossLog
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from forgetfilter.data.batches import collate
from forgetfilter.errors import UserError
from forgetfilter.models.example_losses import ExampleLosses, attach
from forgetfilter.storage.shards import merged, shard_paths


def tiny() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
    )


def dataset(number: int) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    return [
        {"input_ids": rng.integers(0, 97, int(rng.integers(4, 20))).tolist(), "num_prompt": 2, "row": row}
        for row in range(number)
    ]


def train(tmp_path: Path, number: int, batch: int, accumulation: int, epochs: int, lr: float) -> Trainer:
    data, model = dataset(number), tiny()
    ids = [f"id{row}" for row in range(number)]
    log = LossLog(tmp_path / "losses", ids, ["toy"] * number)
    attach(model, log.record)
    arguments = TrainingArguments(
        str(tmp_path / "out"),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=epochs,
        learning_rate=lr,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(model, arguments, train_dataset=data, data_collator=LossCollator(), callbacks=[log])
    trainer.train()
    return trainer


def test_on_a_plain_trainer_every_example_is_logged_once_an_epoch(tmp_path: Path) -> None:
    # 11 examples in batches of 4 (the last one smaller) over 3 epochs give 33 rows; the merge proves the coverage.
    train(tmp_path, 11, 4, 1, 3, 1e-3)
    frame = merged(tmp_path / "losses", [f"id{row}" for row in range(11)])
    assert frame["epoch"].value_counts(sort=True)["count"].to_list() == [11, 11, 11]
    assert frame["num_tokens"].sum() == 3 * sum(len(row["input_ids"]) - 2 for row in dataset(11))


def test_the_sums_of_the_log_are_the_trainers_own_loss(tmp_path: Path) -> None:
    # With accumulation over 2 batches, the Trainer's loss of every step is the log's sum over its tokens.
    trainer = train(tmp_path, 12, 3, 2, 2, 1e-2)
    columns = merged(tmp_path / "losses").select("step", "loss_sum", "num_tokens")
    steps = columns.group_by("step").sum().sort("step")
    ours = (steps["loss_sum"] / steps["num_tokens"]).to_list()
    theirs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert [float(loss) for loss in theirs] == pytest.approx(ours, rel=1e-4)


def test_the_logged_loss_is_that_before_the_step(tmp_path: Path) -> None:
    # With a learning rate of 0 each epoch logs the untrained model's losses.
    train(tmp_path, 5, 2, 1, 2, 0.0)
    model = tiny().eval()
    attach(model)
    with torch.no_grad():
        rows = [(row["input_ids"], [(2, len(row["input_ids"]))]) for row in dataset(5)]
        expected = model(**collate(rows, range(5), "rows", 0))["example_losses"].loss_sum.tolist()
    frame = merged(tmp_path / "losses").sort("epoch", "id")
    assert frame["loss_sum"].to_list() == pytest.approx(expected * 2, rel=1e-5)


def test_rows_may_have_several_answers() -> None:
    # `turns` can stand in the place of num_prompt, and one turn up to the end is what num_prompt says.
    ids = list(range(3, 12))
    one = LossCollator()([{"input_ids": ids, "num_prompt": 4, "row": 0}])
    same = LossCollator()([{"input_ids": ids, "turns": [(4, 9)], "row": 0}])
    assert all(torch.equal(one[key], same[key]) for key in one)
    two = LossCollator()([{"input_ids": ids, "turns": [(2, 4), (7, 9)], "row": 0}])
    assert two["loss_targets"].tolist() == [5, 6, 10, 11] == two["labels"][0, 1:].tolist()


def test_a_loss_that_is_not_finite_ends_the_training_with_the_example_named(tmp_path: Path) -> None:
    # One line names the example and what to do; nothing of the broken step is written.
    log = LossLog(tmp_path, ["good", "bad"], ["a", "a"])
    log.step = 7
    log.record(ExampleLosses(torch.tensor([0, 1]), torch.tensor([1.0, float("nan")]), torch.tensor([2, 2])))
    with pytest.raises(UserError, match=r"example bad became nan at step 7: lower train"):
        log.flush()
    assert shard_paths(tmp_path) == []


def test_shards_after_the_checkpoint_are_dropped_on_resume(tmp_path: Path) -> None:
    # Resuming from step 2 keeps the shard of step 2 and deletes that of step 4, whose steps are done again.
    log = LossLog(tmp_path, ["a", "b"], ["s", "s"])
    for step in (2, 4):
        log.step = step
        log.record(ExampleLosses(torch.tensor([0]), torch.tensor([1.0]), torch.tensor([3])))
        log.flush()

    class State:
        """A trainer state that was loaded from the checkpoint of step 2."""

        global_step, is_world_process_zero = 2, True

    log.on_train_begin(None, State(), None)
    assert [path.name for path in shard_paths(tmp_path)] == ["part-00002.parquet"]
    assert json.loads(merged(tmp_path).write_json())[0]["step"] == 2
