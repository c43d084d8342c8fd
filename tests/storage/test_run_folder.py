import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from forgetfilter.config.schema import Config, DataConfig, LaunchConfig, SourceConfig, TrackingConfig
from forgetfilter.errors import Stopped, UserError
from forgetfilter.storage import run_lock
from forgetfilter.storage.run_folder import Run, folder_of, no_idle_folder


@pytest.fixture
def config(tmp_path: Path) -> Config:
    source = {"a": SourceConfig(path="a.jsonl")}
    return Config(name="r", output=str(tmp_path), data=DataConfig(noisy=source, safe=source))


def done(run: Run, name: str = "mix") -> None:
    with run.stage(name, "h"):
        pass


def test_other_settings_are_refused_and_the_keys_named(config: Config) -> None:
    # The line offers both ways out, and the old config does not change.
    run = Run.create(config)
    done(run)
    before = (run.folder / "config.yaml").read_text()
    with pytest.raises(UserError, match=r"seed: 0 -> 5\): give name=NEW for a new run, or --resume"):
        Run.create(replace(config, seed=5))
    assert (run.folder / "config.yaml").read_text() == before


def test_resume_takes_the_new_settings(config: Config) -> None:
    # The new settings are written to the run's config.
    done(Run.create(config))
    run = Run.create(replace(config, seed=5), resume=True)
    assert Run.open(run.folder).config.seed == 5


def test_a_mistake_put_right_needs_no_resume(config: Config) -> None:
    # No stage has started, so other settings cannot spoil anything.
    run = Run.create(config)
    with pytest.raises(UserError), run.stage("mix", "h"):
        raise UserError("a.jsonl is missing")
    assert Run.create(replace(config, seed=5)).config.seed == 5


def test_where_it_runs_is_not_what_it_is(config: Config) -> None:
    # Ranks, W&B and the cache may change from one start to the next.
    done(Run.create(config))
    other = replace(config, launch=LaunchConfig(4), tracking=TrackingConfig("disabled"), cache="elsewhere")
    assert Run.create(other).config.launch.processes == 4


@pytest.mark.parametrize(
    ("error", "status"), [(Stopped("x"), "stopped"), (KeyboardInterrupt(), "stopped"), (ValueError("x"), "failed")]
)
def test_the_state_tells_how_a_stage_ended(config: Config, error: BaseException, status: str) -> None:
    # The error itself is passed on to the caller.
    run = Run.create(config)
    with pytest.raises(type(error)), run.stage("train-noisy", "h", world_size=2):
        assert run.state()["train-noisy"]["status"] == "running"
        raise error
    entry = run.state()["train-noisy"]
    assert (entry["status"], entry["input_hash"], entry["world_size"]) == (status, "h", 2)
    assert not run.is_done("train-noisy", "h") and run.started_with("train-noisy", "h")


def test_done_holds_for_the_same_inputs_only(config: Config) -> None:
    # The state of one stage does not affect that of the others.
    run = Run.create(config)
    done(run)
    done(run, "filter")
    assert run.is_done("mix", "h") and not run.is_done("mix", "other") and not run.started_with("mix", "other")
    assert list(run.state()) == ["filter", "mix"]


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    # The error says what is missing there.
    with pytest.raises(UserError, match=r"is no run folder: it has no config.yaml"):
        Run.open(tmp_path)


def test_the_written_config_opens_with_versions(config: Config) -> None:
    # The head of the file says what made the run, and overrides of an opened run are not written back.
    run = Run.create(config)
    text = (run.folder / "config.yaml").read_text()
    assert text.startswith("# forgetfilter: ") and "# torch: " in text
    root = Path(__file__).parents[2]
    if (root / ".git").exists():  # a checkout's runs name its commit
        head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True)
        assert f"# commit: {head.stdout.strip()}\n" in text
    assert Run.open(run.folder, ["seed=9"]).config.seed == 9
    assert (run.folder / "config.yaml").read_text() == text


def test_files_from_outside_that_changed_undo_a_stage(config: Config) -> None:
    # Another model means other work. A record from before such files were noted holds, and is completed, whether it
    # notes none of them or lacks one.
    run, one, other = Run.create(config), {"model": "one"}, {"model": "other"}
    with run.stage("train-noisy", "h"):
        pass
    assert run.is_done("train-noisy", "h", one) and run.is_done("train-noisy", "h", other)
    run.note_foreign("train-noisy", one)
    assert run.is_done("train-noisy", "h", one) and not run.is_done("train-noisy", "h", other)
    assert run.started_with("train-noisy", "h", one) and not run.started_with("train-noisy", "h", other)
    with run.stage("train-noisy", "h", foreign=other):
        pass
    assert run.is_done("train-noisy", "h", other) and not run.is_done("train-noisy", "h", one)
    assert run.is_done("train-noisy", "h", other | {"scorer": "first"})
    run.note_foreign("train-noisy", other | {"scorer": "first"})
    assert not run.is_done("train-noisy", "h", other | {"scorer": "second"}) and run.is_done("train-noisy", "h", other)


def test_a_folder_of_a_later_format_is_refused(config: Config) -> None:
    # A folder of a later format is refused in one line, and one from before formats were noted is read.
    run = Run.create(config)
    file = run.folder / "config.yaml"
    written = file.read_text()
    assert "\n# format: 1\n" in written
    for text in (written, written.replace("# format: 1\n", "")):
        file.write_text(text)
        assert Run.open(run.folder).config == config
    file.write_text(written.replace("# format: 1", "# format: 2"))
    with pytest.raises(UserError, match="made by a newer forgetfilter: its format is 2, and this one reads up to 1"):
        Run.open(run.folder)


def test_a_refused_command_leaves_no_folder_but_that_of_another(config: Config) -> None:
    # What it made itself goes again. Where the lock of another process is there, the files are that process's.
    folder = folder_of(config)
    for other in (False, True):
        with pytest.raises(UserError), no_idle_folder(folder):
            Run.create(config)
            if other:
                (folder / run_lock.NAME).write_text("{}")
            raise UserError("refused")
        assert (folder / "config.yaml").exists() == other
