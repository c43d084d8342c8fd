import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from forgetfilter.config.load import _given, differing_keys, load_config, to_yaml, written
from forgetfilter.errors import UserError

PLAIN = "data:\n  probe_share: 0\n  noisy: {a: {path: a.jsonl}}\n  safe: {b: {path: b.jsonl}}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(PLAIN + "train: {noisy: {lr: 0.5, epochs: 7}}\n")
    return path


def refused(file: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config(file, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_overrides_win_over_the_file_and_the_file_over_the_defaults(file: Path) -> None:
    # lr has the default 2e-4, 0.5 in the file and 0.25 as an override; epochs come from the file; everything else keeps
    # its default.
    config = load_config(file, ["train.noisy.lr=0.25"])
    assert (config.train.noisy.lr, config.train.noisy.epochs, config.train.safe.lr) == (0.25, 7, 2e-4)


def test_an_evaluation_that_would_measure_nothing_is_refused(tmp_path: Path) -> None:
    # It has prompts only of suites that are not asked, or none; those of bias are asked by bias_generation too.
    file = tmp_path / "e.yaml"
    file.write_text("eval: {models: [base], suites: [task], data: {bias: {path: b.jsonl}}}\n")
    assert "there is nothing to measure" in refused(file)
    assert load_config(file, ["eval.suites=[bias_generation]"]).only_evaluates


def test_the_written_config_loads_to_the_same(file: Path, tmp_path: Path) -> None:
    # The config that a run folder keeps is the config itself.
    config = load_config(file, ["seed=3"])
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(config))
    assert load_config(again) == config


def test_probes_choose_the_signal_and_the_rule(file: Path) -> None:
    # They do so where the config names none; a named one stays, and combine replaces the signal.
    def filtering(*overrides: str) -> tuple[str, str]:
        chosen = load_config(file, list(overrides)).filtering
        return chosen.signal, chosen.rule

    probes = "data.probes.a.path=probes.jsonl"
    assert filtering() == ("relative_loss_rise", "otsu")
    assert filtering(probes) == filtering("data.probe_share=0.25") == ("distilled_excess", "conformal")
    assert filtering(probes, "filter.signal=loss_rise") == ("loss_rise", "conformal")
    assert filtering(probes, "filter.rule=quantile", "filter.quantile=0.1") == ("distilled_excess", "quantile")
    assert load_config(file, [probes]).filter == load_config(file).filter  # what is written into the run says auto


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["filter.rule=quantile", "filter.top_k=5"], "of the rule top_k, but filter.rule is quantile: set filter.rule"),
        (["filter.max_false_drop=0.1"], "of the rule conformal, but filter.rule=auto is otsu, for there are no probes"),
        (["filter.fdr=0.1"], "it needs probes: set data.probes.NAME.path, and run again"),
        (["data.probes.a.path=p.jsonl", "filter.phi=0"], "but filter.rule=auto is conformal, for there are probes"),
        (["filter.rule=otsu", "filter.source_budget.a=0.5"], "filter.source_budget is a setting of the rule source_b"),
        (
            ["data.probes.a.path=p.jsonl", "filter.fdr=0.1", "filter.max_false_drop=0.1"],
            "filter.max_false_drop: filter.fdr takes its place here; set filter.fdr=null as well",
        ),
    ],
)
def test_a_setting_that_the_rule_does_not_read(file: Path, overrides: list[str], said: str) -> None:
    # If it is given by itself, even at its default, it would have no effect, so it is refused. A file may hold all
    # settings.
    assert said in refused(file, *overrides)
    file.write_text(PLAIN + "filter: {rule: otsu, quantile: 0.1, top_k: 5, max_false_drop: 0.2, fdr: 0.1}\n")
    assert load_config(file, ["filter.rule=top_k"]).filter.quantile == 0.1


def test_qlora_under_deepspeed_needs_bfloat16(file: Path) -> None:
    # With another storage type the whole base would be copied to every rank.
    said = refused(file, "train.method=qlora", "train.deepspeed=zero3", "model.dtype=float32")
    assert said == "model.dtype must be bfloat16 for qlora under DeepSpeed, got 'float32'"


def test_data_or_a_mixture_must_be_named(tmp_path: Path) -> None:
    # An empty file has neither; a mixture without pools has no rows.
    file = tmp_path / "c.yaml"
    file.write_text("")
    assert "data.noisy is empty" in refused(file)
    assert "mixture.pools is empty" in refused(file, "mixture.kind=bias")


def test_a_mixture_says_its_kind(tmp_path: Path) -> None:
    # It has no default, and another name than the three is refused with the nearest, as the file is read.
    file = tmp_path / "c.yaml"
    file.write_text("mixture: {pools: {a: {builder: bbq, source: {path: a.jsonl}}}}")
    assert refused(file) == f"mixture.kind is not set, and it has no default: set it ({file} and overrides)"
    assert refused(file, "mixture.kind=biass") == "mixture.kind cannot be 'biass'; did you mean 'bias'?"
    assert load_config(file, ["mixture.kind=bias"]).mixture


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    # tests/malformed has the other malformed inputs.
    assert "is missing" in refused(tmp_path / "none.yaml")


def test_differing_keys_names_leaves() -> None:
    # {a.b: 1 -> 2}, and c, which only the second has.
    assert differing_keys({"a": {"b": 1, "x": 0}}, {"a": {"b": 2, "x": 0}, "c": 3}) == [
        "a.b: 1 -> 2",
        "c: None -> 3",
    ]


def test_a_config_is_checked_without_torch(file: Path) -> None:
    # The names of signals and rules are looked up in their files, of which none loads torch or SciPy.
    code = "import sys; from forgetfilter.config.load import load_config; load_config(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert not {"torch", "scipy", "sklearn", "transformers", "pyarrow"} & set(done.stdout.split())


@pytest.mark.parametrize(
    "name",
    [
        "mail",
        "a: b",
        "a, b",
        "x{y",
        "true",
        "No",
        "123",
        "über mail",
        'it\'s "b"',
        "a\\",
        "",
        "👍",
        "👨\u200d👩",
        "\x7f",
        ":fire:",
    ],
)
def test_a_setting_that_is_written_for_the_shell_is_read_as_it_was(name: str) -> None:
    # Whatever a source is called, the command that a page or a terminal names gives the same setting.
    shown = written("filter.source_budget", {name: 0.5, "other": 0.25})
    (word,) = shlex.split(shown)
    assert shown.isascii() and shown.isprintable()  # a terminal without UTF-8 shows it, and loses nothing
    assert _given([word]) == {"filter": {"source_budget": {name: 0.5, "other": 0.25}}}


def test_plain_names_are_written_without_quotation_marks() -> None:
    # So most commands stay easy to read.
    assert written("filter.source_budget", {"mail": 0.5}) == "'filter.source_budget={mail: 0.5}'"
    assert written("filter.combine", ["loss_rise", "b"]) == "'filter.combine=[loss_rise, b]'"
    assert written("filter.fdr", None) == "filter.fdr=null"
