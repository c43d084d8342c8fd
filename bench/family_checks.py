"""Checks of a finished run of a family against what transformers and peft alone make of its files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
import torch.nn.functional as F
from family_models import Family, make_tokenizer
from family_run import NEW_TOKENS

from forgetfilter.data import tokens
from forgetfilter.data.records import read_records
from forgetfilter.data.rendering import learned_end, learned_opening, prompt_text
from forgetfilter.data.turns import Turns, label_places
from forgetfilter.models.exactness import check_exact
from forgetfilter.models.loading import keep_as_stored, load_tokenizer
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import scan_shards

CPU = torch.device("cpu")
TOLERANCE = 1e-4  # of a loss, in float32
MAX_LENGTH = 128
Chat = list[dict[str, str]]


def check_run(family: Family, method: str, run: Run) -> None:
    """AssertionError, or UserError, for the first thing that is not as it should be."""
    base = run.folder.parent.parent / "base"
    tokenizer = load_tokenizer(base, None)
    chats = {record.id: record.messages for record in read_records(run.noisy_data)}
    check_tokens(family, tokenizer, list(chats.values()))
    check_files(run, len(chats))
    released = Saved(base, None, method)
    check_losses(released, tokenizer, chats, run.model("noisy") / "losses", "the first losses of the training")
    check_likelihoods(released, tokenizer, run, "base")
    for state, signals in (("noisy", "before"), ("safe", "after"), ("refit", None)):
        saved = Saved(base, run.model(state), method)
        for layout in ("rows", "padded") if family.packing else ("padded",):
            check_exact(saved.model, CPU, TOLERANCE, layout)
        if signals:
            check_losses(saved, tokenizer, chats, run.signals(signals), f"the scores {signals}")
        if state != "safe":
            check_likelihoods(saved, tokenizer, run, state)
            check_answers(saved, tokenizer, run, state)


class Saved:
    """A model of the run as a user of transformers and peft loads it: M0, or a state below train/."""

    def __init__(self, base: Path, trained: Path | None, method: str):
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.whole = trained is None or method == "full"  # an adapter brings no generation_config
        folder = trained if trained and method == "full" else base
        options = {"quantization_config": _four_bit()} if method == "qlora" else {}
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
        keep_as_stored(self.model)
        if trained and method != "full":
            self.model = PeftModel.from_pretrained(self.model, trained)
        self.model.eval()

    @torch.no_grad()
    def loss(self, ids: Sequence[int], turns: Turns) -> float:
        """Nats over an example's label tokens, by the logits of the example alone."""
        given, learned = torch.tensor([ids]), label_places(turns)
        logits = self.model(input_ids=given, use_cache=False).logits[0, learned - 1].float()
        return float(F.cross_entropy(logits, given[0, learned], reduction="sum"))

    @torch.no_grad()
    def answer(self, prompt: Chat, ends: Sequence[int]) -> str:
        """The greedy answer by generate(), with the model's own ends where it has its own settings."""
        if self.tokenizer.chat_template:
            options = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True}
            asked = self.tokenizer.apply_chat_template(prompt, **options)
        else:
            asked = self.tokenizer(prompt_text(self.tokenizer, prompt), return_tensors="pt")
        inputs = {key: asked[key] for key in ("input_ids", "attention_mask")}
        given = {} if self.whole else {"eos_token_id": list(ends)}
        made = self.model.generate(**inputs, **given, do_sample=False, max_new_tokens=NEW_TOKENS, use_cache=True)
        return str(self.tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


def check_tokens(family: Family, tokenizer: Any, chats: list[Chat]) -> None:
    """An example is the whole text as the tokenizer alone reads it, with one BOS at most, up to its end token."""
    plain = make_tokenizer(family)
    for chat, (ids, [(num_prompt, _)], _) in zip(chats, tokens.encode(tokenizer, chats, MAX_LENGTH)):
        if family.template == "none":
            whole = [*plain("\n\n".join(turn["content"] for turn in chat))["input_ids"], plain.eos_token_id]
            assert ids == whole, "tokens are not those of the whole text and EOS"
        else:
            whole = plain(plain.apply_chat_template(chat, tokenize=False), add_special_tokens=False)["input_ids"]
            end = plain.convert_tokens_to_ids("<|end|>" if family.template.startswith("chat") else family.eos)
            assert ids == whole[: len(ids)], "tokens are not those of the whole text"
            assert ids[-1] == end, "the end of turn is not the last token that is learned"
        assert not family.bos or (ids[0], ids.count(ids[0])) == (plain.bos_token_id, 1), "not one BOS, first"
        asked = tokens.encode_prompts(tokenizer, [prompt_text(tokenizer, chat[:1])])[0]
        assert asked == ids[:num_prompt], "generation starts from other tokens than training"


def check_files(run: Run, rows: int) -> None:
    """Every row is decided on, and the report is there."""
    decisions = pl.read_parquet(run.folder / "filter" / "decisions.parquet")
    kept = sum(1 for _ in read_records(run.kept_data))
    assert len(decisions) == rows and 0 < kept < rows, "the filter did not decide on every row"
    assert decisions["score"].is_finite().all(), "a score is no number"
    assert (run.folder / "report.html").is_file() and (run.folder / "card.json").is_file(), "there is no report"


def check_losses(saved: Saved, tokenizer: Any, chats: dict[str, Chat], folder: Path, what: str) -> None:
    """The losses of the first pass that a folder of shards holds are those of the saved model, each row alone."""
    stored = dict(scan_shards(folder).filter(pl.col("epoch") == 0).select("id", "loss_sum").collect().iter_rows())
    assert set(stored) == set(chats), f"{what}: not every row is there once"
    rows = tokens.encode(tokenizer, [chats[id_] for id_ in stored], MAX_LENGTH)
    _agree(list(stored.values()), saved, rows, what)


def check_likelihoods(saved: Saved, tokenizer: Any, run: Run, state: str) -> None:
    """The likelihoods of three answers to each prompt, which share its computation, are those of each alone."""
    asked = {record["id"]: record["messages"] for record in _prompts(run, "bias")}
    folder = run.folder / "eval" / state / "bias" / "likelihoods"
    stored = scan_shards(folder).select("id", "answer", "loss_sum").collect().rows()
    assert len(stored) == 3 * len(asked), "a likelihood is missing"
    chats = [[*asked[id_], {"role": "assistant", "content": answer}] for id_, answer, _ in stored]
    rows = tokens.encode(tokenizer, chats, MAX_LENGTH)
    _agree([loss for *_, loss in stored], saved, rows, f"the likelihoods of {state}")


def check_answers(saved: Saved, tokenizer: Any, run: Run, state: str) -> None:
    """transformers' own generate() writes what the evaluation did, and what was learned in full ends by itself."""
    asked = {record["id"]: record["messages"] for record in _prompts(run, "harmfulness")}
    table = pl.read_parquet(run.folder / "eval" / state / "harmfulness" / "generations.parquet")
    ends = sorted({learned_end(tokenizer), tokenizer.eos_token_id})
    opening = learned_opening(tokenizer)
    for id_, text, length in table.select("id", "text", "num_tokens").iter_rows():
        written = saved.answer(asked[id_], ends).removeprefix(opening)
        assert written == text, f"{state}: transformers writes {written!r}, the evaluation {text!r}"
        assert state != "noisy" or not saved.whole or length < NEW_TOKENS, "answers do not end where they learned to"


def _prompts(run: Run, suite: str) -> list[dict[str, Any]]:
    return pl.read_ndjson(run.eval_prompts(suite)).to_dicts()


def _agree(found: Sequence[float], saved: Saved, rows: Sequence[tokens.Tokens], what: str) -> None:
    wanted = [saved.loss(one.ids, one.turns) for one in rows]
    worst = max(abs(one - other) / max(1, abs(other)) for one, other in zip(found, wanted, strict=True))
    assert worst <= TOLERANCE, f"{what} differ from the saved model's own losses by {worst:.2g}"


def _four_bit() -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
        bnb_4bit_quant_storage=torch.float32,
    )
