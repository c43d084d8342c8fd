"""models/plain_answers.py: an answer's text begins where the learned answer's does, whatever the tokenizer is like."""

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from toy_tokenizers import byte_pairs
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from forgetfilter.data.rendering import prompt_text
from forgetfilter.data.tokens import encode, split_prompts
from forgetfilter.models.generation import generate_batch
from forgetfilter.models.plain_answers import by_own_settings, opening, plain_settings

WORDS = ["Say", " A", " yes", " no", "yes", "no", " it", "user:", " answer:"]
SPECIAL = ["<unk>", "</s>", "<end>"]
THOUGHT = "<think>\n\n</think>\n\n"
TURN = "{% for m in messages %}<unk>{{ m['role'] }}:{{ BEFORE if m['role'] == 'assistant' }}{{ m['content'] }}<end>"
ASKING = "{% endfor %}{% if add_generation_prompt %}<unk>assistant:OPEN{% endif %}"
TEMPLATES = {
    "none": None,
    "a blank in the prompt": TURN.replace("BEFORE", "' '") + ASKING.replace("OPEN", " "),
    "a blank before the answer": TURN.replace("BEFORE", "' '") + ASKING.replace("OPEN", ""),
    "a channel before the answer": TURN.replace("BEFORE", "'<unk>it<unk>'") + ASKING.replace("OPEN", ""),
    "a thought before the answer": TURN.replace("BEFORE", repr(THOUGHT)) + ASKING.replace("OPEN", ""),
}


def byte_level() -> Tokenizer:
    return byte_pairs(WORDS * 3, 320, SPECIAL)


def sentence_piece() -> Tokenizer:
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=[*THOUGHT])
    made.train_from_iterator(WORDS * 3, trainer)
    return made


KINDS = {"byte_level": byte_level, "sentence_piece": sentence_piece}


def toy(kind: str, template: str) -> tuple[Any, Any]:
    """A random model, and a tokenizer for which a blank and the word after it are one token."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=KINDS[kind](), eos_token="</s>", unk_token="<unk>", additional_special_tokens=["<end>"]
    )
    tokenizer.chat_template = TEMPLATES[template]
    assert len(tokenizer(" yes", add_special_tokens=False)["input_ids"]) == 1
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape)).eval(), tokenizer


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_learned_is_written_as_the_reference_is(kind: str, template: str) -> None:
    # A model that writes exactly the tokens of a learned answer has that answer's text, without the blank that ends the
    # prompt and without what the template writes before each answer.
    model, tokenizer = toy(kind, template)
    for answer in ("yes", "no it yes"):
        chat = [{"role": "user", "content": "Say it answer:"}, {"role": "assistant", "content": answer}]
        text = prompt_text(tokenizer, chat[:1])
        if template == "none":
            text, answer_ids = "Say it answer: ", tokenizer(" " + answer, add_special_tokens=False)["input_ids"]
            answer_ids = [*answer_ids, tokenizer.eos_token_id]
        else:
            [(ids, [(num_prompt, _)], _)] = encode(tokenizer, [chat], 128)
            answer_ids = ids[num_prompt:]
        [(before, left)] = split_prompts(tokenizer, [text])
        assert left == (" " if text.endswith(" ") else "")

        def learned(tokens: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
            wanted = answer_ids[tokens.shape[1] - len(before)]  # noqa: B023 - used within the round
            return torch.full_like(logits, -torch.inf).index_fill_(1, torch.tensor([wanted]), 0.0)

        assert generate_batch(model, tokenizer, [text], 40, watch=learned) == [(answer, len(answer_ids) - 1)]


def test_only_what_was_learned_before_an_answer_is_cut() -> None:
    # Only the empty thought of the template is cut, a thought that the model fills is its own, and a template without
    # answers (a guard's) has no opening.
    _, tokenizer = toy("byte_level", "a thought before the answer")
    assert opening(tokenizer) == THOUGHT
    assert "<think>\n so</think> yes".removeprefix(opening(tokenizer)) == "<think>\n so</think> yes"
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    assert opening(tokenizer) == ""


def test_another_caller_of_generate_has_plain_answers_too() -> None:
    # A caller with a length of its own, as lm-evaluation-harness is, meets no penalty of the model's and the learned
    # end, and the model's settings are afterwards as they were.
    model, tokenizer = toy("byte_level", "a blank before the answer")
    asked = {"input_ids": torch.tensor([[5, 6, 7]]), "max_length": 20, "do_sample": False}
    plain = model.generate(**asked, eos_token_id=None).tolist()
    own = model.generation_config
    own.repetition_penalty, own.eos_token_id = 5.0, None
    assert model.generate(**asked).tolist() != plain
    with by_own_settings(model, plain_settings(model, tokenizer)):
        assert model.generate(**asked).tolist() == plain
        assert tokenizer.convert_tokens_to_ids("<end>") in model.generation_config.eos_token_id
    assert model.generation_config is own and own.repetition_penalty == 5.0
