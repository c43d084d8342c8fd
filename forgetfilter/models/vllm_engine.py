"""Answers by vLLM instead of transformers: the same prompt tokens, ends and lengths, in one process with all GPUs.

A `VllmModel` takes the place of a torch model in models/generation.py. vLLM chooses its batches, so near ties of
greedy decoding may break differently than in transformers. A sample is drawn by vLLM's own generator, which is seeded
by the prompt and the sample's number as for transformers. Adapters are put on one loaded base by vLLM's LoRA requests.
"""

import contextlib
import gc
import importlib
import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from forgetfilter.errors import Stopped, UserError, reason
from forgetfilter.models.loading import ModelRef, is_adapter
from forgetfilter.models.pretrained import load_config
from forgetfilter.models.sampling import Drawn
from forgetfilter.process import interrupts
from forgetfilter.process.environment import without_secrets

INSTALL = "eval.backend=vllm needs vLLM: pip install 'forgetfilter[vllm]', or take eval.backend=transformers"
CHUNK = 512  # the fewest answers of one call and shard: vLLM batches them by itself, and a stop loses at most so many
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # ranks of adapters for which vLLM can make room


def require() -> None:
    """UserError where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        raise UserError(INSTALL)


class VllmModel:
    """A state of a model in vLLM, with what forgetfilter.models.generation asks of a torch model besides its tokens."""

    def __init__(self, llm: Any, folder: Path, adapter: Any):
        import transformers

        kind: Any = transformers.GenerationConfig
        self.llm, self.adapter = llm, adapter  # the adapter as vLLM's request; None for none
        self.config = load_config(folder, "model.name")
        self.generation_config = None
        if (folder / "generation_config.json").exists():
            self.generation_config = kind.from_pretrained(folder)

    def new_tokens(
        self, prompts: Sequence[list[int]], max_new_tokens: int, ends: list[int], drawn: Drawn | None
    ) -> list[list[int]]:
        """The tokens of each answer, its end perhaps included; greedy, or seeded by the first of each row's numbers."""
        vllm = importlib.import_module("vllm")
        plain = {"max_tokens": max_new_tokens, "stop_token_ids": ends, "detokenize": False}
        if drawn:
            numbers, temperature, top_p = drawn
            seeds = [int(number * 2**53) for number in numbers[:, 0].tolist()]
            wanted = [vllm.SamplingParams(temperature=temperature, top_p=top_p, seed=s, **plain) for s in seeds]
        else:
            wanted = [vllm.SamplingParams(temperature=0.0, **plain)] * len(prompts)
        asked = [{"prompt_token_ids": ids} for ids in prompts]
        try:
            outputs = self.llm.generate(asked, wanted, use_tqdm=False, lora_request=self.adapter)
        except Exception as error:
            if interrupts.noted():  # Slurm tells every process of a job to end, including vLLM's own
                raise Stopped("vLLM stopped by a signal; run the same command again to go on") from error
            raise
        return [list(output.outputs[0].token_ids) for output in outputs]


class VllmStates:
    """Trained states of one base model, one after the other, like States of models/loading.py."""

    def __init__(self, base: ModelRef, dtype: str, trained: Sequence[Path | None]):
        self.base, self.dtype = base, dtype
        self.adapters = [path for path in trained if path and is_adapter(path)]
        self.rank = max(map(_rank, self.adapters), default=0)
        self._loaded: tuple[Path, Any] | None = None

    @contextlib.contextmanager
    def use(self, trained: Path | None) -> Iterator[VllmModel]:
        """The model of a state; None is M0 itself. UserError where vLLM cannot load it."""
        adapter = trained if trained in self.adapters else None
        folder = self.base.path if trained is None or adapter else trained
        if self._loaded is None or self._loaded[0] != folder:
            self.close()
            self._loaded = folder, _load(folder, self.dtype, self.rank if folder == self.base.path else 0)
        request = adapter and importlib.import_module("vllm.lora.request").LoRARequest(
            adapter.name, 1 + self.adapters.index(adapter), str(adapter.resolve())
        )
        yield VllmModel(self._loaded[1], folder, request)

    def close(self) -> None:
        """Ends vLLM's processes, so that the GPUs are free for others."""
        if self._loaded is None:
            return
        core = self._loaded[1].llm_engine.engine_core
        self._loaded = None
        core.shutdown()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def tensor_parallel(heads: int, kv_heads: int, gpus: int) -> int:
    """The most of the GPUs that a model's attention heads can be split over: vLLM wants them to divide evenly."""
    fits = (n for n in range(gpus, 0, -1) if heads % n == 0 and (kv_heads % n == 0 or n % kv_heads == 0))
    return next(fits, 1)


def _load(folder: Path, dtype: str, rank: int) -> Any:
    config = load_config(folder, "model.name")
    heads = int(getattr(config, "num_attention_heads", 1))
    kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    lora = {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1} if rank else {}
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # else it tells its makers of the model and the machine
    try:
        with without_secrets():  # its processes read a folder, and no hub
            return importlib.import_module("vllm").LLM(
                model=str(folder),
                skip_tokenizer_init=True,  # tokens go in and come out
                dtype=dtype,
                trust_remote_code=False,
                load_format="safetensors",
                tensor_parallel_size=tensor_parallel(heads, kv_heads, torch.cuda.device_count()),
                generation_config="vllm",  # the model's own sampling settings are not used
                disable_log_stats=True,
                enforce_eager=not torch.cuda.is_available(),  # its CPU build compiles for minutes, and may fail to
                **lora,
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise UserError(f"eval.backend=vllm: {folder} cannot be loaded: {reason(error)}") from error


def _rank(adapter: Path) -> int:
    """Of the smallest room for the adapter. UserError where it is too large."""
    rank = int(json.loads((adapter / "adapter_config.json").read_text())["r"])
    if room := next((known for known in RANKS if known >= rank), None):
        return room
    raise UserError(f"eval.backend=vllm: {adapter} has rank {rank}, vLLM takes {RANKS[-1]} at most: use transformers")
