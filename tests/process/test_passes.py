"""What passes over data took."""

import time
from pathlib import Path

from forgetfilter.config.schema import Config, DataConfig, SourceConfig
from forgetfilter.process.passes import Pass, count_batch, logging_losses, making_data, measured, start_measures
from forgetfilter.process.progress import progress
from forgetfilter.storage.run_folder import Run


def test_a_pass_counts_what_is_done_in_it(tmp_path: Path) -> None:
    # What was counted before it is not its own; work without tokens, such as judging, is no pass over data.
    start_measures(tmp_path)
    count_batch(1, 100)
    with progress("score", 2) as meter, making_data():
        count_batch(6, 8)
        time.sleep(0.01)  # seconds are told to the millisecond
        meter.advance(2, tokens=6)
    with progress("judge", 1) as meter, logging_losses():
        meter.advance()
    told = measured(tmp_path)["passes"]
    assert list(told) == ["score"]
    done = Pass.read(told["score"] | {"of a later version": 1})
    assert (done.tokens, done.positions, done.padded_share, done.whole) == (6, 8, 0.25, True)
    assert 0 < done.data_seconds <= done.seconds + 0.001 and done.log_seconds == 0 and done.memory_gb


def test_a_pass_that_failed_or_was_resumed_is_not_whole(tmp_path: Path) -> None:
    # Of a stage that goes on, the passes of earlier tries stay, and one that was resumed tells of its last part.
    data = DataConfig(noisy={"n": SourceConfig("n.jsonl")}, safe={"s": SourceConfig("s.jsonl")})
    run = Run.create(Config(name="toy", output=str(tmp_path), data=data))
    for before, tokens in ((0, 5), (1, 7)):
        with run.stage("score", "hash"):
            if not before:
                with progress("score before", 1) as meter:
                    meter.advance(tokens=3)
            with progress("score after", 3, before) as meter:
                meter.advance(tokens=tokens)
    told = {name: (one["tokens"], one["whole"]) for name, one in run.state()["score"]["passes"].items()}
    assert told == {"score before": (3, True), "score after": (7, False)}
    with run.stage("score", "another hash"):
        pass
    assert run.state()["score"]["passes"] == {}


def test_the_peak_of_a_stage_is_that_of_its_largest_pass(tmp_path: Path) -> None:
    # A later pass, which begins its own peak, does not lower that of the stage.
    start_measures(tmp_path)
    for size in (200, 1):
        with progress(f"{size} MB", 1) as meter:
            b"x" * (size * 1_000_000)
            meter.advance(tokens=1)
    found = measured(tmp_path)
    assert found["memory_gb"] >= found["passes"]["200 MB"]["memory_gb"] >= found["passes"]["1 MB"]["memory_gb"]
