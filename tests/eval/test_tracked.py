"""What an evaluation leaves out and says, and what it refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from forgetfilter.eval.__main__ import main
from forgetfilter.eval.evaluation import evaluate
from forgetfilter.eval.inputs import input_hash
from forgetfilter.eval.stage import settings

from forgetfilter.errors import UserError
from forgetfilter.storage.run_folder import Run


def test_a_suite_without_prompts_is_left_out_and_said_so(make_run, alone, capsys):
    # A suite without prompts is no error. The terminal names it, and prompts that come later change the input hash.
    run = make_run("partial")
    before = input_hash(settings(run), "base", "task")
    for suite in ("toxicity", "harmfulness", "task"):
        run.eval_prompts(suite).unlink()
    evaluate(settings(run), ["base"], alone)
    assert input_hash(settings(run), "base", "task") != before
    assert not (run.folder / "eval/base/task").exists()
    assert (run.folder / "eval/base/bias/metrics.json").exists()
    assert "leaves out toxicity, harmfulness, task, for which there are no prompts" in capsys.readouterr().err


def test_prompts_that_no_suite_asks_are_said(make_run, alone, capsys):
    # Without task in eval.suites its prompts are not asked, and a line says so. Those of bias are asked by
    # bias_generation.
    run = make_run("unasked")
    main([str(run.folder), "base", "eval.suites=[toxicity,bias_generation,harmfulness]"])
    said = " ".join(capsys.readouterr().err.split())
    assert "leaves out task, whose prompts are there but which eval.suites does not name" in said


def test_a_scorer_that_cannot_be_had_is_told_before_any_model_is_loaded(make_run, alone):
    # One line says so, and nothing is generated.
    run = make_run("scorer")
    with pytest.raises(UserError, match=r"eval.toxicity_scorer: /nowhere is not a folder"):
        main([str(run.folder), "base", "eval.toxicity_scorer=/nowhere"])
    assert not (run.folder / "eval").exists()


def test_likelihoods_beyond_the_context_are_cut_and_said(make_run, alone, toy_folder, tmp_path, capsys):
    # The model has learned positions and a context of 64, and data.max_length is 1024: two of six prompts are too long.
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    tokenizer = AutoTokenizer.from_pretrained(toy_folder)
    tokenizer.save_pretrained(tmp_path / "gpt2")
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path / "gpt2")
    run = make_run("context")
    rows = [json.loads(line) for line in open(run.eval_prompts("bias"))]
    for number, row in enumerate(rows):
        row["messages"][0]["content"] = "long " * 40 if number < 2 else "Who?"
    run.eval_prompts("bias").write_text("".join(json.dumps(row) + "\n" for row in rows))
    main_run = Run.open(run.folder, ["eval.suites=[bias]", f"model.name={tmp_path / 'gpt2'}"])
    evaluate(settings(main_run), ["base"], alone)
    assert "6 of 18 answers exceed 64 tokens with their prompt" in capsys.readouterr().err
    scores = pl.read_parquet(run.folder / "eval/base/bias/scores.parquet")
    assert scores["chosen"].null_count() == 0


@pytest.mark.parametrize("suite", ["harmfulness", "bias"])
def test_what_a_template_leaves_out_of_a_prompt_is_told(make_run, alone, tmp_path, suite, capsys):
    # A system turn that is left out is counted, once for each suite; a user's turn that is left out is refused with its
    # prompt.
    run = make_run("left")
    file = tmp_path / "users.jinja"
    rows = [json.loads(line) for line in open(run.eval_prompts(suite))]
    rows[1]["messages"] = [{"role": "system", "content": "Be kind."}, *rows[1]["messages"]]
    run.eval_prompts(suite).write_text("".join(json.dumps(row) + "\n" for row in rows))
    keeps = "{{% for m in {} %}}<{{{{ m['role'] }}}}>{{{{ m['content'] }}}}</s>{{% endfor %}}"
    file.write_text(keeps.format("messages if m['role'] != 'system'"))
    asked = Run.open(run.folder, [f"eval.suites=[{suite}]", f"model.chat_template={file}"])
    evaluate(settings(asked), ["base"], alone)
    said = capsys.readouterr().err
    assert said.count(f"{suite} of base: the chat template leaves out the system turn of 1 prompts") == 1
    rows[2]["messages"] = [*rows[3]["messages"], {"role": "assistant", "content": "No."}, *rows[2]["messages"]]
    run.eval_prompts(suite).write_text("".join(json.dumps(row) + "\n" for row in rows))
    file.write_text(keeps.format("messages[-2:] if m['role'] != 'system'"))
    with pytest.raises(
        UserError, match=rf"^prompt {rows[2]['id']} \(source made\): model.chat_template: .* of the user"
    ):
        evaluate(settings(asked), ["base"], alone)


@pytest.mark.parametrize("suite", ["harmfulness", "bias"])
def test_a_prompt_with_a_token_beyond_the_embeddings_is_one_line(make_run, alone, toy_folder, tmp_path, suite):
    # If the tokenizer has a token without an embedding, the line of answers and likelihoods names the prompt and the
    # token.
    from transformers import AutoTokenizer

    folder = shutil.copytree(toy_folder, tmp_path / "more")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(folder)
    run = make_run("beyond")
    rows = [json.loads(line) for line in open(run.eval_prompts(suite))]
    rows[1]["messages"][0]["content"] += " <new>"
    run.eval_prompts(suite).write_text("".join(json.dumps(row) + "\n" for row in rows))
    of_more = Run.open(run.folder, [f"eval.suites=[{suite}]", f"model.name={folder}"])
    with pytest.raises(
        UserError, match=rf"{suite} of base.*, prompt {rows[1]['id']}: token '<new>' has the number 257"
    ):
        evaluate(settings(of_more), ["base"], alone)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "run folder"),
        (["RUN", "refti"], "did you mean 'refit'"),
        (["RUN", "refit"], "run the train stage for refit first"),
        (["RUN", "base", "train.seed=1"], "only eval.KEY=VALUE"),
        (["RUN", "base", "eval.max_new_tokens=256"], "context has 256 tokens"),
    ],
)
def test_mistakes_are_named(make_run, alone, arguments, message):
    # A mistake of the user gives one line that says what to do.
    run = make_run("mistakes")
    with pytest.raises(UserError, match=message):
        main([str(run.folder) if given == "RUN" else given for given in arguments])


def test_the_process_exits_with_2_for_a_user_error(tmp_path: Path):
    # The command line prints one line on stderr and no traceback.
    command = [sys.executable, "-m", "forgetfilter.eval", str(tmp_path / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "is no run folder" in done.stderr and "Traceback" not in done.stderr
