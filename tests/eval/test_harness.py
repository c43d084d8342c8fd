"""lm-evaluation-harness: what is read from its results, and, where it is installed, real tasks on a real tiny model."""

import importlib.util
import json

import polars as pl
import pytest
import torch
from forgetfilter.eval import harness
from forgetfilter.eval.__main__ import main

from forgetfilter.config.load import load_config
from forgetfilter.config.schema import HarnessConfig
from forgetfilter.errors import UserError

INSTALLED = importlib.util.find_spec("lm_eval") is not None
needs_it = pytest.mark.skipif(not INSTALLED, reason="lm-evaluation-harness is not installed")


def results(**task):
    samples = [{"doc_id": n, "filter": "none", "acc": float(n % 4 == 0), "f1": (0, 1)} for n in range(8)]
    return {
        "results": {"toy": {"alias": "toy", "acc,none": 0.25, "acc_stderr,none": 0.16} | task},
        "samples": {"toy": samples},
        "higher_is_better": {"toy": {"acc": True, "ppl": False}},
        "n-samples": {"toy": {"original": 8, "effective": 8}},
    }


def test_a_mean_has_the_interval_of_its_questions():
    # 2 of 8 answers are right: the interval is Jeffreys' with n 8, and the scores have one row for each question.
    metrics, scores = harness.read_results(results(), "toy")
    one = metrics["acc"]
    assert (one.value, one.n, one.missing, one.better) == (0.25, 8, 0, "higher")
    assert 0.04 < one.low < 0.1 and 0.5 < one.high < 0.65
    assert scores["id"].to_list() == [str(n) for n in range(8)] and scores["acc"].sum() == 2


def test_what_is_no_mean_has_its_standard_error_or_no_interval():
    # The interval of a corpus figure is its value plus and minus 1.96 standard errors; without a standard error its
    # ends are unknown. Figures that are words are left out.
    metrics, _ = harness.read_results(
        results(**{"f1,none": 0.5, "f1_stderr,none": 0.1, "ppl,none": 9.0, "ppl_stderr,none": "N/A", "x,none": "y"}),
        "toy",
    )
    assert (metrics["f1"].low, metrics["f1"].high) == (pytest.approx(0.304), pytest.approx(0.696))
    assert (metrics["ppl"].low, metrics["ppl"].high, metrics["ppl"].better) == (None, None, "lower")
    assert "x" not in metrics


def test_without_the_package_one_line_says_what_to_install(make_run, monkeypatch):
    # This is known before any model is loaded.
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(UserError, match=r"pip install 'forgetfilter\[lm-eval\]'"):
        main([str(make_run("none").folder), "base", "eval.lm_eval.tasks=[hellaswag]"])


def test_two_runs_of_a_task_are_compared_by_its_questions(tmp_path):
    # A is right on 2 of 8 questions and B on 3, one of which A had too: the paired difference is 0.125.
    from forgetfilter.eval.compare import compare, sides

    for run, right in (("a", (0, 4)), ("b", (1, 2, 4))):
        place = tmp_path / run / "eval/base/lm_eval-toy"
        place.mkdir(parents=True)
        (tmp_path / run / "config.yaml").write_text("")
        (place / "metrics.json").write_text("{}")
        figures = {"id": [str(n) for n in range(8)], "source": "toy", "acc": [float(n in right) for n in range(8)]}
        pl.DataFrame(figures).write_parquet(place / "scores.parquet")
    (one,), changes = compare(*sides(str(tmp_path / "a"), str(tmp_path / "b"))[0])
    assert (one.suite, one.metric, one.value, one.n, one.better) == ("lm_eval-toy", "acc", 0.125, 8, "higher")
    assert changes["id"].to_list() == ["0", "1", "2"]


def test_a_changed_task_of_ones_own_is_another_one(tmp_path):
    # The identity depends on the files of include_path.
    config = HarnessConfig(tasks=["toy"], include_path=str(tmp_path))
    (tmp_path / "toy.yaml").write_text("task: toy")
    before = harness.own_tasks(config)
    (tmp_path / "toy.yaml").write_text("task: toy\nnum_fewshot: 2")
    assert before and harness.own_tasks(config) != before


@pytest.fixture
def own_tasks(tmp_path):
    """A folder with a task of four made-up questions, two of which the longer answer is right for."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [{"question": f"Q{n}?", "choices": ["a", "bb"], "answer": n % 2} for n in range(4)]
    (folder / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "toy.yaml").write_text(
        "task: toy_choice\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {folder}/toy.jsonl}}}}\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{question}}'\ndoc_to_choice: '{{choices}}'\n"
        "doc_to_target: '{{answer}}'\nmetric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    return folder


@needs_it
def test_a_task_of_ones_own_is_measured_once(make_run, own_tasks):
    # Real questions go through the harness: n is 4, the value is the mean of the stored scores, the table shows it, and
    # it is not measured again.
    run = make_run("toy")
    given = ["eval.suites=[]", "eval.lm_eval.tasks=[toy_choice]", f"eval.lm_eval.include_path={own_tasks}"]
    main([str(run.folder), "base", *given])
    place = run.folder / "eval/base/lm_eval-toy_choice"
    told = json.loads((place / "metrics.json").read_text())
    scores = pl.read_parquet(place / "scores.parquet")
    assert told["metrics"]["acc"]["n"] == 4 and told["metrics"]["acc"]["value"] == scores["acc"].mean()
    assert "lm\\_eval-toy\\_choice" in (run.folder / "eval/metrics.md").read_text()
    written = (place / "metrics.json").stat().st_mtime_ns
    main([str(run.folder), "base", *given])
    assert (place / "metrics.json").stat().st_mtime_ns == written
    main([str(run.folder), "base", *given, "eval.lm_eval.limit=2"])
    assert json.loads((place / "metrics.json").read_text())["metrics"]["acc"]["n"] == 2


@needs_it
def test_an_unknown_task_is_told_with_the_nearest(own_tasks):
    # This is known before any model is loaded, and so is a folder that is not there.
    with pytest.raises(UserError, match="there is no task 'toy_choise'; did you mean 'toy_choice'"):
        harness.task_manager(HarnessConfig(tasks=["toy_choise"], include_path=str(own_tasks)))
    with pytest.raises(UserError, match="include_path: /nowhere is no folder"):
        harness.task_manager(HarnessConfig(tasks=["a"], include_path="/nowhere"))


@needs_it
def test_tasks_alone_need_no_prompts(tmp_path, toy_folder, own_tasks):
    # `forgetfilter eval` measures a model on a task without a suite.
    from forgetfilter import cli

    file = tmp_path / "c.yaml"
    file.write_text(
        f"output: {tmp_path}\ncache: {tmp_path}/c\nmodel: {{name: {toy_folder}, dtype: float32}}\n"
        f"eval: {{models: [base], lm_eval: {{tasks: [toy_choice], include_path: {own_tasks}}}}}\n"
        "tracking: {mode: disabled}\n"
    )
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["eval", str(file)])
    assert (tmp_path / "run/eval/base/lm_eval-toy_choice/metrics.json").exists()
    assert load_config(file).only_evaluates


@needs_it
def test_a_task_is_answered_by_none_of_the_models_own_settings(toy_folder, tmp_path):
    # On four open questions, suppressed tokens in the model's settings change no answer, and the settings stay.
    from forgetfilter.models.loading import load_base, load_tokenizer

    rows = [{"question": f"Q{n}? aaaa", "answer": "a"} for n in range(4)]
    (tmp_path / "free.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "free.yaml").write_text(
        "task: toy_free\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path}/free.jsonl}}}}\n"
        "test_split: test\noutput_type: generate_until\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{answer}}'\n"
        "generation_kwargs: {max_gen_toks: 8, until: ['never']}\n"
        "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
    )
    config = HarnessConfig(tasks=["toy_free"], include_path=str(tmp_path))
    model, tokenizer = load_base(toy_folder, "float32", "sdpa", torch.device("cpu")), load_tokenizer(toy_folder, None)

    def answers():
        found = harness._evaluated(model, tokenizer, "toy_free", harness.task_manager(config), config, ("", 2))
        return [sample["resps"] for sample in found["samples"]["toy_free"]]

    plain = answers()
    said = {token for sample in plain for token in tokenizer(sample[0][0])["input_ids"]}
    model.generation_config.suppress_tokens = sorted(said)
    assert answers() == plain and model.generation_config.suppress_tokens == sorted(said)
