"""What the JSON files of a run folder hold, field by field, for the stages that write them and those that read them."""

from typing import Any, Literal, NotRequired, TypedDict

RankingName = Literal["auroc", "auroc_vs_safe", "auroc_vs_task", "auprc"]
FigureName = Literal[RankingName, "precision", "recall", "f1"]
RANKINGS: tuple[RankingName, ...] = ("auroc", "auroc_vs_safe", "auroc_vs_task", "auprc")
FIGURES: tuple[FigureName, ...] = (*RANKINGS, "precision", "recall", "f1")
"""Of a filter's quality, in the order of every table."""


class Ranking(TypedDict):
    """How well a score ranks the unsafe rows above others; None where a group has no rows."""

    auroc: float | None
    auprc: float | None
    auroc_vs_safe: float | None
    auroc_vs_task: float | None


class Classification(TypedDict):
    """How well a decision finds the unsafe rows; None where it cannot be told."""

    precision: float | None
    recall: float | None
    f1: float | None


class Quality(Ranking, Classification):
    """How well a filter finds the unsafe rows, by labels that it never saw."""

    all_signals: dict[str, Ranking]


def figures(quality: Quality | None) -> dict[str, float | None]:
    """The figures of a quality that are there, which are none without labels."""
    return {name: quality[name] for name in FIGURES if name in quality} if quality else {}


class Counts(TypedDict):
    """Rows, without the probes."""

    kept: int
    dropped: int


class Noise(TypedDict):
    """What of a signal is noise: see filter/quality.py."""

    floor: float
    share_of_drops_above: float | None


class Estimate(TypedDict):
    """What the probes let one expect, each [value, low, high] in rows."""

    unsafe: list[float]
    left: NotRequired[list[float]]
    good_dropped: NotRequired[float]


class ByProbes(TypedDict):
    """What a sweep does to the rows by the estimate of the probes; None where it tells nothing."""

    unsafe_left: list[float | None]
    unsafe_left_low: list[float | None]
    unsafe_left_high: list[float | None]
    good_lost: list[float | None]


class ByLabel(TypedDict):
    """What a sweep does to the labelled rows, without the probes."""

    unsafe: int
    good: int
    unsafe_left: list[int]
    good_lost: list[int]


class SweepTable(TypedDict):
    """filter/sweep.json: what each value of a rule's setting would drop, from the fewest rows to the most, before any
    review. All lists are of the same length."""

    rule: str
    varies: str
    """The setting, without its section."""
    now: int | None
    """The place of the value that was used; None where another rule decided."""
    values: list[float]
    kept: list[int]
    dropped: list[int]
    by_source: dict[str, list[int]]
    """Rows dropped of the largest sources."""
    other_sources: list[int]
    """And of all others together."""
    by_probes: ByProbes | None
    by_label: ByLabel | None


class Review(TypedDict):
    """Rows on which a person decided, and of them those for which the rule had said otherwise."""

    kept: int
    dropped: int
    changed: int


class Line(TypedDict):
    """The points of a threshold's line in the map of losses, nats a token."""

    before: list[float]
    after: list[float]


class Decision(TypedDict):
    """A decision as summary.json and the card tell it. What it has nothing to tell of is left out of the one, and null
    in the other."""

    signal: str
    signal_doc: NotRequired[str | None]
    unit: NotRequired[str | None]
    axis: NotRequired[str | None]
    """The title of an axis of scores."""
    rule: dict[str, Any]
    """Its name, and the settings that it reads."""
    threshold: float | None
    threshold_is_dropped: NotRequired[bool | None]
    """Whether the threshold is the lowest score that was dropped, rather than the highest that was kept."""
    threshold_line: NotRequired[Line | None]
    kept: int
    dropped: int
    unscored: NotRequired[int | None]
    """Rows that were kept because they have no score."""
    valueless: NotRequired[int | None]
    """Those of them that have label tokens."""
    probes: NotRequired[int | None]
    noise: NotRequired[Noise | None]
    by_source: dict[str, Counts]
    by_label: NotRequired[dict[str, Counts] | None]
    quality: Quality | None
    quality_note: NotRequired[str | None]
    note: NotRequired[str | None]
    review: NotRequired[Review | None]
    too_long: NotRequired[dict[str, int] | None]
    """Kept rows, without the probes, that were not scored to the end of their answers: those in too_long.jsonl in the
    place of kept.jsonl (`apart`), and those in kept.jsonl (`kept`). Of an older scoring only how many rows were cut
    (`unknown`), any of which may be such a row."""


class Exported(TypedDict, total=False):
    """What there is of filter/export: the rows there, or why there is none."""

    export: dict[str, Any]
    export_note: str


class Summary(Decision, Exported):
    """filter/summary.json."""

    filter: NotRequired[dict[str, Any]]
    """The section `filter` of the configuration that decided."""
    estimate: NotRequired[Estimate]
    signal_note: NotRequired[str]


class Difference(TypedDict):
    """Of the paired scores of two models, the second less the first, with its 95% interval."""

    value: float | None
    low: float | None
    high: float | None
    n: NotRequired[int]
    missing: NotRequired[int]


class Measured(TypedDict):
    """A metric of a model, with its 95% interval: an entry of metrics.json."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    missing: int
    better: NotRequired[str]
    against: NotRequired[dict[str, Difference]]
    """Its difference from other models, by their names, where the prompts were paired."""


Models = dict[str, Measured]
"""What was measured of a metric, by model."""
Metrics = dict[str, dict[str, Models]]
"""What was measured, by suite and metric."""


class StageTime(TypedDict):
    """What state.json records of a stage."""

    status: str | None
    start: str | None
    seconds: float | None
    memory_gb: float | None
    gpu_gb: float | None
    world_size: int | None
    passes: dict[str, dict[str, Any]]
    """By name, what each pass over data took (process/passes.py)."""


RefitData = Literal["kept", "kept_and_trusted", "kept_then_trusted"]


class RefitRows(TypedDict):
    """train/refit/data.json: of which rows M* is made."""

    data: RefitData
    kept: int
    trusted: int
    left_out: dict[str, int]
