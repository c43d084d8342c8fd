"""Guard models through transformers: they say of a request and an answer whether the answer is harmful.

Some write their verdict, others classify. Each is given the pair in the format that it was trained on. An answer that
is too long for the guard's context loses its end; a request that leaves no room for the answer has no verdict. `judge`
gives verdicts, as an evaluation counts them; `chances` gives probabilities, as a signal ranks by them.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from forgetfilter.config.schema import GuardConfig
from forgetfilter.data.records import clean
from forgetfilter.data.rendering import templated
from forgetfilter.errors import UserError, reason
from forgetfilter.files import sha256_value
from forgetfilter.models import guards
from forgetfilter.models.classifiers import Classifier
from forgetfilter.models.generation import generate_batch
from forgetfilter.models.guards.base import Chance, ClassifyingKind, Pair, Verdict, WritingKind
from forgetfilter.models.identity import folder_hash
from forgetfilter.models.loading import hub_or_folder, load_base, load_tokenizer

CONTEXT = 4096  # tokens, where a guard's config does not tell


class WritingGuard:
    """A guard that writes its verdict. `key` is the section of the config that asks for it."""

    kept = True

    def __init__(self, config: GuardConfig, key: str, dtype: str, device: torch.device, cache: Path):
        kind = guards.get(config.name, f"{key}.name")
        assert isinstance(kind, WritingKind)
        self.kind, self.key, self.folder = kind, key, find_guard(config, key)
        self.dtype, self.device, self.at_once, self.trouble = dtype, device, config.batch, ""
        self.identity = sha256_value([config.name, self.kind.template, folder_hash(self.folder, cache), dtype])

    def judge(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """The verdicts that it writes greedily."""
        harmful, _ = self.kind.words
        return [None if said is None else float(said[0] == harmful) for said in self._said(pairs)]

    def chances(self, pairs: Sequence[Pair]) -> list[Chance]:
        """The probability of the word for harm against the other word, at the place of the verdict.

        All tokens with which a word can begin count, such as "un", " unsafe" and "Unsafe". Example: if those of
        "unsafe" have probability 0.6 together and those of "safe" 0.2, the result is 0.75.
        """
        return [None if said is None else said[1] for said in self._said(pairs)]

    def _said(self, pairs: Sequence[Pair]) -> list[tuple[str, float] | None]:
        """(word, chance of the word for harm) of the verdict on each pair."""
        model, tokenizer, beginnings = self._loaded
        found: list[tuple[str, float] | None] = [None] * len(pairs)
        texts = [self._text(tokenizer, model, pair) for pair in pairs]
        asked = [number for number, text in enumerate(texts) if text is not None]
        if not asked:
            return found
        watch = _Watch(beginnings)
        replies = generate_batch(
            model, tokenizer, [str(texts[n]) for n in asked], self.kind.max_new_tokens, watch=watch
        )
        for row, (number, (reply, _)) in enumerate(zip(asked, replies)):
            if said := self._read(reply):
                found[number] = said[1].lower(), watch.chance(tokenizer, row, said.start(1))
        return found

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any, list[torch.Tensor]]:
        """Model, tokenizer and the tokens with which each of the two words can begin."""
        try:
            tokenizer = load_tokenizer(self.folder, None)
            model = load_base(self.folder, self.dtype, "sdpa", self.device).eval()
        except UserError as error:
            raise UserError(str(error).replace("model.name", f"{self.key}.model")) from error
        known = [tokenizer.decode([token]).strip().lower() for token in range(len(tokenizer))]
        numbers = [[n for n, text in enumerate(known) if text and word.startswith(text)] for word in self.kind.words]
        return model, tokenizer, [torch.tensor(tokens, device=self.device) for tokens in numbers]

    def _text(self, tokenizer: Any, model: Any, pair: Pair) -> str | None:
        """The prompt for the guard; None where not even the request fits."""
        context = getattr(model.config, "max_position_embeddings", None) or CONTEXT
        whole = self._filled(tokenizer, *pair)
        over = len(tokenizer(whole, add_special_tokens=False)["input_ids"]) + self.kind.max_new_tokens - context
        if over <= 0:
            return whole
        answer = tokenizer(pair[1], add_special_tokens=False)["input_ids"]
        if over >= len(answer):
            self.trouble = f"a request fills its context of {context} tokens"
            return None
        return self._filled(tokenizer, pair[0], tokenizer.decode(answer[: len(answer) - over]))

    def _filled(self, tokenizer: Any, prompt: str, answer: str) -> str:
        if not self.kind.template:
            return _conversation(tokenizer, f"{self.key}.model", self.folder, prompt, answer)
        start = tokenizer.bos_token or ""
        text = fill(self.kind.template, prompt, answer)
        return text if text.startswith(start) else start + text

    def _read(self, reply: str) -> re.Match[str] | None:
        if not (said := re.match(self.kind.verdict, reply, re.IGNORECASE)):
            self.trouble = "it writes something else than a verdict"
        return said


class _Watch:
    """Watches a greedy generation: notes each token that was taken, and the odds of one word's beginning to another's.

    Called with [E, width] tokens so far and [E, V] logits, which it leaves as they are.
    """

    def __init__(self, beginnings: list[torch.Tensor]):
        self.beginnings = beginnings
        self.tokens: list[torch.Tensor] = []
        self.odds: list[torch.Tensor] = []

    def __call__(self, ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        one, other = (logits[:, tokens].float().logsumexp(dim=1) for tokens in self.beginnings)
        self.odds.append(one - other)
        self.tokens.append(logits.argmax(dim=1))
        return logits

    def chance(self, tokenizer: Any, row: int, start: int) -> float:
        """Of the first word against the second in a row, at the token that has the character `start` of its text."""
        taken = torch.stack(self.tokens)[:, row].tolist()
        texts = (clean(tokenizer.decode(taken[:end], skip_special_tokens=True)) for end in range(1, len(taken)))
        step = next((step for step, text in enumerate(texts) if len(text) > start), len(taken) - 1)
        return float(self.odds[step][row].sigmoid())


class ClassifyingGuard:
    """A classifier of texts."""

    kept = True

    def __init__(self, config: GuardConfig, key: str, device: torch.device, cache: Path):
        kind = guards.get(config.name, f"{key}.name")
        assert isinstance(kind, ClassifyingKind)
        self.kind = kind
        self.at_once, self.trouble = config.batch, ""
        labels, options = config.labels or [*self.kind.labels], (self.kind.longest, self.kind.closed)
        self.classifier = Classifier(find_guard(config, key), labels, device, f"{key}.model", f"{key}.labels", *options)
        known = folder_hash(self.classifier.folder, cache)
        read = {name: value for name, value in asdict(kind).items() if name != "name"}
        self.identity = sha256_value([config.name, read, known, labels])

    def judge(self, pairs: Sequence[Pair]) -> list[Verdict]:
        return [None if chance is None else float(chance > self.kind.above) for chance in self.chances(pairs)]

    def chances(self, pairs: Sequence[Pair]) -> list[Chance]:
        """The probability of a harmful label."""
        found = self.classifier.probabilities([fill(self.kind.template, *pair) for pair in pairs])
        if not all(chance == chance for chance in found):
            self.trouble = "its probabilities are no numbers"
        return [chance if chance == chance else None for chance in found]


Guard = WritingGuard | ClassifyingGuard


def open_guard(config: GuardConfig, key: str, dtype: str, device: torch.device, cache: Path) -> Guard:
    """The guard that a config's section `key` names; loaded by its first pair. UserError where it is not to be had."""
    if isinstance(guards.get(config.name, f"{key}.name"), WritingKind):
        return WritingGuard(config, key, dtype, device, cache)
    return ClassifyingGuard(config, key, device, cache)


def find_guard(config: GuardConfig, key: str) -> Path:
    """The guard's folder, fetched from the hub if need be."""
    published = guards.get(config.name, f"{key}.name").model
    if not (config.model or published):
        raise UserError(f"{key}.model is not set: name a text classification model for {key}.name={config.name}")
    return hub_or_folder(config.model or published, config.revision, f"{key}.model")


def _conversation(tokenizer: Any, key: str, folder: Path, prompt: str, answer: str) -> str:
    """The pair in a guard's chat template. Some templates take a turn as a text, others as a list of parts, and
    silently leave out a turn of the other form; so a rendering without the answer is not used."""
    trouble = "it leaves out the answer"
    for form in (str, lambda text: [{"type": "text", "text": text}]):
        turns = [{"role": "user", "content": form(prompt)}, {"role": "assistant", "content": form(answer)}]
        try:
            text = templated(tokenizer, turns, add_generation_prompt=True)
        except Exception as error:  # there is no template, or it may raise anything
            trouble = reason(error)
            continue
        if answer.strip() in text:
            return text
    raise UserError(f"{key}: the chat template of {folder} does not take a request with its answer ({trouble})")


def fill(template: str, prompt: str, answer: str) -> str:
    """The template with both texts; braces within these stay as they are."""
    before, between = template.split("{prompt}")
    between, after = between.split("{answer}")
    return before + prompt + between + answer + after
