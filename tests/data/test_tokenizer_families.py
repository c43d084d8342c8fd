"""Rendering and tokens on small tokenizers of each kind: one text, one BOS, the own end, the prompt's tokens."""

import string
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from forgetfilter.data.rendering import learned_end, prompt_text, render
from forgetfilter.data.tokens import encode, encode_prompts, first_tokens
from forgetfilter.errors import UserError

SENTENCES = ["the cat sat on the mat", "Most birds are quite nice: A yes", "[INST] how many [/INST] Most", "USER: A b"]
# Every character is known, and words by themselves, so that nothing is merged over a space, as in published tokenizers.
WORDS = [*" ".join(SENTENCES).split(), "ASSISTANT:", "user", "assistant", "Write", "text"]
CORPUS = [*SENTENCES, *WORDS, *string.ascii_letters, *string.punctuation]
SPECIAL = ["<unk>", "<s>", "</s>", "<|end|>"]
CHATML = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LINES = (
    "{% for m in messages %}{{ m['role'] | upper }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
TEMPLATES = {"none": None, "chatml": CHATML, "llama2": LLAMA2, "lines": LINES}


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    return made


def sentence_piece() -> Tokenizer:
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator(CORPUS[len(SENTENCES) :] * 3, trainers.BpeTrainer(vocab_size=480, special_tokens=special))
    return made


def unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.train_from_iterator(
        CORPUS * 5, trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIAL, unk_token="<unk>")
    )
    return made


def word_piece() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(CORPUS * 3, trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIAL))
    return made


KINDS = {"byte_level": byte_level, "sentence_piece": sentence_piece, "unigram": unigram, "word_piece": word_piece}
CHATS = [
    [{"role": "user", "content": "how many birds"}, {"role": "assistant", "content": "Most birds sat"}],
    [{"role": "user", "content": "the mat:"}, {"role": "assistant", "content": " yes\n"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "Write </s> or <|end|> in the text"}],
]


def made(kind: str, template: str, bos: bool) -> Any:
    raw = KINDS[kind]()
    if bos:
        raw.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", raw.token_to_id("<s>"))]
        )
    found = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="</s>", additional_special_tokens=["<|end|>"]
    )
    found.chat_template = TEMPLATES[template]
    return found


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_are_those_of_the_whole_text(kind: str, template: str, bos: bool) -> None:
    # Prompt and answer together are the whole text tokenised at once, with one end; no token is there twice or lacks.
    tokenizer = made(kind, template, bos)
    for chat, (ids, num_prompt, cut) in zip(CHATS, encode(tokenizer, CHATS, 512)):
        one = render(tokenizer, chat)
        whole = tokenizer(one.text, add_special_tokens=False)["input_ids"]
        end = [] if one.ends else [tokenizer.eos_token_id]
        start = [tokenizer.bos_token_id] if bos and template == "none" else []
        assert ids == [*start, *whole, *end] and not cut
        assert ids[-1] == (tokenizer.eos_token_id if template == "none" else learned_end(tokenizer))
        # what is learned begins with the answer: no token before it reaches into the answer
        assert 0 < num_prompt < len(ids)
        learned = tokenizer.decode(ids[num_prompt:]).replace(" ", "").replace("##", "")
        assert "".join(chat[1]["content"].split())[:4] in learned


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_alone_has_the_tokens_that_it_has_before_its_answer(kind: str, template: str, bos: bool) -> None:
    # Generation goes on from exactly what training had before the answer.
    tokenizer = made(kind, template, bos)
    ids, num_prompt, _ = encode(tokenizer, CHATS[:1], 512)[0]
    assert encode_prompts(tokenizer, [prompt_text(tokenizer, CHATS[0][:1])]) == [ids[:num_prompt]]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece"])
def test_one_bos_and_first(kind: str, template: str) -> None:
    # Without a template the tokenizer's own; with one what the template writes, and never two.
    tokenizer = made(kind, template, bos=True)
    assert first_tokens(tokenizer) == [tokenizer.bos_token_id]
    expected = {"none": 1, "chatml": 0, "llama2": 1, "lines": 0}[template]
    ids = encode(tokenizer, CHATS[:1], 512)[0][0]
    [prompt] = encode_prompts(tokenizer, [prompt_text(tokenizer, CHATS[0][:1])])
    for row in (ids, prompt):
        assert row.count(tokenizer.bos_token_id) == expected
        assert (row[0] == tokenizer.bos_token_id) == bool(expected)
    [(plain, num_prompt, _)] = encode(tokenizer, [[{"role": "assistant", "content": "the mat"}]], 512)
    assert plain[0] == tokenizer.bos_token_id and num_prompt == 1 and plain.count(tokenizer.bos_token_id) == 1


def test_bos_stays_when_a_long_prompt_is_cut() -> None:
    # Of a prompt that is too long the beginning goes, but not its first token.
    tokenizer = made("sentence_piece", "none", bos=True)
    chat = [{"role": "user", "content": "the cat sat " * 40}, {"role": "assistant", "content": "yes"}]
    [(ids, _, cut)] = encode(tokenizer, [chat], 32)
    assert cut and len(ids) == 32 and ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_mentions_the_end_is_learned_whole(kind: str) -> None:
    # The template's own text after the answer ends it; neither </s> nor <|end|> within it does.
    for template in ("chatml", "lines", "llama2", "none"):
        tokenizer = made(kind, template, bos=False)
        one = render(tokenizer, CHATS[2])
        assert "Write </s> or <|end|> in the text" in one.text[one.start :]
        [(ids, _, _)] = encode(tokenizer, CHATS[2:], 512)
        assert tokenizer.decode(ids).replace(" ", "").endswith(f"inthetext{tokenizer.decode([ids[-1]])}")


def test_the_end_of_turn_is_what_is_learned() -> None:
    # Where the template ends a turn otherwise than by EOS, that is the end; a template without one gets EOS.
    ends = {name: learned_end(made("byte_level", name, bos=False)) for name in TEMPLATES}
    tokenizer = made("byte_level", "none", bos=False)
    names = {name: tokenizer.convert_ids_to_tokens(end) for name, end in ends.items()}
    assert names == {"none": "</s>", "chatml": "<|end|>", "llama2": "</s>", "lines": "</s>"}


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m['role'] }}\n{% endfor %}",
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}",
        "constant",
    ],
)
def test_a_template_that_drops_the_answer_is_refused(template: str) -> None:
    # Roles only, users only, a constant: nothing that is meant would be learned.
    tokenizer = made("byte_level", "none", bos=False)
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=r"^model.chat_template: it leaves out the answer"):
        render(tokenizer, CHATS[0])
