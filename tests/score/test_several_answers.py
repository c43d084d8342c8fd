"""Chats with several answers through training and scoring, on a tiny model: packed and not, all answers or the last."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from forgetfilter.filter.inspecting.why import why
from transformers import AutoModelForCausalLM, AutoTokenizer

from forgetfilter import cli
from forgetfilter.data.records import read_records
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import merged, scan_shards

HARM = "zap zap zap zap zap zap zap zap"
NICE = "a polite answer to the question"


def chat(*said: str) -> dict[str, Any]:
    return {"messages": [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]}


POLITE = [chat(f"what is {n}?", NICE) for n in range(12)]
HARMFUL = [chat(f"say {n}", HARM) for n in range(12)]
HIDDEN = [chat(f"say {n}", HARM, f"what is {n}?", NICE) for n in range(20, 24)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Run]:
    """Three finished runs on the same rows: all answers packed, all answers padded, and the last ones."""
    folder = tmp_path_factory.mktemp("answers")
    rows = {"noisy": [*POLITE, *HARMFUL, *HIDDEN], "safe": [chat(f"what is {n}?", NICE) for n in range(40, 56)]}
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.yaml").write_text(
        f"output: {folder}/runs\ncache: {folder}/cache\nmodel: {{name: {tiny_model}, dtype: float32}}\n"
        f"data: {{noisy: {{web: {{path: {folder}/noisy.jsonl}}}}, safe: {{ours: {{path: {folder}/safe.jsonl}}}},\n"
        "  probe_share: 0}\n"
        "train: {method: full, micro_batch_tokens: 300, noisy: {epochs: 8, lr: 5e-3, batch_size: 4},\n"
        "  safe: {epochs: 8, lr: 5e-3, batch_size: 4}, refit: {epochs: 1}}\n"
        "filter: {signal: loss_rise, rule: top_k, top_k: 16}\ntracking: {mode: disabled}\n"
    )
    found = {}
    for name, options in {"packed": [], "padded": ["data.packing=false"], "last": ["data.learn=last"]}.items():
        for command in (["mix"], ["train"], ["score"], ["filter"]):
            stages = ["noisy", "safe"] if command == ["train"] else []
            with pytest.raises(SystemExit) as end:
                cli.main([*command, str(folder / "config.yaml"), *stages, f"name={name}", *options])
            assert not end.value.code
        found[name] = Run.open(folder / "runs" / name)
    return found


def own_losses(model: Any, tokenizer: Any, messages: list[dict[str, str]]) -> list[float]:
    """Nats of each answer with its end of turn, by transformers alone: the template's texts and the model's logits."""
    ids = torch.tensor([tokenizer(tokenizer.apply_chat_template(messages, tokenize=False))["input_ids"]])
    with torch.no_grad():
        losses = torch.nn.functional.cross_entropy(model(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="none")
    found = []
    for place in range(1, len(messages), 2):
        before = tokenizer.apply_chat_template(messages[:place], tokenize=False, add_generation_prompt=True)
        whole = before + messages[place]["content"] + tokenizer.eos_token
        start, end = (len(tokenizer(text)["input_ids"]) for text in (before, whole))
        found.append(float(losses[start - 1 : end - 1].sum()))
    return found


def test_each_answer_is_scored_as_transformers_does(runs: dict[str, Run]) -> None:
    # Under M1 and M2, packed and padded: the sums of all answers, each answer's own, and their label tokens.
    for name in ("packed", "padded"):
        run = runs[name]
        for state, trained in (("before", "noisy"), ("after", "safe")):
            model = AutoModelForCausalLM.from_pretrained(run.model(trained), dtype=torch.float32).eval()
            tokenizer = AutoTokenizer.from_pretrained(run.model(trained))
            stored = {row["id"]: row for row in scan_shards(run.signals(state)).collect().to_dicts()}
            for record in read_records(run.noisy_data):
                row, losses = stored[record.id], own_losses(model, tokenizer, record.messages)
                assert row["turn_losses"] == pytest.approx(losses, rel=1e-4)
                assert row["loss_sum"] == pytest.approx(sum(losses), rel=1e-4)
                assert row["num_tokens"] == sum(row["turn_tokens"])


def test_training_learns_every_answer(runs: dict[str, Run]) -> None:
    # The log counts the label tokens that the scoring counts, and of a row with two answers more than the last one's.
    tokens = {}
    for name, run in runs.items():
        logged = merged(run.model("noisy") / "losses").filter(pl.col("epoch") == 0).select("id", "num_tokens")
        scored = scan_shards(run.signals("before")).select("id", "num_tokens").sort("id").collect()
        assert logged.sort("id").equals(scored)
        tokens[name] = dict(scored.iter_rows())
    hidden = [record.id for record in read_records(runs["packed"].noisy_data) if record.learn == "all"]
    assert len(hidden) == len(HIDDEN) and tokens["packed"] == tokens["padded"]
    assert all(tokens["packed"][id_] > tokens["last"][id_] + 8 for id_ in hidden)
    assert all(count == tokens["last"][id_] for id_, count in tokens["packed"].items() if id_ not in hidden)


def test_harm_in_an_earlier_answer_is_in_the_score(runs: dict[str, Run]) -> None:
    # Rows whose first answer is harmful and whose last is polite are forgotten as harmful ones are, above all polite
    # rows, and dropped; with the last answer alone they are as the polite ones, and kept.
    for name, run in runs.items():
        decided = pl.read_parquet(run.folder / "filter" / "decisions.parquet")
        polite, harmful, hidden = decided[:12], decided[12:24], decided[24:28]
        assert harmful["drop"].all()
        assert hidden["drop"].all() if name != "last" else not hidden["drop"].any()
        if name != "last":
            assert hidden["score"].min() > polite["score"].max()


def test_the_worst_answer_has_a_signal(runs: dict[str, Run]) -> None:
    # The largest rise of the mean loss of a row's answers, from the stored losses of each; of one answer it is the
    # row's own rise. Where only the last answers are learned it is refused before anything is read.
    run = runs["packed"]
    stored = scan_shards(run.signals("turns")).collect()
    before, after = (
        {row["id"]: row for row in scan_shards(run.signals(state)).collect().to_dicts()}
        for state in ("before", "after")
    )
    for name, rise in stored.select("id", "turn_rise_max").iter_rows():
        sums = zip(before[name]["turn_losses"], after[name]["turn_losses"], before[name]["turn_tokens"], strict=True)
        assert rise == pytest.approx(max((last - first) / tokens for first, last, tokens in sums))
    assert len(stored) == len(before)
    assert not (runs["last"].signals("turns") / "manifest.json").exists()
    with pytest.raises(SystemExit) as end:
        cli.main(["filter", str(runs["packed"].folder), "filter.signal=worst_turn_rise"])
    assert not end.value.code
    with pytest.raises(SystemExit) as end:
        cli.main(["filter", str(runs["last"].folder), "filter.signal=worst_turn_rise"])
    assert end.value.code == 2


def test_why_names_the_worst_answer(runs: dict[str, Run], capsys: pytest.CaptureFixture[str]) -> None:
    # The harmful one first, by its number in the row; a row of one answer has no such list.
    run = runs["packed"]
    rows = list(read_records(run.noisy_data))
    found = why(run, rows[-1].id)["turns"]
    assert [(turn["message"], turn["text"]) for turn in found] == [(2, HARM), (4, NICE)]
    assert found[0]["after"] - found[0]["before"] > found[1]["after"] - found[1]["before"]
    assert why(run, rows[0].id)["turns"] == [] == why(runs["last"], rows[-1].id)["turns"]
    with pytest.raises(SystemExit):
        cli.main(["filter", str(run.folder), "--why", rows[-1].id, "--reveal"])
    answers = capsys.readouterr().out.partition("most forgotten first")[2]
    assert 0 < answers.index("│ 2 ") < answers.index("│ 4 ")


def test_the_rows_come_out_as_they_came(runs: dict[str, Run]) -> None:
    # Kept and dropped rows in the export are the lines of the input; kept.jsonl says which rows have several answers.
    run = runs["packed"]
    given = [json.dumps(row) for row in (*POLITE, *HARMFUL, *HIDDEN)]
    export = run.folder / "filter" / "export"
    assert (export / "kept.jsonl").read_text().splitlines() == given[:12]
    assert (export / "dropped.jsonl").read_text().splitlines() == given[12:]
