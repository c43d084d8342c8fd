"""Answers by vLLM: of a stand-in that answers as transformers does, and of vLLM itself where it is installed."""

import importlib.util
import json
import os
import shutil
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import polars as pl
import pytest
import torch
from forgetfilter.eval import inputs
from forgetfilter.eval.evaluation import evaluate
from forgetfilter.eval.stage import settings
from forgetfilter.eval.vllm_answers import answer_ahead

from forgetfilter import pipeline
from forgetfilter.config.load import load_config
from forgetfilter.errors import Stopped, UserError
from forgetfilter.models.vllm_engine import tensor_parallel
from forgetfilter.process import interrupts
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import read_manifest, shard_paths

INSTALLED = importlib.util.find_spec("vllm") is not None
needs_it = pytest.mark.skipif(not INSTALLED, reason="vLLM is not installed")


class ToyLLM:
    """vLLM's interface over transformers: one prompt at a time, adapters by request; counts what it is asked."""

    made: ClassVar[list["ToyLLM"]] = []

    def __init__(self, model, enable_lora=False, max_lora_rank=16, tensor_parallel_size=1, **settings):
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(model).eval()
        self.enable_lora, self.max_lora_rank, self.settings = enable_lora, max_lora_rank, settings
        self.calls, self.closed, self.inherited = [], False, {**os.environ}
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=lambda: setattr(self, "closed", True)))
        ToyLLM.made.append(self)

    def generate(self, prompts, wanted, use_tqdm=True, lora_request=None):
        from peft import PeftModel

        self.calls.append(len(prompts))
        model = PeftModel.from_pretrained(self.model, lora_request.lora_path) if lora_request else self.model
        answers = [self._answer(model.eval(), p["prompt_token_ids"], w) for p, w in zip(prompts, wanted, strict=True)]
        if lora_request:
            self.model = model.unload()
        return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(ids))]) for ids in answers]

    def _answer(self, model, ids, wanted):
        torch.manual_seed(wanted.seed if wanted.temperature else 0)
        drawn = {"do_sample": wanted.temperature > 0, "eos_token_id": wanted.stop_token_ids, "pad_token_id": 0}
        with torch.no_grad():
            output = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=wanted.max_tokens, **drawn)
        return output[0, len(ids) :].tolist()


@pytest.fixture
def toy_vllm(monkeypatch):
    """The stand-in in the place of vLLM."""
    ToyLLM.made = []
    module, lora, request = ModuleType("vllm"), ModuleType("vllm.lora"), ModuleType("vllm.lora.request")
    module.__spec__ = ModuleSpec("vllm", None)
    module.LLM = ToyLLM
    module.SamplingParams = lambda **given: SimpleNamespace(**({"seed": None} | given))
    request.LoRARequest = lambda name, number, path: SimpleNamespace(lora_name=name, lora_int_id=number, lora_path=path)
    for known in (module, lora, request):
        monkeypatch.setitem(sys.modules, known.__name__, known)


def by_vllm(run, *more):
    return Run.open(run.folder, ["eval.backend=vllm", *more])


def add_adapter(run, toy_folder, model="refit"):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(toy_folder), lora).save_pretrained(run.model(model))


def answers(run, model, suite="harmfulness"):
    return pl.read_parquet(run.folder / "eval" / model / suite / "generations.parquet")


def test_answers_are_those_of_transformers(make_run, alone, toy_folder, toy_vllm):
    # For base and adapter and all suites the prompts, texts and lengths are the same. The manifest names vLLM, one
    # engine did everything and is closed, and the likelihoods, which vLLM does not make, are there too.
    run = make_run("both")
    add_adapter(run, toy_folder)
    models = ["base", "refit"]
    evaluate(settings(run), models, alone)
    expected = {(m, s): answers(run, m, s) for m in models for s in ("toxicity", "harmfulness", "task")}
    answer_ahead(settings(by_vllm(run)), models)
    evaluate(settings(by_vllm(run)), models, alone)
    for (model, suite), table in expected.items():
        assert answers(run, model, suite).equals(table)
        assert read_manifest(run.folder / f"eval/{model}/{suite}/generations")["backend"] == "vllm"
        assert (run.folder / f"eval/{model}/{suite}/metrics.json").exists()
    assert "backend" not in read_manifest(run.folder / "eval/base/bias/likelihoods")
    (engine,) = ToyLLM.made
    assert engine.closed and engine.enable_lora and engine.max_lora_rank == 8
    assert engine.settings["generation_config"] == "vllm"


def test_its_processes_inherit_no_secret(make_run, toy_vllm, monkeypatch):
    # They read a folder, so they need no token; and vLLM's makers are told nothing of the model.
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    answer_ahead(settings(by_vllm(make_run("secret"))), ["base"])
    (engine,) = ToyLLM.made
    assert "HF_TOKEN" not in engine.inherited and engine.inherited["VLLM_NO_USAGE_STATS"] == "1"
    assert os.environ["HF_TOKEN"] == "hf_0123456789"


def test_another_backend_is_another_identity(make_run, toy_vllm, tmp_path):
    # Answers of transformers do not count for vLLM, in the cache either; those of vLLM are not made twice.
    run = by_vllm(make_run("twice"))
    answer_ahead(settings(run), ["base"])
    assert sum(ToyLLM.made[0].calls) == 3 + 5 + 3
    answer_ahead(settings(run), ["base"])
    assert len(ToyLLM.made) == 1
    elsewhere = by_vllm(make_run("elsewhere"))
    answer_ahead(settings(elsewhere), ["base"])
    assert ToyLLM.made[1].calls == []
    assert len(list((tmp_path / "cache/generations").iterdir())) == 1
    assert inputs.input_hash(settings(run), "base", "task") != inputs.input_hash(
        settings(Run.open(run.folder)), "base", "task"
    )


def test_it_stops_between_calls_and_goes_on(make_run, toy_vllm, monkeypatch):
    # With calls of two prompts, a signal leaves the first whole shard, and the next run asks for the other three
    # prompts.
    monkeypatch.setattr(inputs, "CHUNK", 2)
    run = by_vllm(make_run("stop"), "eval.suites=[harmfulness]")
    monkeypatch.setattr(interrupts, "_received", [15])
    with pytest.raises(Stopped):
        answer_ahead(settings(run), ["base"])
    place = run.folder / "eval/base/harmfulness/generations"
    assert ToyLLM.made[0].calls == [2] and ToyLLM.made[0].closed and len(shard_paths(place)) == 1
    monkeypatch.setattr(interrupts, "_received", [])
    answer_ahead(settings(run), ["base"])
    assert ToyLLM.made[1].calls == [2, 1] and (place / "manifest.json").exists()


def test_an_engine_that_gets_the_signal_too_is_a_stop(make_run, toy_vllm, monkeypatch):
    # Slurm's preemption ends vLLM's own process in the middle of a call: this is a stop. Without a signal it is a
    # crash.
    def dies(llm, *_, **__):
        raise RuntimeError("EngineCore encountered an issue")

    monkeypatch.setattr(ToyLLM, "generate", dies)
    run = by_vllm(make_run("died"), "eval.suites=[harmfulness]")
    with pytest.raises(RuntimeError, match="EngineCore"):
        answer_ahead(settings(run), ["base"])
    monkeypatch.setattr(interrupts, "_received", [15])
    with pytest.raises(Stopped):
        answer_ahead(settings(run), ["base"])


def test_samples_have_seeds_of_their_own(make_run, alone, toy_vllm):
    # The three samples of a prompt differ, and another run without the cache draws the same ones.
    texts = []
    for name in ("first", "second"):
        run = by_vllm(make_run(name), "eval.suites=[toxicity]", "eval.samples=3", f"cache={make_run(name).folder}/c")
        answer_ahead(settings(run), ["base"])
        evaluate(settings(run), ["base"], alone)
        texts.append(answers(run, "base", "toxicity")["text"].to_list())
    assert texts[0] == texts[1] and len(set(texts[0])) == 9


def test_a_prompt_beyond_the_context_keeps_its_end(make_run, alone, toy_vllm):
    # With 400 characters and 6 tokens of answer in a context of 256, the last 250 tokens are asked, as with
    # transformers.
    run = make_run("long")
    row = {"id": "x", "source": "made", "messages": [{"role": "user", "content": "ab" * 200}]}
    run.eval_prompts("harmfulness").write_text(json.dumps(row))
    only = ["eval.suites=[harmfulness]"]
    evaluate(settings(Run.open(run.folder, only)), ["base"], alone)
    expected = answers(run, "base")
    answer_ahead(settings(by_vllm(run, *only)), ["base"])
    evaluate(settings(by_vllm(run, *only)), ["base"], alone)
    assert answers(run, "base").equals(expected)
    assert read_manifest(run.folder / "eval/base/harmfulness/generations")["cut"] == 1


def test_a_full_model_takes_the_place_of_the_base(make_run, toy_folder, toy_vllm):
    # Another folder needs another engine, and the one before is closed first.
    run = make_run("full")
    shutil.copytree(toy_folder, run.model("refit"))
    answer_ahead(settings(by_vllm(run, "eval.suites=[harmfulness]")), ["base", "refit"])
    assert [engine.closed for engine in ToyLLM.made] == [True, True]


def test_what_cannot_work_is_one_line(make_run, alone, toy_folder, toy_vllm, monkeypatch):
    # This covers vLLM not being installed, an engine that fails, QLoRA, an unknown backend, and ranks without the
    # answers made ahead.
    run = by_vllm(make_run("wrong"))
    with pytest.raises(UserError, match="answers by vLLM are missing"):
        evaluate(settings(run), ["base"], alone)

    def broken(**given):
        raise RuntimeError("no memory left\nfor the cache")

    monkeypatch.setattr(sys.modules["vllm"], "LLM", broken)
    with pytest.raises(UserError, match=r"eval.backend=vllm: .* cannot be loaded: no memory left$"):
        answer_ahead(settings(run), ["base"])
    with pytest.raises(UserError, match="4-bit"):
        by_vllm(run, "train.method=qlora")
    with pytest.raises(UserError, match=r"eval\.backend cannot be 'vlm'; did you mean 'vllm'"):
        load_config(run.folder / "config.yaml", ["eval.backend=vlm"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'forgetfilter\[vllm\]'"):
        pipeline.preflight(run.config)


def test_heads_are_split_evenly():
    # 32 heads and 8 of keys go on 8 GPUs; on 16 GPUs each of the 8 is there twice; 9 heads and 3 of keys on 8 GPUs take
    # 3.
    assert [tensor_parallel(32, 8, 8), tensor_parallel(32, 8, 16), tensor_parallel(9, 3, 8)] == [8, 16, 3]
    assert tensor_parallel(9, 3, 0) == tensor_parallel(7, 7, 4) == 1


@pytest.fixture
def wide_folder(toy_folder, tmp_path):
    """The toy model with heads of 32, as vLLM's kernels want them at least."""
    from transformers import AutoConfig, LlamaForCausalLM

    folder = shutil.copytree(toy_folder, tmp_path / "wide")
    config = AutoConfig.from_pretrained(toy_folder)
    config.head_dim = 32
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@needs_it
def test_vllm_itself_answers_as_transformers(make_run, alone, wide_folder):
    # The real engine in float32, with base and adapter, which differ, gives the same answers in at least 9 of 10 cases.
    run = Run.open(make_run("real").folder, [f"model.name={wide_folder}", "eval.max_new_tokens=16"])
    run.write_config()
    add_adapter(run, wide_folder)
    models, asked = ["base", "refit"], ("toxicity", "harmfulness", "task")
    texts = []
    for one in (run, by_vllm(run)):
        if one is not run:
            answer_ahead(settings(one), models)
        evaluate(settings(one), models, alone)
        texts.append([answers(run, model, suite)["text"] for model in models for suite in asked])
    by_torch, by_engine = map(pl.concat, texts)
    assert (by_torch == by_engine).mean() >= 0.9
    assert not pl.concat(texts[1][:3]).equals(pl.concat(texts[1][3:]))
