import json
from pathlib import Path
from typing import Any

import pytest

from forgetfilter.data import tokenising, tokens
from forgetfilter.data.records import Message, make_records, write_records
from forgetfilter.data.rendering import check_template, prompt_text, render
from forgetfilter.data.token_files import prepare
from forgetfilter.data.tokens import encode
from forgetfilter.errors import UserError
from forgetfilter.models.loading import load_tokenizer

CHAT = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat on the mat"}]


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return load_tokenizer(tiny_model, None)


def data(folder: Path, *chats: list[Message]) -> Path:
    write_records(folder / "d.jsonl", make_records((chat, "s", None) for chat in chats))
    return folder / "d.jsonl"


def test_the_prompt_is_masked_and_eos_learned_though_it_is_the_pad_token(tokenizer: Any) -> None:
    # The tokens before num_prompt are the prompt with the opening of the answer, and the rest is the answer with one
    # EOS.
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    [(ids, [(num_prompt, end)], cut)] = encode(tokenizer, [CHAT], 512)
    prompt = "<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(ids[:num_prompt]) == prompt == prompt_text(tokenizer, CHAT[:1])
    assert tokenizer.decode(ids[num_prompt:]) == "sat on the mat<|im_end|>"
    assert ids[-1] == tokenizer.eos_token_id and end == len(ids) and not cut


def test_an_eos_inside_the_answer_stays_there(tokenizer: Any) -> None:
    # Only the template's own last EOS counts as the end.
    chat = [CHAT[0], {"role": "assistant", "content": "a<|im_end|>b"}]
    one = render(tokenizer, chat)
    assert one.text[one.spans[0][0] :] == "a<|im_end|>b<|im_end|>"


def test_too_long_rows_are_cut_by_the_rule() -> None:
    # With 8 tokens, an answer of 4 leaves room for the prompt's last 4. An answer of 10 leaves the prompt a quarter (2)
    # and keeps its first 6 tokens without its end. A prompt of one token stays, and the answer has 7. What fits is left
    # alone, and a first token (1) stays in its place.
    prompt, long = list(range(1, 7)), list(range(11, 21))

    def join(prompt: list[int], answer: list[int], most: int, first: list[int]) -> tuple[list[int], int, bool]:
        made = tokens._join(prompt + answer, [(len(prompt), len(prompt + answer))], most, first)
        assert made.turns == [(made.turns[0][0], len(made.ids))]
        return made.ids, made.turns[0][0], bool(made.cut)

    assert join(prompt, [11, 12, 13, 14], 8, []) == ([3, 4, 5, 6, 11, 12, 13, 14], 4, True)
    assert join(prompt, long, 8, []) == ([5, 6, 11, 12, 13, 14, 15, 16], 2, True)
    assert join([1], long, 8, []) == ([1, 11, 12, 13, 14, 15, 16, 17], 1, True)
    assert join([1], [11, 12], 3, []) == ([1, 11, 12], 1, False)
    assert join([1, 2], [11, 12], 2, []) == ([2, 11], 1, True)
    assert join(prompt, [11, 12, 13, 14], 8, [1]) == ([1, 4, 5, 6, 11, 12, 13, 14], 4, True)


def test_it_is_told_whether_an_answer_was_cut() -> None:
    # Of 10 tokens cut to 8 a long prompt loses its beginning ("around") and a long answer loses text ("within"); an
    # answer that loses only its end token has lost no text.
    ids = list(range(10))
    assert tokens._join(ids, [(7, 10)], 8, []).cut == "around"
    assert tokens._join(ids, [(1, 10)], 8, []).cut == tokens._join(ids, [(1, 4), (6, 10)], 8, []).cut == "within"
    assert (tokens._join(ids, [(1, 10)], 9, []).cut, tokens._join(ids, [(1, 10)], 10, []).cut) == ("around", "")


def test_plain_text_has_no_template_and_one_token_before_it(tokenizer: Any) -> None:
    # EOS stands before a plain text, because this tokenizer has no BOS.
    [(ids, [(num_prompt, _)], _)] = encode(tokenizer, [[{"role": "assistant", "content": "the mat"}]], 512)
    assert (num_prompt, ids[0]) == (1, tokenizer.eos_token_id)
    assert tokenizer.decode(ids[1:]) == "the mat<|im_end|>"


def test_without_a_template_turns_are_joined_by_blank_lines(tokenizer: Any) -> None:
    # Without a template the turns have the plain form of the docstring.
    tokenizer.chat_template = None
    one = render(tokenizer, CHAT)
    assert (one.text[: one.spans[0][0]], one.text[one.spans[0][0] :]) == ("the cat\n\n", "sat on the mat")


def test_prepared_once_and_counted(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Row i is record i over several chunks, every count is right, and a second call reads the cache and tokenises
    # nothing.
    monkeypatch.setattr(tokenising, "CHUNK", 2)
    long = [CHAT[0], {"role": "assistant", "content": "z" * 40}]
    path = data(tmp_path, CHAT, long, CHAT)
    made = prepare(path, tokenizer, 40, tmp_path / "cache")
    expected = encode(tokenizer, [CHAT, long, CHAT], 40)
    assert [(made.row(i)[0].tolist(), made.row(i)[1]) for i in range(3)] == [(ids, n) for ids, n, _ in expected]
    assert made.lengths().tolist() == [len(ids) for ids, _, _ in expected]
    assert made.num_labels().tolist() == [len(ids) - turns[0][0] for ids, turns, _ in expected]
    total = sum(made.num_labels().tolist())
    counts = {"rows": 3, "cut": 1, "unread": 1, "tokens": int(made.lengths().sum()), "label_tokens": total}
    assert made.summary == counts | {"answers_left": 0, "system_left_out": 0}
    assert made.unread().to_pylist() == [made.table["id"][1].as_py()]
    monkeypatch.setattr(tokens, "encode", None)
    assert prepare(path, tokenizer, 40, tmp_path / "cache").path == made.path


def test_tokens_that_were_changed_in_the_cache_are_made_again(
    tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # No model learns or scores another token than the data has; a cache that was only copied is taken as it is.
    path, cache = data(tmp_path, CHAT), tmp_path / "cache"
    made = prepare(path, tokenizer, 64, cache)
    whole, ids = made.path.read_bytes(), made.row(0)[0]
    made.path.with_name("copy").write_bytes(whole)
    made.path.with_name("copy").rename(made.path)
    assert prepare(path, tokenizer, 64, cache).row(0)[0].tolist() == ids.tolist()
    assert "damaged" not in capsys.readouterr().err
    place = whole.rindex(ids.tobytes())
    made.path.with_name("other").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    made.path.with_name("other").rename(made.path)
    assert prepare(path, tokenizer, 64, cache).row(0)[0].tolist() == ids.tolist()
    assert "data.arrow is damaged, and is made again" in capsys.readouterr().err.replace("\n", "")
    made.path.unlink()
    assert prepare(path, tokenizer, 64, cache).row(0)[0].tolist() == ids.tolist()


def test_the_cache_follows_what_the_tokens_depend_on(tokenizer: Any, tmp_path: Path) -> None:
    # Another length, template or data file is another preparation.
    path, cache = data(tmp_path, CHAT), tmp_path / "cache"
    first = prepare(path, tokenizer, 64, cache).identity
    other_length = prepare(path, tokenizer, 65, cache).identity
    other_data = prepare(data(tmp_path, CHAT, CHAT), tokenizer, 64, cache).identity
    tokenizer.chat_template = None
    assert len({first, other_length, other_data, prepare(path, tokenizer, 64, cache).identity}) == 4


def test_a_template_that_fails_on_one_row_leaves_nothing(tokenizer: Any, tmp_path: Path) -> None:
    # The failure is told with the row, and neither a half-written table nor a marker is left.
    fails = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer.chat_template = fails + "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    path = data(tmp_path, CHAT, [{"role": "system", "content": "s"}, *CHAT])
    with pytest.raises(UserError, match=r"d.jsonl line 2 \(source s\): model.chat_template: .*no system"):
        prepare(path, tokenizer, 64, tmp_path / "cache")
    left = [file for file in (tmp_path / "cache").rglob("*") if file.is_file() and file.suffix != ".lock"]
    assert left == []


def test_empty_data_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    # Data without an example, as a filter that dropped everything would leave it, is refused.
    with pytest.raises(UserError, match="holds no example"):
        prepare(data(tmp_path), tokenizer, 64, tmp_path / "cache")


def test_the_users_template_replaces_the_models(tiny_model: Path, tmp_path: Path) -> None:
    # The template comes from the user's file, which must be there.
    (tmp_path / "t.jinja").write_text("T")
    assert load_tokenizer(tiny_model, str(tmp_path / "t.jinja")).chat_template == "T"
    with pytest.raises(UserError, match=r"model.chat_template: .*none.jinja is missing"):
        load_tokenizer(tiny_model, str(tmp_path / "none.jinja"))
    assert json.loads((tiny_model / "config.json").read_text())["hidden_size"] == 32


def test_a_system_prompt_that_the_template_does_not_take_is_told_before_anything(tokenizer: Any) -> None:
    # The error names the setting eval.system_prompt, as it would name the line of a row.
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role here') }}{% endif %}"
        "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    check_template(tokenizer, "")
    with pytest.raises(UserError, match=r"^eval.system_prompt: .*no system role here"):
        check_template(tokenizer, "Be kind.")


TURNS = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "four five six seven"},
]
SYSTEM = [{"role": "system", "content": "Be kind."}, *CHAT]
ONE_TURN = "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
OPEN = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
EACH = "{% for m in messages %}"
KEEPS_SOME = {
    "the last question": (
        "{% for m in (messages[-1:] if add_generation_prompt else messages[-2:]) %}" + ONE_TURN + "{% endfor %}" + OPEN,
        "a turn of the user \\('one'\\)",
    ),
    "questions": (
        EACH + "{% if m['role'] == 'user' or loop.last %}" + ONE_TURN + "{% endif %}{% endfor %}" + OPEN,
        "a turn of the assistant \\('two'\\)",
    ),
    "answers": (
        EACH + "{% if m['role'] == 'assistant' %}" + ONE_TURN + "{% endif %}{% endfor %}" + OPEN,
        "a turn of the user \\('one'\\)",
    ),
    "the beginnings": (
        EACH + ONE_TURN.replace("m['content']", "m['content'][:12]") + "{% endfor %}" + OPEN,
        "a part of the answer \\('four five six seven'\\)",
    ),
}


@pytest.mark.parametrize("name", KEEPS_SOME)
def test_a_template_that_leaves_out_a_turn_is_told_with_its_row(tokenizer: Any, tmp_path: Path, name: str) -> None:
    # A turn that the template leaves out is refused with its row, for the evaluation's prompts too; a row that it keeps
    # whole is not.
    template, said = KEEPS_SOME[name]
    tokenizer.chat_template = template
    path = data(tmp_path, TURNS[-2:-1] + TURNS[1:2] if name != "answers" else TURNS, TURNS)
    line = 1 if name == "answers" else 2
    with pytest.raises(UserError, match=rf"d.jsonl line {line} \(source s\): model.chat_template: .*{said}"):
        prepare(path, tokenizer, 512, tmp_path / "cache")
    if "answer " not in said:
        with pytest.raises(UserError, match=said):
            prompt_text(tokenizer, TURNS[:3])


def test_what_is_merely_trimmed_or_thought_is_kept(tokenizer: Any) -> None:
    # A template may trim turns and leave out what was thought before an earlier answer; the thought of the last answer
    # stays.
    tokenizer.chat_template = (
        EACH
        + (
            "{% set said = m['content'] if loop.last else m['content'].split('</think>')[-1] %}"
            "<|im_start|>{{ m['role'] }}\n{{ said | trim }}<|im_end|>\n{% endfor %}"
        )
        + OPEN
    )
    thought = {"role": "assistant", "content": "<think>hm</think>\n two "}
    chat = [TURNS[0], thought, TURNS[2], {"role": "assistant", "content": "<think>so</think> four\n"}]
    one = render(tokenizer, chat)
    assert "hm" not in one.text and one.text[one.spans[0][0] :] == "<think>so</think> four<|im_end|>"


def test_a_system_turn_that_the_template_leaves_out_is_counted(tokenizer: Any, tmp_path: Path) -> None:
    # The row is learned without it and counted, and a system prompt for the evaluation, which would change nothing, is
    # refused.
    path = data(tmp_path, CHAT, SYSTEM, SYSTEM)
    assert prepare(path, tokenizer, 512, tmp_path / "cache").summary["system_left_out"] == 0
    check_template(tokenizer, "Be kind.")
    tokenizer.chat_template = EACH + "{% if m['role'] != 'system' %}" + ONE_TURN + "{% endif %}{% endfor %}" + OPEN
    assert prepare(path, tokenizer, 512, tmp_path / "cache").summary["system_left_out"] == 2
    with pytest.raises(UserError, match=r"^eval.system_prompt: the model's chat template leaves it out"):
        check_template(tokenizer, "Be kind.")
