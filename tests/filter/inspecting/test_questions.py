import io
import shlex
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from forgetfilter.filter.decide import decide
from forgetfilter.filter.inspecting import review, texts
from forgetfilter.filter.inspecting.sweep import sweep
from forgetfilter.filter.inspecting.why import shown, why
from forgetfilter.filter.stage import settings
from rich.console import Console

from forgetfilter.cli import main
from forgetfilter.errors import UserError
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import LOSS_SCHEMA, shard_path, write_shard


def test_the_curve_by_hand(make_toy: Any, four_rows: Any) -> None:
    # The loss rises by 1 (unsafe), 0.25 (unsafe), 0 and -1, so the curve has the counts, precision and recall of
    # dropping none to all of them.
    toy = make_toy(four_rows)
    frame = sweep(toy.task(signal="loss_rise", rule="top_k"))
    assert frame.select("setting", "threshold", "kept", "dropped", "precision", "recall").rows() == [
        (0.0, None, 4, 0, None, 0.0),
        (1.0, 1.0, 3, 1, 1.0, 0.5),
        (2.0, 0.25, 2, 2, 1.0, 1.0),
        (3.0, 0.0, 1, 3, pytest.approx(2 / 3), 1.0),
        (4.0, -1.0, 0, 4, 0.5, 1.0),
    ]
    assert pl.read_parquet(toy.folder / "filter/sweep.parquet").equals(frame)
    page = (toy.folder / "filter/sweep.html").read_text()
    assert "<script src=" not in page and "plotly" in page  # self-contained
    assert not (toy.folder / "filter/decisions.parquet").exists()  # decides nothing


def test_every_rule_with_a_number_has_a_curve(make_toy: Any, four_rows: Any) -> None:
    # phi varies over the scores of the examples and quantile over 100 shares; without labels there is no quality, and a
    # rule without a number is refused.
    toy = make_toy([(*row[:2], None, *row[3:]) for row in four_rows])
    assert sweep(toy.task(signal="loss_rise", rule="phi"))["dropped"].to_list() == [0, 1, 2, 3]
    frame = sweep(toy.task(signal="loss_rise", rule="quantile"))
    assert len(frame) == 100 and "precision" not in frame.columns
    with pytest.raises(
        UserError, match=r"source_budget has no number to vary: --sweep works with conformal, found_share, phi"
    ):
        sweep(toy.task(rule="source_budget", source_budget={"mail": 0.5}))


def test_why(make_toy: Any, four_rows: Any) -> None:
    # The first row has rank 1 of 4, its losses are told epoch by epoch and under both models, and the other dropped row
    # is its neighbour.
    toy = make_toy(
        [("one two three", *four_rows[0][1:]), four_rows[1], ("two three four", *four_rows[2][1:]), four_rows[3]]
    )
    run = toy.run(signal="loss_rise", quantile=0.5)
    decide(settings(run))
    for epoch, loss in enumerate((8.0, 4.0)):
        row = {"id": toy.ids[0], "source": "x", "num_tokens": 4, "loss_sum": loss, "rank": 0, "step": 1, "epoch": epoch}
        path = shard_path(toy.folder / "train" / "noisy" / "losses", 0, epoch)
        write_shard(path, pa.Table.from_pylist([row], schema=LOSS_SCHEMA))
    found = why(run, toy.ids[0][:10])
    assert (found["id"], found["drop"], found["percentile"], found["text"]) == (
        toy.ids[0],
        True,
        100.0,
        "one two three",
    )
    screen = io.StringIO()
    console = Console(file=screen, width=80)
    for percentile, told in ((100.0, "100% of the other examples"), (99.99, "99.9% of the other"), (None, "-")):
        console.print(shown(found | {"percentile": percentile}, reveal=False))
        line = next(one for one in screen.getvalue().splitlines()[::-1] if "forgotten more than" in one)
        assert told in line
    assert [row["loss"] for row in found["losses"]] == [2.0, 1.0, 0.5, 1.5]
    assert [(row["id"], row["similarity"]) for row in found["neighbours"]] == [(toy.ids[2], 0.5)]  # 2 of 4 words
    with pytest.raises(UserError, match=r"--why nobody: .* has no such example"):
        why(run, "nobody")


def test_why_names_the_nearest_of_all_examples_with_their_decisions(make_toy: Any, four_rows: Any) -> None:
    # Words count once, in any order and case, of all messages: 3 of 3 with the kept row, 2 of 4 with the dropped one.
    words = ("One two three", "three, TWO one one", "two three four", "nothing alike")
    toy = make_toy([(word, *row[1:]) for word, row in zip(words, four_rows)])
    decide(toy.task(signal="loss_rise", quantile=0.5))
    found = why(toy.task().paths, toy.ids[0])["neighbours"]
    near = [(row["id"], row["similarity"], row["drop"]) for row in found]
    assert near == [(toy.ids[1], 1.0, False), (toy.ids[2], 0.5, True)] and found[1]["score"] == 0.25


def test_texts_are_masked_until_asked_for(make_toy: Any, four_rows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    # --why and --review tell only how long prompt and answer are. With --reveal both are shown, and if asked again
    # without it they are masked again.
    toy = make_toy(
        [("SECRET is out", *four_rows[0][1:]), four_rows[1], ("SECRET too", *four_rows[2][1:]), four_rows[3]]
    )
    data = toy.folder / "data" / "noisy.jsonl"
    data.write_text(data.read_text().replace('"messages": [', '"messages": [{"role": "user", "content": "PROMPT"}, '))
    run = toy.run(signal="loss_rise", quantile=0.5)
    run.write_config()
    decide(settings(run))
    for question in (["--why", toy.ids[0]], ["--review", "4"]):
        for reveal in ([], ["--reveal"], []):
            with pytest.raises(SystemExit) as end:
                main(["filter", str(toy.folder), *question, *reveal])
            told = capsys.readouterr().out
            file = toy.folder / "review.csv"
            told += file.read_text() if file.exists() else ""
            assert end.value.code == 0
            assert ("SECRET" in told) == bool(reveal) == ("--reveal shows them" not in told)
            assert ("PROMPT" in told) == bool(reveal)
            assert ("masked (3 words)" in told) == (not reveal)


def test_a_prompt_of_several_turns_names_their_roles() -> None:
    # The question of a chat needs what was said before it, so each turn has its role; a single turn stands as it is.
    turns = [{"role": role, "content": word} for role, word in (("system", "a"), ("user", "b"), ("assistant", "c"))]
    assert [texts.prompt_of(turns[first:]) for first in range(3)] == ["system: a user: b", "b", ""]
    assert [texts.shown(text, 5, False) for text in ("a\nb", "a", "")] == ["masked (2 words)", "masked (1 word)", ""]
    assert texts.shown("a\nb cde", 5, True) == "a b c"


def test_brackets_in_a_path_match_nothing_else(make_toy: Any, four_rows: Any) -> None:
    # A folder called a[1]* is read as any other by everything that reads shards, decisions, probes and dropped rows.
    toy = make_toy([("an insult too", *four_rows[0][1:]), *four_rows[1:]])
    toy.folder = toy.folder.rename(toy.folder.with_name(f"{toy.folder.name} a[1]*"))
    (toy.folder / "data" / "probes.jsonl").write_text(f'{{"id": "{toy.ids[1]}"}}\n')
    run = toy.run(signal="loss_rise", quantile=0.5)
    assert decide(settings(run))["dropped"] == 2 and sweep(settings(run)).height == 100
    assert review.write(run, 1).exists() and why(run, toy.ids[0])["neighbours"]


def test_from_the_command_line(make_toy: Any, four_rows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    # The three options answer and exit with 0, the command that is told leads to the same settings, and an id that is
    # not there gives exit code 2 and one line.
    toy = make_toy(four_rows)
    toy.folder = toy.folder.rename(toy.folder.with_name(f"{toy.folder.name} :fire: 👍"))
    run = toy.run(signal="loss_rise", quantile=0.5)
    run.write_config()
    decide(settings(run))
    for options in (["--sweep"], ["--why", toy.ids[0]], ["--review", "1"]):
        with pytest.raises(SystemExit) as end:
            main(["filter", str(toy.folder), *options])
        assert end.value.code == 0
    assert (toy.folder / "review.csv").read_text().count("\n") == 2  # the header and one row
    capsys.readouterr()
    decide(toy.task(signal="loss_rise", rule="source_budget", source_budget={"mail": 0.5}))
    with pytest.raises(SystemExit):
        main(["filter", str(toy.folder), "--review", "1"])
    again = capsys.readouterr().out.splitlines()[-1]  # the command that decides by the same settings
    assert again.endswith(" filter.rule=source_budget 'filter.source_budget={mail: 0.5}'")
    assert shlex.split(again)[2] == str(toy.folder)
    assert Run.open(toy.folder, shlex.split(again)[3:]).config.filter.source_budget == {"mail": 0.5}
    with pytest.raises(SystemExit) as end:
        main(["filter", str(toy.folder), "--why", "nobody"])
    assert end.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
