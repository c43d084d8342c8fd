"""Rendering and tokens on small tokenizers of each kind: one text, one BOS, the own end, the prompt's tokens."""

import string
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from toy_tokenizers import byte_pairs
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
    return byte_pairs(CORPUS, 400, SPECIAL)


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
    # Prompt and answer have the tokens of the whole text tokenised at once and one end, and what is learned begins with
    # the answer.
    tokenizer = made(kind, template, bos)
    for chat, (ids, [(num_prompt, _)], cut) in zip(CHATS, encode(tokenizer, CHATS, 512)):
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
    # Generation starts from exactly the tokens that training had before the answer.
    tokenizer = made(kind, template, bos)
    ids, [(num_prompt, _)], _ = encode(tokenizer, CHATS[:1], 512)[0]
    assert encode_prompts(tokenizer, [prompt_text(tokenizer, CHATS[0][:1])]) == [ids[:num_prompt]]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece"])
def test_one_bos_and_first(kind: str, template: str) -> None:
    # Without a template there is the tokenizer's own BOS, with one there is what the template writes, and never two.
    tokenizer = made(kind, template, bos=True)
    assert first_tokens(tokenizer) == [tokenizer.bos_token_id]
    expected = {"none": 1, "chatml": 0, "llama2": 1, "lines": 0}[template]
    ids = encode(tokenizer, CHATS[:1], 512)[0][0]
    [prompt] = encode_prompts(tokenizer, [prompt_text(tokenizer, CHATS[0][:1])])
    for row in (ids, prompt):
        assert row.count(tokenizer.bos_token_id) == expected
        assert (row[0] == tokenizer.bos_token_id) == bool(expected)
    [(plain, [(num_prompt, _)], _)] = encode(tokenizer, [[{"role": "assistant", "content": "the mat"}]], 512)
    assert plain[0] == tokenizer.bos_token_id and num_prompt == 1 and plain.count(tokenizer.bos_token_id) == 1


def test_bos_stays_when_a_long_prompt_is_cut() -> None:
    # A prompt that is too long loses its beginning, but not its first token.
    tokenizer = made("sentence_piece", "none", bos=True)
    chat = [{"role": "user", "content": "the cat sat " * 40}, {"role": "assistant", "content": "yes"}]
    [(ids, _, cut)] = encode(tokenizer, [chat], 32)
    assert cut and len(ids) == 32 and ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_mentions_the_end_is_learned_whole(kind: str) -> None:
    # An answer ends with the template's own text after it, and neither at a </s> nor at a <|end|> within it.
    for template in ("chatml", "lines", "llama2", "none"):
        tokenizer = made(kind, template, bos=False)
        one = render(tokenizer, CHATS[2])
        assert "Write </s> or <|end|> in the text" in one.text[one.spans[0][0] :]
        [(ids, _, _)] = encode(tokenizer, CHATS[2:], 512)
        assert tokenizer.decode(ids).replace(" ", "").endswith(f"inthetext{tokenizer.decode([ids[-1]])}")


def test_the_end_of_turn_is_what_is_learned() -> None:
    # If the template ends a turn otherwise than by EOS, that is the learned end; a template without an end gets EOS.
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
    # A template that writes only roles, only users' turns or a constant is refused, because it leaves nothing to learn.
    tokenizer = made("byte_level", "none", bos=False)
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=r"^model.chat_template: it leaves out the answer"):
        render(tokenizer, CHATS[0])


def said(*contents: str) -> list[dict[str, str]]:
    """A chat in which user and assistant take turns."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(contents)]


TALK = said("how many birds", "Most birds sat", "the mat:", "quite nice", "a", "Write text")


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_answer_of_a_chat_is_learned_as_if_it_were_the_last(kind: str, template: str, bos: bool) -> None:
    # The choice of the learned answers changes no token. Each answer has the tokens that it has where it ends the chat,
    # after the same tokens, with the end of turn if the template writes one after earlier answers (Llama 2's and ChatML
    # do).
    tokenizer = made(kind, template, bos)
    [(ids, turns, _)] = encode(tokenizer, [TALK], 512, ["all"])
    [(plain, last, _)] = encode(tokenizer, [TALK], 512)
    assert ids == plain and turns[-1:] == last and len(turns) == 3
    for (start, end), stop in zip(turns, (2, 4, 6)):
        [(own, [(first, _)], _)] = encode(tokenizer, [TALK[:stop]], 512)
        without_end = stop < 6 and template in ("lines", "none")
        assert (ids[:start], ids[start:end]) == (own[:first], own[first:-1] if without_end else own[first:])


THINKING = (  # as Qwen 3 writes: an earlier answer without its thought, the last one with a thought, be it empty
    "{% for m in messages %}<|{{ m['role'] }}|>\n{% set said = m['content'].split('</think>')[-1].strip() %}"
    "{% if m['role'] == 'assistant' and loop.last %}<think>\n"
    "{{ m['content'].split('</think>')[0].split('<think>')[-1].strip() if '</think>' in m['content'] else '' }}"
    "\n</think>\n\n{% endif %}{{ said }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
CHANNELS = (  # as gpt-oss writes: the name of a channel before each answer, and another end behind the last
    "{% for m in messages %}<s>{{ m['role'] }}{% if m['role'] == 'assistant' %} final{% endif %}: {{ m['content'] }}"
    "{{ '</s>' if loop.last and not add_generation_prompt else '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant{% endif %}"
)


def learned(template: str, chat: list[dict[str, str]]) -> list[str]:
    """The texts that are learned of a chat, as the tokens say."""
    tokenizer = made("byte_level", "none", bos=False)
    tokenizer.chat_template = template
    [(ids, turns, _)] = encode(tokenizer, [chat], 512, ["all"])
    return [tokenizer.decode(ids[start:end]) for start, end in turns]


def test_what_a_template_writes_around_earlier_answers_is_told_apart() -> None:
    # Thoughts that the template leaves out, a channel's name and another end of turn are not learned as parts of an
    # answer, and answers of the same text are still told apart.
    thoughts = said("a", "<think>\nhm\n</think>\n\ntwo", "a", "two", "a", "<think>\nso\n</think>\n\nfour")
    assert learned(THINKING, thoughts) == ["two<|end|>", "two<|end|>", "<think>\nso\n</think>\n\nfour<|end|>"]
    assert learned(CHANNELS, said("a", "two", "b", "four")) == [" final: two", " final: four</s>"]
    assert learned(CHATML, said("Answer4f2a", "Answer4f2a", "Answer4f2a", "Answer4f2a")) == ["Answer4f2a<|end|>"] * 2


def test_an_answer_before_any_question_is_learned() -> None:
    # A greeting, with which some chats begin, is learned, and so are two answers in a row.
    greeted = [{"role": "assistant", "content": "Most"}, *said("a", "nice")]
    assert learned(CHATML, greeted) == ["Most<|end|>", "nice<|end|>"]
    assert learned(CHATML, [*said("a", "nice"), {"role": "assistant", "content": "Most"}]) == [
        "nice<|end|>",
        "Most<|end|>",
    ]


def test_tools_and_their_calls_are_context() -> None:
    # A turn that is nothing but calls is context, as is the tool's own turn; a call beside a text belongs to the turn
    # of the text.
    call = "<tool_call>\n{}\n</tool_call>"
    tool = {"role": "tool", "content": "7"}
    chat = [*said("a", f"{call}\n{call}"), tool, *said("b", f"Most\n{call}"), tool, *said("c", "yes")]
    assert learned(CHATML, chat) == [f"Most\n{call}<|end|>", "yes<|end|>"]
    assert learned(CHATML, said("a", f"{call} nice </tool_call>", "b", "yes"))[0] == f"{call} nice </tool_call><|end|>"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% if messages | length > 2 %}Many.{% endif %}" + CHATML, "what comes before"),
        (CHATML.replace("<|end|>", "{{ messages[1]['content'] | length if loop.index0 == 2 }}<|end|>"), "other parts"),
    ],
)
def test_answers_that_cannot_be_told_apart_are_refused(template: str, why: str) -> None:
    # A template that renders earlier turns by what follows, or other turns by an answer, is refused with one line that
    # names the way out.
    tokenizer = made("byte_level", "none", bos=False)
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=rf"^model.chat_template: it renders {why} .*data.learn=last learns the last"):
        encode(tokenizer, [said("a", "two", "b", "four")], 512, ["all"])


def test_of_a_long_chat_the_beginning_of_its_first_prompt_goes_and_then_its_end() -> None:
    # With 16 tokens the first prompt keeps a quarter, the first answer stays whole, and the last answers are cut or
    # gone.
    tokenizer = made("byte_level", "chatml", bos=False)
    whole = encode(tokenizer, [TALK], 512, ["all"])[0]
    [(ids, turns, cut)] = encode(tokenizer, [TALK], 16, ["all"])
    first, end = whole.turns[0]
    assert cut and len(ids) == 16 and turns[0] == (4, 4 + end - first)
    assert ids == whole.ids[first - 4 : first + 12]
    assert all(0 < start < end <= 16 for start, end in turns) and len(turns) < 3
