"""The configuration's schema: frozen dataclasses. The docstring of each field gives its meaning and its unit."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from forgetfilter.config.bounds import (
    NUMBER,
    PATH,
    POSITIVE_SHARE,
    SEED,
    SHARE,
    at_least,
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

# What `forgetfilter compare` sets side by side where nothing else is said.
DEFENCES = (
    "released", "none", "sequential", "replay", "self_correction",
    "forgetfilter", "random_filter", "text_scorer", "oracle",
)  # fmt: skip


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
    """New name: name in the file, for columns that are called otherwise."""
    limit: int = not_negative(0)
    """Rows to read, from the first on; 0 reads all."""
    claims: bool = True
    """Whether a row's own `source` and `label` count; false for files of strangers, who could evade a source budget or
    flatter the measured quality: then the source is its key here, and no row has a label."""


@dataclass(frozen=True)
class DataConfig:
    """The two data sets of the method. Keys are source names; they go into each record and into the report."""

    noisy: dict[str, SourceConfig] = field(default_factory=dict)
    """What may hold unsafe examples: D of the paper."""
    safe: dict[str, SourceConfig] = field(default_factory=dict)
    """A few examples known to be safe: S of the paper. Must share no row with the noisy set."""
    probes: dict[str, SourceConfig] = field(default_factory=dict)
    """Trusted examples like the good ones in noisy, trained along, never dropped: rule=conformal calibrates on them."""
    probe_share: float = share(0.25)
    """Share of the safe set that is set aside as probes where neither `probes` nor mixture.probes gives any, 0 to 1:
    of each source alike, 1,000 rows at most; none where that would be fewer than 36 rows."""
    safe_tasks: bool = True
    """Whether the safe finetuning learns the rows of the safe set that are labelled task too; without them it is the
    baseline of the paper. The probes stay as they are."""
    control: dict[str, SourceConfig] = field(default_factory=dict)
    """Trusted examples unlike the safe set: M1 is also finetuned on them, and what that alone makes it forget is taken
    out of the signal contrastive_rise. Must share no row with noisy and safe."""
    max_length: int = bounded(1024, at_least(2))
    """Tokens an example at most; a longer prompt loses its beginning, then a longer answer its end."""
    packing: bool = True
    """Pack examples into one row wherever they are trained on or their losses are measured (exact, no padding); false
    pads them to a batch."""
    batch_tokens: int = positive(8192)
    """Tokens of one forward pass at most where losses are measured: in scoring, and for the answers that an evaluation
    compares. It fixes the batches for any number of ranks, so other values give slightly other losses."""


@dataclass(frozen=True)
class PoolConfig:
    """A published benchmark and the builder that knows its rows."""

    builder: str = ""
    """bbq, toxicity, harmfulqa, flagged, refusals, preference, squad, alpaca, instruction; none leaves it out."""
    source: SourceConfig = field(default_factory=SourceConfig)
    """Where its rows come from."""
    options: dict[str, Any] = field(default_factory=dict)
    """The builder's own settings, such as cut-offs; its docstring lists them."""


@dataclass(frozen=True)
class MixtureConfig:
    """The paper's noisy mixture, for experiments on benchmarks: N examples, a share r of them unsafe."""

    kind: str = ""
    """bias, toxicity or harmfulness: also the name of the suite that measures it."""
    size: int = positive(400)
    """N: examples in the noisy set."""
    unsafe_share: float = share(0.3)
    """r: share of unsafe examples, 0 to 1. The rest is split equally over safe and each task source."""
    safe_size: int = positive(120)
    """Examples in the safe set S, of the same kind, disjoint from the noisy set."""
    trusted_tasks: int = not_negative(0)
    """Trusted task examples put into S beside the safe ones, split equally over the task sources."""
    probes: int = not_negative(0)
    """Trusted examples trained along with the noisy set, in its shares of safe and task rows: see data.probes."""
    control: int = not_negative(0)
    """Trusted examples of the control set: see data.control. Drawn last, so that the other sets stay as they are."""
    control_from: Literal["tasks", "kind", "both"] = "tasks"
    """Kinds of the control set: tasks, kind (safe examples of the mixture's kind), or both in equal parts."""
    eval_size: int = not_negative(60)
    """Held-out prompts a suite."""
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
    """Of weights and activations: bfloat16, float16 or float32. auto is bfloat16 on a GPU and on a CPU that computes in
    it, float32 on other CPUs, which only emulate it (bench/dtypes.py)."""
    attention: Literal["auto", "sdpa", "flash_attention_2", "eager"] = "auto"
    """auto (the fastest that the model and the machine have: flash attention on a GPU, SDPA, eager), or one by name."""
    chat_template: str | None = pathname(None)
    """Jinja file that replaces the model's chat template."""


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters; the paper's values."""

    r: int = bounded(8, between(1, 8192))
    """Rank."""
    alpha: int = positive(16)
    """Scale: the update is multiplied by alpha / r."""
    dropout: float = share(0.05)
    """Probability of dropping an input of the adapter while training."""
    target_modules: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])
    """Names of the layers that get an adapter, or all-linear: all but the output layer. The default, the paper's, gives
    way to the attention's own names in a model that has no such layers, such as GPT-2's c_attn; the run says so."""


@dataclass(frozen=True)
class ScheduleConfig:
    """One finetuning."""

    epochs: int = positive(3)
    """Passes over the data."""
    lr: float = positive(2e-4)
    """Peak learning rate."""
    batch_size: int = positive(16)
    """Examples an optimizer step, over all ranks: the same steps on any number of GPUs."""
    warmup_share: float = share(0.05)
    """Share of the steps in which the rate rises from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """Form of the rate after the warm-up: constant, linear or cosine."""
    weight_decay: float = not_negative(0.0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = not_negative(1.0)
    """Gradient norm above which the gradient is scaled down; 0 for never."""


@dataclass(frozen=True)
class RefitConfig(ScheduleConfig):
    """The last finetuning, and what it learns. The probes are no part of it: they stay apart from M*."""

    data: Literal["kept", "kept_and_trusted", "kept_then_trusted"] = "kept"
    """What M* is trained on: the kept rows alone (the paper's form), the kept rows and the safe set's rows in one
    mixture, or the kept rows and then, with the rate's schedule begun anew, the safe set's rows."""
    trusted_epochs: int = positive(1)
    """data=kept_then_trusted: passes over the safe set's rows at the end."""


@dataclass(frozen=True)
class TrainConfig:
    """How all the finetunings run."""

    method: Literal["full", "lora", "qlora"] = "lora"
    """full, lora, or qlora (4-bit nf4 base with double quantisation, and LoRA)."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Adapter of lora and qlora."""
    noisy: ScheduleConfig = field(default_factory=ScheduleConfig)
    """M0 on the noisy data, giving M1."""
    safe: ScheduleConfig = field(default_factory=ScheduleConfig)
    """M1 on the safe data, giving M2."""
    control: ScheduleConfig | None = None
    """M1 on the control data, where there is any; null for the schedule of safe."""
    refit: RefitConfig = field(default_factory=RefitConfig)
    """M0 on the kept data, giving M*."""
    micro_batch_tokens: int = positive(4096)
    """Tokens of one forward pass of one rank at most."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    deepspeed: str | None = pathname(None)
    """DeepSpeed JSON file, or zero0, zero1, zero2, zero3, zero2_offload, zero3_offload."""
    checkpoint_steps: int = not_negative(200)
    """Optimizer steps between checkpoints from which a stopped run goes on; 0 for none but on a signal."""
    log_losses: bool = True
    """Write each example's loss while training (no extra forward pass)."""

    def schedule(self, stage: str) -> ScheduleConfig:
        """Of noisy, safe, control or refit."""
        schedule: ScheduleConfig = getattr(self, stage) or self.safe
        return schedule


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
    """name=classifier: the labels that mean harm; empty for the usual names (unsafe, harmful, toxic, ...)."""
    batch: int = positive(16)
    """Pairs that a guard is given together."""


@dataclass(frozen=True)
class ScoreConfig:
    """Scoring the noisy data under M1 (before) and M2 (after)."""

    rouge: bool = False
    """Also generate greedily and store ROUGE-1 against the reference: the paper's signal, hundreds of times slower."""
    base: bool = False
    """Also score the noisy data under M0: for signals that ask what was learned (one more pass)."""
    tokens: bool = False
    """Also store each label token's loss and whether it was the first choice, 2.1 bytes a token: for token signals."""
    noise: bool = False
    """Also score M1 a second time in other batches: what of a signal is noise (one more pass)."""
    gradients: bool = False
    """Also compare each example's gradient in LoRA space with the safe set's (LESS): for gradient_distance. Some three
    passes over both sets; batches of train.micro_batch_tokens."""
    gradient_dimensions: int = positive(1024)
    """Numbers to which a gradient is projected at random: cosines keep to about 1 / sqrt of it."""
    encoder: str = pathname("")
    """Also measure each row's distance to the safe set by a sentence encoder, for embedding_distance: all-minilm-l6-v2
    (pip install 'forgetfilter[encoder]'), or a folder or hub id; empty for none."""
    guard: GuardConfig = field(default_factory=GuardConfig)
    """Also ask a guard model about each row's last request and answer, for the signal guard."""
    shard_rows: int = positive(4096)
    """Examples a shard, about: what a stopped scoring loses at most, a rank."""
    max_new_tokens: int = positive(500)
    """Tokens generated an example at most (rouge)."""
    generation_batch: int = positive(32)
    """Prompts generated together (rouge)."""


@dataclass(frozen=True)
class FilterConfig:
    """What is dropped."""

    signal: str = "auto"
    """How much was forgotten, such as distilled_excess, relative_loss_rise or rouge1_drop: docs/signals.md has them.
    auto: distilled_excess where there are probes, relative_loss_rise where there are none."""
    combine: list[str] = field(default_factory=list)
    """Signals whose mean percentile rank takes the place of `signal`."""
    rule: str = "auto"
    """phi, quantile, top_k, source_budget; otsu or mixture (automatic); by probes conformal, found_share or best_f1.
    auto: conformal where there are probes, otsu where there are none."""
    phi: float = bounded(0.0, NUMBER)
    """rule=phi: drop what exceeds this, in the signal's unit."""
    quantile: float = share(0.3)
    """rule=quantile: share of the examples to drop."""
    top_k: int = not_negative(0)
    """rule=top_k: number of examples to drop."""
    max_false_drop: float = share(0.1)
    """rule=conformal: share of the good examples that may be dropped at most."""
    fdr: float | None = share(None)
    """rule=conformal: share of good examples among the dropped at most, in the place of max_false_drop."""
    confidence: float = share(0.975)
    """rule=conformal: the chance that max_false_drop holds in this run, where the data is large; 0.5 is about what
    holds on average over many runs, and finds more."""
    min_found: float = share(0.9)
    """rule=found_share: share of the unsafe examples to be dropped, by estimate."""
    source_budget: dict[str, float] = field(default_factory=dict, metadata={"bound": SHARE})
    """rule=source_budget: source name: share of its examples to drop; sources not named keep all."""


@dataclass(frozen=True)
class JudgeConfig(GuardConfig):
    """Who says whether an answer to a harmful request is harmful: a guard, a server, or the way in which it opens."""

    name: str = "refusal"
    """refusal (offline: what does not decline is harmful), a guard, or endpoint (an OpenAI-compatible server, which
    asks `model`)."""
    url: str = ""
    """name=endpoint: its address up to /v1."""
    key_variable: str = "OPENAI_API_KEY"
    """name=endpoint: the environment variable that holds the key; unset for a server that needs none."""
    budget: int = not_negative(10000)
    """name=endpoint: requests of one run of the stage at most, tries again included."""
    parallel: int = positive(8)
    """name=endpoint: requests at the same time, of a rank."""
    retries: int = not_negative(4)
    """name=endpoint: tries again after too many requests, a server's error or a time-out."""
    timeout: float = positive(60.0)
    """name=endpoint: seconds to wait for a reply."""
    max_missing: float = share(0.2)
    """Share of a model's answers that may stay without a verdict; more end the stage with exit 2."""
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
    """Questions of each task, from the first on; 0 takes all."""
    num_fewshot: int | None = not_negative(None)
    """Examples before each question; null for the task's own number."""
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
    """Which suites; one without prompts is left out and said so."""
    data: dict[str, SourceConfig] = field(default_factory=dict)
    """Suite name: its prompts, where no mixture makes them."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """What generates answers: transformers, or vllm (pip install 'forgetfilter[vllm]'): one process, all GPUs here."""
    max_new_tokens: int = positive(48)
    """Tokens generated a prompt at most."""
    generation_batch: int = positive(32)
    """Answers generated together."""
    samples: int = positive(1)
    """toxicity: continuations a prompt; 1 is a greedy one, more are drawn at random by `seed`."""
    temperature: float = positive(1.0)
    """Of several samples: below 1 the likelier tokens gain."""
    top_p: float = bounded(0.9, POSITIVE_SHARE)
    """Of several samples: drawn from the likeliest tokens that together reach this probability."""
    system_prompt: str = ""
    """A system turn before every prompt; empty for none."""
    cue: str = ""
    """Added to every prompt, such as "Please ensure that your answer is unbiased.": the self-correction baseline."""
    toxicity_scorer: str = pathname("profanity-check")
    """profanity-check (offline); detoxify, detoxify-unbiased, detoxify-multilingual (their weights must be at hand); or
    any text classification model, by folder or hub id (with a slash)."""
    toxicity_labels: list[str] = field(default_factory=list)
    """Of a text classification model: the labels that mean toxic; empty for the usual names (toxic, hate, ...)."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """Who calls an answer to a harmful request harmful."""
    lm_eval: HarnessConfig = field(default_factory=HarnessConfig)
    """Tasks of lm-evaluation-harness, beside the suites."""
    bias_formula: Literal["paper", "helm", "lm_eval", "forgetfilter_authors"] = "paper"
    """Whose BBQ scores: paper, helm, lm_eval or forgetfilter_authors."""
    bbq_metadata: SourceConfig | None = None
    """BBQ's additional_metadata.csv (category, example_id, target_loc), for rows that do not tell the groups."""


@dataclass(frozen=True)
class LaunchConfig:
    """The processes of the training and scoring stages."""

    processes: int = bounded(1, between(1, 1024))
    """Ranks a machine, normally its number of GPUs."""
    nodes: int = bounded(1, between(1, 65536))
    """Machines; more than one need a launcher, which slurm/run_forgetfilter.sh sets."""
    threads: int = not_negative(0)
    """CPU threads a rank; 0 divides the cores of the machine, or of the job, among its ranks."""


@dataclass(frozen=True)
class TrackingConfig:
    """Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto (online with an API key, offline without), online, offline or disabled."""
    project: str = "forgetfilter"
    """W&B project."""
    entity: str | None = None
    """W&B team or user; null for the default."""


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
    """Of data order, initialisation, dropout and mixtures."""
    output: str = pathname("runs")
    """Folder of the run folders."""
    cache: str = pathname("~/.cache/forgetfilter")
    """Folder for prepared data and converted models; safe to delete."""
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
