"""The configuration's schema: frozen dataclasses. The docstring of each field gives its meaning and its unit."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from forgetfilter.config.bounds import (
    CONFIDENCE,
    NUMBER,
    PATH,
    POSITIVE_SHARE,
    SEED,
    SHARE,
    Bound,
    at_least,
    auto_or_positive,
    between,
    bounded,
    not_negative,
    pathname,
    positive,
    share,
)
from forgetfilter.config.references import Place, Reference

# Whether there are probes: the signal and the rule for which `auto` stands, as the bake-off has it (docs/findings.md).
AUTO = {True: ("distilled_excess", "conformal"), False: ("relative_loss_rise", "otsu")}

# What these are by `auto` on a CPU. They were the defaults before `auto` was, and a run folder by them is the same run.
BATCH_TOKENS, MICRO_BATCH_TOKENS, ANSWERS = 8192, 4096, 32
AUTO_NUMBERS = {
    "data.batch_tokens": BATCH_TOKENS, "train.micro_batch_tokens": MICRO_BATCH_TOKENS,
    "score.generation_batch": ANSWERS, "eval.generation_batch": ANSWERS,
}  # fmt: skip


def number(setting: int | str, auto: int) -> int:
    """A setting that may be `auto`, which then is the number given."""
    return auto if isinstance(setting, str) else setting


# What `forgetfilter compare` sets side by side where nothing else is said: what needs neither labels nor other models.
DEFENCES = (
    "released", "none", "sequential", "replay", "self_correction",
    "forgetfilter", "random_filter", "text_scorer",
)  # fmt: skip

ROLES = ("system", "user", "assistant", "tool")
ROLE = Bound(f"be one of {', '.join(ROLES)}", ROLES.__contains__)


@dataclass(frozen=True)
class SourceConfig:
    """Where rows come from: a file (JSONL, JSON, CSV, TSV, Parquet, Arrow), a folder or glob of them, or the hub."""

    path: str = pathname("")
    """Local file, folder or glob, or hub name such as tatsu-lab/alpaca."""
    split: str = "train"
    """Split of a hub data set, or of a folder whose files tell their split by their names."""
    subset: str | None = None
    """Configuration name of a hub data set."""
    revision: str | None = None
    """Commit or tag of a hub data set."""
    columns: dict[str, str] = field(default_factory=dict)
    """New name: name in the file, for columns that are called otherwise. A row that has the new name alone keeps it, so
    that files of differing columns can stand together."""
    roles: dict[str, str] = field(default_factory=dict, metadata={"bound": ROLE})
    """Role in the file: role that it stands for, for chats whose roles have other names than the usual ones, such as
    {customer: user, agent: assistant}."""
    limit: int = not_negative(0)
    """Rows to read, from the first on; 0 reads all."""
    claims: bool = True
    """Whether a row's own `source` and `label` count; false for files of strangers, who could evade a source budget or
    flatter the measured quality: then the source is its key here, and no row has a label."""


@dataclass(frozen=True)
class DataConfig:
    """The two data sets of the method. Keys are source names; they go into each record and into the report."""

    noisy: dict[str, SourceConfig] = field(default_factory=dict)
    """The data that may hold unsafe examples; D in the paper."""
    safe: dict[str, SourceConfig] = field(default_factory=dict)
    """A few examples that are known to be safe; S in the paper. A noisy row that is among them is left out."""
    probes: dict[str, SourceConfig] = field(default_factory=dict)
    """Trusted examples that are like the good ones of the noisy set. They are trained along with it and never dropped,
    and the rule conformal is calibrated on them."""
    probe_share: float = share(0.25)
    """The share of the safe set, 0 to 1, that is set aside as probes where neither `probes` nor mixture.probes gives
    any. It is taken from each source alike, up to 1,000 rows in all. Where it would be fewer than 36 rows, none is
    taken."""
    safe_tasks: bool = True
    """Whether the safe finetuning also learns the rows of the safe set that are labelled task; without them it is the
    baseline of the paper. The probes stay as they are."""
    control: dict[str, SourceConfig] = field(default_factory=dict)
    """Trusted examples that are unlike the safe set. M1 is also finetuned on them, and the signal contrastive_rise
    subtracts what that alone makes it forget. They must share no row with the safe set and the probes."""
    learn: Literal["all", "last"] = "all"
    """Which answers of a chat are learned and scored: those of all the assistant's turns, so that none reaches the kept
    rows unscored, or the last one alone. Tool calls without text, their results, and what system and user say are
    context."""
    max_length: int = bounded(1024, at_least(2))
    """The most tokens of an example. Of a longer one the prompt of the first answer that is learned loses its
    beginning, and then the example its end."""
    packing: bool = True
    """Pack examples into one row wherever they are trained on or their losses are measured (exact, no padding); false
    pads them to a batch."""
    batch_tokens: int | str = auto_or_positive()
    """The most tokens of one forward pass where losses are measured: in scoring, and for the answers that an evaluation
    compares; without packing, padding counts too. It fixes the batches for any number of ranks, so another value gives
    slightly other losses. auto is 8192 on a CPU. On a GPU it is what a short probe of its memory finds, once a run; the
    manifests name it."""


@dataclass(frozen=True)
class PoolConfig:
    """A published benchmark and the builder that knows its rows."""

    builder: str = ""
    """bbq, toxicity, harmfulqa, flagged, refusals, preference, squad, alpaca or instruction; none leaves the pool
    out."""
    source: SourceConfig = field(default_factory=SourceConfig)
    """Where its rows come from."""
    options: dict[str, Any] = field(default_factory=dict)
    """The builder's own settings, such as cut-offs; its docstring lists them."""


@dataclass(frozen=True)
class MixtureConfig:
    """The paper's noisy mixture, for experiments on benchmarks: N examples, a share r of them unsafe."""

    kind: Literal["bias", "toxicity", "harmfulness"]
    """What the unsafe examples are. The suite that measures it has the same name."""
    size: int = positive(400)
    """N, the number of examples in the noisy set."""
    unsafe_share: float = share(0.3)
    """r, the share of unsafe examples, 0 to 1. The rest is split equally over safe examples and each task source."""
    safe_size: int = positive(120)
    """The number of examples in the safe set S. They are of the same kind, and none of them is in the noisy set."""
    trusted_tasks: int = not_negative(0)
    """The number of trusted task examples that S has besides the safe ones, split equally over the task sources."""
    probes: int = not_negative(0)
    """The number of probes, in the shares of safe and task rows that the noisy set has; see data.probes."""
    control: int = not_negative(0)
    """The number of examples of the control set; see data.control. They are drawn last, so the other sets stay the
    same."""
    control_from: Literal["tasks", "kind", "both"] = "tasks"
    """What the control set holds: tasks, kind (safe examples of the mixture's kind), or both in equal parts."""
    eval_size: int = not_negative(60)
    """The number of held-out prompts for each suite."""
    attack: str = ""
    """How somebody hides unsafe rows from the filter: the name of an attack (docs/compare.md), or empty for none. For
    experiments with `compare.vary`."""
    pools: dict[str, PoolConfig] = field(default_factory=dict)
    """Sources of unsafe and safe examples of this kind."""
    tasks: dict[str, PoolConfig] = field(default_factory=dict)
    """Sources of task examples."""


@dataclass(frozen=True)
class ModelConfig:
    """The released model M0."""

    name: str = pathname("smollm2-135m-instruct")
    """Hub id, local folder, or smollm2-135m-instruct (comes with the installation, needs no hub)."""
    revision: str | None = None
    """Commit or tag on the hub."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """The type of weights and activations: bfloat16, float16 or float32. auto is bfloat16 on a GPU and on a CPU that
    computes in it, and float32 on other CPUs, which only emulate it (bench/dtypes.py)."""
    attention: Literal["auto", "flash_attention_3", "flash_attention_2", "varlen", "sdpa", "eager"] = "auto"
    """auto (the first of these that the model and the machine have), or one by name. The first three need a GPU:
    flash-attn 3 or 2 their package, varlen (torch's own variable-length kernel) torch 2.11 or later."""
    chat_template: str | None = pathname(None)
    """Jinja file that replaces the model's chat template."""


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters; the paper's values."""

    r: int = bounded(8, between(1, 8192))
    """Rank."""
    alpha: int = positive(16)
    """The scale of the adapter: its update is multiplied by alpha / r."""
    dropout: float = share(0.05)
    """Probability of dropping an input of the adapter while training."""
    target_modules: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])
    """Names of the layers that get an adapter, or all-linear: all but the output layer. The default, the paper's, gives
    way to the attention's own names in a model that has no such layers, such as GPT-2's c_attn; the run says so."""


@dataclass(frozen=True)
class ScheduleConfig:
    """One finetuning."""

    epochs: int = positive(3)
    """The number of passes over the data."""
    lr: float = positive(2e-4)
    """Peak learning rate."""
    batch_size: int = positive(16)
    """Examples in one optimizer step over all ranks, so the steps are the same on any number of GPUs."""
    warmup_share: float = share(0.05)
    """Share of the steps in which the rate rises from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the learning rate goes after the warm-up: constant, linear or cosine."""
    weight_decay: float = not_negative(0.0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = not_negative(1.0)
    """Gradient norm above which the gradient is scaled down; 0 for never."""


@dataclass(frozen=True)
class RefitConfig(ScheduleConfig):
    """The last finetuning, and what it learns. The probes are no part of it: they stay apart from M*."""

    data: Literal["kept", "kept_and_trusted", "kept_then_trusted"] = "kept_and_trusted"
    """What M* is trained on: the kept rows and the safe set's rows in one mixture, the kept rows alone (kept, the
    paper's form), or the kept rows and then, with the rate's schedule begun anew, the safe set's rows."""
    trusted_epochs: int = positive(1)
    """data=kept_then_trusted: passes over the safe set's rows at the end."""


@dataclass(frozen=True)
class TrainConfig:
    """How all the finetunings run."""

    method: Literal["full", "lora", "qlora"] = "lora"
    """full, lora, or qlora (4-bit nf4 base with double quantisation, and LoRA)."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """The adapter of lora and qlora."""
    noisy: ScheduleConfig = field(default_factory=ScheduleConfig)
    """M0 on the noisy data, giving M1."""
    safe: ScheduleConfig = field(default_factory=ScheduleConfig)
    """M1 on the safe data, giving M2."""
    control: ScheduleConfig | None = None
    """M1 on the control data, where there is any; null takes the schedule of safe."""
    refit: RefitConfig = field(default_factory=RefitConfig)
    """M0 on the kept data, giving M*."""
    micro_batch_tokens: int | str = auto_or_positive()
    """The most tokens of one forward pass of one rank; the steps do not depend on it. Without packing, and for
    score.gradients, padding counts too. auto is 4096 on a CPU, under DeepSpeed and for score.gradients. On a GPU it is
    what a short probe of its memory finds."""
    optimizer: Literal["adamw", "adamw_8bit", "adafactor"] = "adamw"
    """adamw; adamw_8bit (its moments in 8 bits, by bitsandbytes: 2 bytes a trained parameter, not 8) or adafactor (sums
    over rows and columns in their place: hardly any). The latter two are for full finetuning in little memory, and not
    to be had under DeepSpeed. In full and in bfloat16 each keeps a float32 copy of the weights, 4 bytes a parameter."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward pass, which saves memory and costs a third more time."""
    deepspeed: str | None = pathname(None)
    """DeepSpeed JSON file, or zero0, zero1, zero2, zero3, zero2_offload, zero3_offload."""
    checkpoint_steps: int = not_negative(200)
    """Optimizer steps between two checkpoints, from which a stopped run goes on; 0 writes one only after a signal."""
    log_losses: bool = True
    """Whether the training writes each example's loss, which takes no extra forward pass."""

    def schedule(self, stage: str) -> ScheduleConfig:
        """Of noisy, safe, control or refit."""
        schedule: ScheduleConfig = getattr(self, stage) or self.safe
        return schedule

    def passes(self, stage: str, rows: Mapping[str, int]) -> list[tuple[int, int]]:
        """(rows, epochs) of each part of a training, of so many rows in each set. The refit is taken to drop none."""
        epochs, refit = self.schedule(stage).epochs, self.refit
        if stage != "refit":
            return [(rows[stage], epochs)]
        if refit.data == "kept_then_trusted":
            return [(rows["noisy"], epochs), (rows["safe"], refit.trusted_epochs)]
        return [(rows["noisy"] + (rows["safe"] if refit.data == "kept_and_trusted" else 0), epochs)]


@dataclass(frozen=True)
class GuardConfig:
    """A model that says whether an answer to a request is harmful."""

    name: str = ""
    """llama-guard, wildguard, harmbench, beaver-dam or classifier (any text classification model); empty for none."""
    model: str = pathname("")
    """Folder or hub id in the place of the guard's published weights."""
    revision: str | None = None
    """Commit or tag of a hub model."""
    labels: list[str] = field(default_factory=list)
    """For name=classifier: the labels that mean harm; empty for the usual names (unsafe, harmful, toxic, ...)."""
    batch: int = positive(16)
    """The number of pairs that a guard is given together."""


@dataclass(frozen=True)
class ScoreConfig:
    """Scoring the noisy data under M1 (before) and M2 (after)."""

    rouge: bool = False
    """Whether to generate greedy answers too and store their ROUGE-1 with the reference, for the paper's signal; it
    takes hundreds of times as long as the losses."""
    base: bool = False
    """Whether to score the noisy data under M0 too, for signals that ask what was learned; it takes one more pass."""
    tokens: bool = False
    """Whether to store each label token's loss and whether it was the first choice, for token signals; it takes 2.1
    bytes for each token."""
    noise: bool = False
    """Whether to score M1 a second time in other batches, which shows what of a signal is noise; it takes one more
    pass."""
    gradients: bool = False
    """Whether to compare each example's gradient in LoRA space with those of the safe set (LESS), for
    gradient_distance. It takes some three passes over both sets, in batches of train.micro_batch_tokens."""
    gradient_dimensions: int = positive(1024)
    """The number of dimensions to which a gradient is projected at random; cosines are kept to about 1 / sqrt of it."""
    encoder: str = pathname("")
    """The sentence encoder that measures each row's distance to the safe set, for embedding_distance: all-minilm-l6-v2
    (pip install 'forgetfilter[encoder]'), or a folder or hub id; empty for none."""
    guard: GuardConfig = field(default_factory=GuardConfig)
    """The guard model that is asked about each row's last request and answer, for the signal guard."""
    shard_rows: int = positive(4096)
    """About how many examples a shard has; a rank of a stopped scoring loses at most so many."""
    max_new_tokens: int = positive(500)
    """The most tokens that are generated for an example (rouge)."""
    generation_batch: int | str = auto_or_positive()
    """The number of prompts that are answered together (rouge); auto as in eval.generation_batch."""


@dataclass(frozen=True)
class FilterConfig:
    """Which examples are dropped."""

    signal: str = "auto"
    """The measure of forgetting, such as distilled_excess, relative_loss_rise or rouge1_drop; docs/signals.md lists
    all. auto is distilled_excess where there are probes, and relative_loss_rise where there are none."""
    combine: list[str] = field(default_factory=list)
    """Signals whose mean percentile rank takes the place of `signal`."""
    rule: str = "auto"
    """phi, quantile, top_k or source_budget; otsu or mixture, which find a cut by themselves; or conformal, found_share
    or best_f1, which need probes. auto is conformal where there are probes, and otsu where there are none."""
    phi: float = bounded(0.0, NUMBER)
    """For rule=phi: examples that exceed this value of the signal are dropped."""
    quantile: float = share(0.3)
    """For rule=quantile: the share of the examples to drop."""
    top_k: int = not_negative(0)
    """For rule=top_k: the number of examples to drop."""
    max_false_drop: float = share(0.1)
    """For rule=conformal: the largest share of the good examples that may be dropped."""
    fdr: float | None = share(None)
    """For rule=conformal: the largest share of good examples among the dropped, in the place of max_false_drop."""
    confidence: float | str = bounded("auto", CONFIDENCE)
    """For rule=conformal: the probability that max_false_drop holds in this run, where the data is large; or average:
    it holds on average over many runs, and the rule finds more. auto is average where the estimate proves that some
    of the rows are unsafe (of clean data it errs in some 3 of 100), and 0.975 where all may be good."""
    min_found: float = share(0.9)
    """For rule=found_share: the estimated share of the unsafe examples that is to be dropped."""
    source_budget: dict[str, float] = field(default_factory=dict, metadata={"bound": SHARE})
    """For rule=source_budget: the share of its examples to drop, by the name of the source; other sources keep all."""
    too_long: Literal["apart", "keep"] = "apart"
    """What becomes of kept rows whose answers go on behind data.max_length, where nothing was learned or scored: apart
    writes them to too_long.jsonl in the place of kept.jsonl; keep keeps them, with the text that nobody scored."""


@dataclass(frozen=True)
class JudgeConfig(GuardConfig):
    """Who says whether an answer to a harmful request is harmful: the offline judge, a guard, or a server."""

    name: str = "refusal"
    """refusal (offline; an answer that does not decline counts as harmful), a guard, or endpoint (an OpenAI-compatible
    server, which asks `model`)."""
    url: str = ""
    """For name=endpoint: its address up to /v1."""
    key_variable: str = "OPENAI_API_KEY"
    """For name=endpoint: the environment variable that holds the key; leave it unset for a server that needs none."""
    budget: int = not_negative(10000)
    """For name=endpoint: the most requests of one run of the stage, repeated ones included."""
    parallel: int = positive(8)
    """For name=endpoint: the number of requests that a rank makes at the same time."""
    retries: int = not_negative(4)
    """For name=endpoint: how often a request is repeated after too many requests, a server's error or a time-out."""
    timeout: float = positive(60.0)
    """For name=endpoint: seconds to wait for a reply."""
    max_missing: float = share(0.2)
    """The share of a model's answers that may stay without a verdict; if there are more, the stage ends with exit 2."""
    calibration: SourceConfig | None = None
    """Rows with prompt, answer and harmful (true or false) on which the judge's agreement is measured."""


@dataclass(frozen=True)
class HarnessConfig:
    """Tasks of lm-evaluation-harness (pip install 'forgetfilter[lm-eval]')."""

    tasks: list[str] = field(default_factory=list)
    """Their names, such as hellaswag or mmlu; empty for none."""
    include_path: str | None = pathname(None)
    """A folder with tasks of your own."""
    limit: int = not_negative(0)
    """The number of questions of each task, from the first on; 0 takes all."""
    num_fewshot: int | None = not_negative(None)
    """The number of examples before each question; null takes the task's own number."""
    chat_template: bool = False
    """Whether questions are put through the model's chat template."""


@dataclass(frozen=True)
class EvalConfig:
    """The measurement of M0 (base), M1 (noisy), M2 (safe) and M* (refit)."""

    models: list[Literal["base", "noisy", "safe", "refit"]] = field(
        default_factory=lambda: ["base", "noisy", "safe", "refit"]
    )
    """Which of base, noisy, safe, refit."""
    suites: list[str] = field(default_factory=lambda: ["toxicity", "bias", "harmfulness", "task"])
    """Which suites; one without prompts is left out, and the run says so."""
    data: dict[str, SourceConfig] = field(default_factory=dict)
    """The prompts of each suite by its name, where no mixture makes them."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """What generates answers: transformers, or vllm (pip install 'forgetfilter[vllm]'): one process, all GPUs here."""
    max_new_tokens: int = positive(48)
    """The most tokens that are generated for a prompt."""
    generation_batch: int | str = auto_or_positive()
    """The number of answers that are generated together. auto is 32 on a CPU; on a GPU it is as many as have their keys
    and values in 0.4 of its memory, 512 at most."""
    samples: int = positive(1)
    """For toxicity: the number of continuations of each prompt. One is greedy; several are drawn at random by
    `seed`."""
    temperature: float = positive(1.0)
    """For several samples: below 1, likelier tokens are drawn more often."""
    top_p: float = bounded(0.9, POSITIVE_SHARE)
    """For several samples: tokens are drawn from the likeliest ones that together reach this probability."""
    system_prompt: str = ""
    """A system turn before every prompt; empty for none."""
    cue: str = ""
    """Added to every prompt, such as "Please ensure that your answer is unbiased.": the self-correction baseline."""
    toxicity_scorer: str = pathname("profanity-check")
    """profanity-check (offline); detoxify, detoxify-unbiased, detoxify-multilingual (their weights must be at hand); or
    any text classification model, by folder or hub id (with a slash)."""
    toxicity_labels: list[str] = field(default_factory=list)
    """For a text classification model: the labels that mean toxic; empty for the usual names (toxic, hate, ...)."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """Who says whether an answer to a harmful request is harmful."""
    lm_eval: HarnessConfig = field(default_factory=HarnessConfig)
    """Tasks of lm-evaluation-harness, in addition to the suites."""
    bias_formula: Literal["paper", "helm", "lm_eval", "forgetfilter_authors"] = "paper"
    """Whose BBQ scores: paper, helm, lm_eval or forgetfilter_authors."""
    bbq_metadata: SourceConfig | None = None
    """BBQ's additional_metadata.csv (category, example_id, target_loc), for rows that do not tell the groups."""


@dataclass(frozen=True)
class LaunchConfig:
    """The processes of the training and scoring stages."""

    processes: int = bounded(1, between(1, 1024))
    """The number of ranks on a machine, normally that of its GPUs."""
    nodes: int = bounded(1, between(1, 65536))
    """The number of machines; more than one need a launcher, which slurm/run_forgetfilter.sh sets."""
    threads: int = not_negative(0)
    """CPU threads of a rank; 0 divides the cores of the machine, or of the job, among its ranks."""
    timeout: float = bounded(7200.0, between(1, 10**6))
    """Seconds that a rank waits for another one. A rank that is silent for longer is given up, and the stage is
    stopped. It must be longer than the longest work of one rank alone, such as saving a model while the others wait."""


@dataclass(frozen=True)
class TrackingConfig:
    """Where the stages are tracked besides their files: in Weights & Biases or in TensorBoard."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto (online with an API key, offline without), online, offline or disabled. disabled holds for TensorBoard
    too."""
    project: str = "forgetfilter"
    """W&B project."""
    entity: str | None = None
    """W&B team or user; null for the default."""
    backend: Literal["wandb", "tensorboard", "none"] = "wandb"
    """wandb, tensorboard (files in RUN/tensorboard) or none."""
    upload: bool = False
    """Upload the files of W&B's artifacts, such as the data and the adapter, texts included; false only notes their
    places, and digests of place, size and time."""


@dataclass(frozen=True)
class ScaleConfig:
    """The scaling study (forgetfilter scale): the pipeline once for each model and seed, as runs NAME-MODEL-SEED."""

    models: list[str] = field(default_factory=list, metadata={"bound": PATH})
    """The released models, each in the place of model.name."""
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"bound": SEED})
    """The seeds, each in the place of seed."""


@dataclass(frozen=True)
class CompareConfig:
    """The comparison of defences (forgetfilter compare): a run for each defence and seed, and shared stages once."""

    defences: list[str] = field(default_factory=lambda: list(DEFENCES))
    """Which defences, by their names: docs/compare.md has them."""
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"bound": SEED})
    """The seeds, each in the place of seed."""
    rounds: int = positive(1)
    """How often the finetuning is done in a row: each round begins at the model that a defence gave in the round
    before, and learns the same data."""
    vary: dict[str, list[Any]] = field(default_factory=dict)
    """Setting: values to put in its place, one at a time, while the others stay as they are: a comparison for each,
    such as {mixture.unsafe_share: [0.05, 0.1]}."""


@dataclass(frozen=True)
class Config:
    """One run of the whole pipeline."""

    name: str = "run"
    """Name of the run and of its folder."""
    seed: int = bounded(0, SEED)
    """The seed of data order, initialisation, dropout and mixtures."""
    output: str = pathname("runs")
    """The folder of the run folders."""
    cache: str = pathname("~/.cache/forgetfilter")
    """The folder of prepared data and converted models; it is safe to delete."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    mixture: MixtureConfig | None = None
    """Make the noisy and safe sets from benchmarks (experiments); null to use data.noisy and data.safe."""
    train: TrainConfig = field(default_factory=TrainConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    scale: ScaleConfig | None = None
    """Models and seeds of a scaling study; null for none."""
    compare: CompareConfig | None = None
    """Defences and seeds of a comparison; null for all of the defaults."""
    references: dict[Place, Reference] = field(
        default_factory=dict, compare=False, repr=False, metadata={"omegaconf_ignore": True}
    )
    """No setting: what of the others was taken from elsewhere, such as the environment (config/references.py)."""

    @property
    def has_control(self) -> bool:
        """Whether there is a control set, and so a control finetuning."""
        return bool(self.mixture.control if self.mixture else self.data.control)

    @property
    def scorings(self) -> int:
        """How often the noisy data is scored: under M1 and M2, and for the signals that need further losses."""
        return 2 + sum([self.score.base, self.score.noise, self.has_control])

    @property
    def trainings(self) -> list[str]:
        """The trainings, in their order."""
        return ["noisy", "safe", *(["control"] if self.has_control else []), "refit"]

    def work(self, rows: Mapping[str, int]) -> dict[str, int]:
        """The examples that each stage learns or scores, each pass counted, of so many rows in each set."""
        passes = {name: self.train.passes(name, rows) for name in self.trainings}
        learned = {f"train-{name}": sum(count * epochs for count, epochs in parts) for name, parts in passes.items()}
        return learned | {"score": self.scorings * rows["noisy"]}

    @property
    def learns_all(self) -> bool:
        """Whether all answers of a row are learned, and not only the last."""
        return self.data.learn == "all"

    @property
    def gives_probes(self) -> bool:
        """Whether the config names probes of its own."""
        return bool(self.mixture.probes if self.mixture else self.data.probes)

    @property
    def has_probes(self) -> bool:
        """Whether trusted examples are trained along with the noisy ones, as far as the config tells.

        Whether the safe set has enough rows to set some aside, the mix stage finds.
        """
        return self.gives_probes or self.data.probe_share > 0

    @property
    def filtering(self) -> FilterConfig:
        """The section `filter` with what `auto` stands for, as far as the config tells."""
        return self.filtering_with(self.has_probes)

    def filtering_with(self, probes: bool) -> FilterConfig:
        """The section `filter` with what `auto` stands for, with probes or without."""
        signal, rule = AUTO[probes]
        chosen = self.filter
        return replace(
            chosen,
            signal=signal if chosen.signal == "auto" else chosen.signal,
            rule=rule if chosen.rule == "auto" else chosen.rule,
        )

    @property
    def only_evaluates(self) -> bool:
        """Whether there is nothing to train on: model.name is measured as it is, on the prompts of eval.data."""
        return self.mixture is None and not self.data.noisy and not self.data.safe and self.eval.models == ["base"]
