"""A commented configuration for data that were looked at, as text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forgetfilter.config.schema import ScheduleConfig, SourceConfig, TrainConfig
from forgetfilter.data.survey import Survey
from forgetfilter.errors import printable

LENGTHS = (512, 1024, 2048, 4096)  # tokens, of which one is proposed for data.max_length
COVERED = 0.99  # of the rows: the share that the proposed length does not cut
FEW_SAFE = "some hundred rows you trust: of the kinds that may be unsafe, answered well, and of your tasks"


@dataclass(frozen=True)
class Draft:
    """What the configuration is made of."""

    name: str
    model: str
    """Empty: the embedded demo model, since nobody named one."""
    noisy: Mapping[str, Survey]
    safe: Mapping[str, SourceConfig]
    """Empty where there is none yet."""
    probes: Mapping[str, SourceConfig]
    made_up: Mapping[str, Path]
    """{safe or a suite: file with made-up rows} that is used until there is something better."""
    proposed: Path | None
    """A file with rows that a person may make probes of."""
    proposed_rows: int


def to_yaml(draft: Draft, demo: str) -> str:
    """The configuration; `demo` is the model where none was named."""
    files = ", ".join(survey.source.path for survey in draft.noisy.values())
    model, said = json.dumps(draft.model or demo), "" if draft.model else "  # a small demo: name yours"
    return "\n".join(
        [
            _comment(f"What for: finetune a model on {files} without learning what is unsafe in it"),
            f"# Command:  forgetfilter run {draft.name}.yaml  (once more goes on after a stop)",
            "# Every setting: forgetfilter config --describe. Written by forgetfilter init; paths are those from here.",
            f"name: {draft.name}",
            f"model: {{name: {model}}}{said}",
            "data:",
            *_noisy(draft.noisy),
            *_safe(draft),
            *_probes(draft),
            *_max_length(draft.noisy),
            *_train(),
            *_eval(draft.made_up),
            "launch: {processes: 1}  # the number of GPUs",
            "",
        ]
    )


def proposed_length(surveys: Mapping[str, Survey]) -> int:
    """The least of LENGTHS that leaves nearly all rows whole; the greatest where none does."""
    wanted = max(survey.length_at(COVERED) for survey in surveys.values())
    return next((length for length in LENGTHS if length >= wanted), LENGTHS[-1])


def told(survey: Survey) -> list[str]:
    """What was found in a source, in lines for people."""
    rows = f"{survey.rows:,} row{'s' * (survey.rows > 1)}" if survey.whole else f"the first {survey.rows:,} rows"
    shapes = ", ".join(f"{name} ({count:,})" for name, count in survey.shapes.most_common())
    roles = ", ".join(f"{name} {count:,}" for name, count in survey.roles.most_common())
    several = sum(count for turns, count in survey.answers.items() if turns > 1)
    letters = survey.scripts.total() or 1
    writing = ", ".join(f"{name} {count / letters:.0%}" for name, count in survey.scripts.most_common(3))
    lines = [
        f"{rows}, shaped as {shapes}; messages: {roles}",
        f"{several:,} rows with several answers; {survey.readable - len(survey.distinct):,} exact duplicates; "
        f"{survey.labels:,} rows with a label",
        f"letters: {writing or 'none'}; about {survey.length_at(0.5):,} tokens a row, one of 20 has "
        f"{survey.length_at(0.95):,} or more, the longest {max(survey.lengths):,}",
    ]
    if survey.refused:
        lines.append(f"{survey.refused:,} rows cannot be read, and run refuses them; the first: {survey.first_refusal}")
    return [*lines, *survey.told.lines("of these")]


def _noisy(surveys: Mapping[str, Survey]) -> list[str]:
    lines = ["  noisy:"]
    for name, survey in surveys.items():
        lines += [_comment(line, "    ") for line in told(survey)]
        lines += _sources({name: survey.source})
    return lines


def _safe(draft: Draft) -> list[str]:
    if draft.safe:
        return ["  safe:", *_sources(draft.safe)]
    return [
        "  safe:",
        f"    # MISSING: {FEW_SAFE}.",
        "    # These are made up, to see the pipeline work: do not trust what is dropped with them.",
        *_sources({"made_up": SourceConfig(str(draft.made_up["safe"]))}),
        "  probe_share: 0  # made-up rows do not tell how good rows of yours are forgotten: take it out with them",
    ]


def _probes(draft: Draft) -> list[str]:
    if draft.probes:
        return ["  probes:", *_sources(draft.probes)]
    lines = ["  # Probes bound the error: good rows of the noisy data, checked by hand."]
    if draft.proposed:
        how = f"  # Delete from this file every row that is not good ({draft.proposed_rows} were drawn at random), then"
        return [*lines, f"{how} uncomment:", f"  # probes: {{checked: {{path: {json.dumps(str(draft.proposed))}}}}}"]
    return [*lines, "  # probes: {checked: {path: checked.jsonl}}"]


def _max_length(surveys: Mapping[str, Survey]) -> list[str]:
    length = proposed_length(surveys)
    cut = sum(survey.longer_than(length) for survey in surveys.values())
    said = f"about {cut:,} of the rows above are longer and are cut; your model must take so many"
    return [f"  max_length: {length}  # tokens; {said}"]


def _train() -> list[str]:
    train, usual = TrainConfig(), ScheduleConfig()
    schedule = f"{{epochs: {usual.epochs}, lr: {usual.lr}, batch_size: {usual.batch_size}}}"
    return [
        "train:",
        f"  method: {train.method}  # or full, or qlora (4 bit, a GPU)",
        "  # deepspeed: zero2  # for several GPUs; zero3 where the model does not fit into one",
        f"  noisy: {schedule}  # the released model learns the noisy data: M1",
        f"  safe: {schedule}  # M1 learns the safe data, and forgets most what is unlike it",
        f"  refit: {schedule}  # the released model learns the kept rows and the safe data: the result",
    ]


def _eval(made_up: Mapping[str, Path]) -> list[str]:
    suites = {name: SourceConfig(str(path)) for name, path in made_up.items() if name != "safe"}
    return [
        "eval:",
        "  data:  # some dozens of mild made-up prompts a suite, for a first look: take published ones for more",
        *_sources(suites),
    ]


def _sources(sources: Mapping[str, SourceConfig]) -> list[str]:
    """A line a source: the path, and the columns and roles where they have other names."""
    keys = ("path", "columns", "roles")
    given = {name: {key: value for key in keys if (value := getattr(one, key))} for name, one in sources.items()}
    return [f"    {name}: {json.dumps(settings, ensure_ascii=False)}" for name, settings in given.items()]


def _comment(text: str, indent: str = "") -> str:
    """A comment, in which no character of a data row begins a line of its own."""
    return f"{indent}# {printable(text)}"
