import json
import re
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from toy_run import make_toy_run

from forgetfilter.report.charts import LABEL_COLOURS, OTHER, source_colours
from forgetfilter.report.loss_curves import figure_of, loss_curves
from forgetfilter.report.page import write_report
from forgetfilter.report.stage import settings
from forgetfilter.storage.shards import LOSS_SCHEMA, shard_path, write_manifest, write_shard


def test_curves_are_means_over_tokens_by_source_and_label(tmp_path: Path) -> None:
    # Three rows of web, one of them unsafe, over two steps give sums of nats over sums of tokens. A source without
    # labels has only its name, and a stage without a finished log has no curve.
    lines = [{"id": "a", "label": "unsafe"}, {"id": "b"}, {"id": "c"}]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "noisy.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = [("a", 1, 4, 8.0), ("b", 1, 1, 3.0), ("c", 1, 3, 1.0), ("a", 2, 4, 2.0), ("b", 2, 1, 1.0)]
    rows = [
        {"id": name, "source": "web", "num_tokens": tokens, "loss_sum": loss, "rank": 0, "step": step, "epoch": 0}
        for name, step, tokens, loss in seen
    ]
    log = tmp_path / "train" / "noisy" / "losses"
    write_shard(shard_path(log, 0, 2), pa.Table.from_pylist(rows, LOSS_SCHEMA))
    assert loss_curves(tmp_path) == {}
    write_manifest(log, {})
    found = loss_curves(tmp_path)
    assert found == {
        "noisy": {"web": [(1.0, pytest.approx(1.0)), (2.0, 1.0)], "web (unsafe)": [(1.0, 2.0), (2.0, 0.5)]}
    }
    assert [trace["name"] for trace in figure_of(found).data] == ["web", "web (unsafe)"]


def test_labels_are_found_in_a_folder_whose_name_looks_like_a_pattern_and_may_be_gone(tmp_path: Path) -> None:
    # A run called a[1] has its labels; where the data was cleared away there are the sources alone.
    run = tmp_path / "a[1]"
    (run / "data").mkdir(parents=True)
    (run / "data" / "noisy.jsonl").write_text('{"id": "a", "label": "unsafe"}\n')
    row = {"id": "a", "source": "web", "num_tokens": 4, "loss_sum": 8.0, "rank": 0, "step": 1, "epoch": 0}
    log = run / "train" / "noisy" / "losses"
    write_shard(shard_path(log, 0, 2), pa.Table.from_pylist([row], LOSS_SCHEMA))
    write_manifest(log, {})
    assert loss_curves(run) == {"noisy": {"web (unsafe)": [(1.0, 2.0)]}}
    assert loss_curves(run, ["label"]) == {"noisy": {"unsafe": [(1.0, 2.0)]}}
    (run / "data" / "noisy.jsonl").unlink()
    assert loss_curves(run) == {"noisy": {"web": [(1.0, 2.0)]}} and loss_curves(run, ["label"]) == {}


def test_the_page_draws_the_curves_in_the_colours_of_its_sources(tmp_path: Path) -> None:
    # Each source of the log is a line in the colour that it has in the other charts, and each label one in its own.
    run = make_toy_run(tmp_path, rows=12, evaluate=False)
    decisions = pl.read_parquet(run.folder / "filter" / "decisions.parquet")
    rows = [
        {"id": name, "source": source, "num_tokens": 2, "loss_sum": 4.0, "rank": 0, "step": step, "epoch": 0}
        for step in (1, 2)
        for name, source in decisions.select("id", "source").iter_rows()
    ]
    log = run.folder / "train" / "noisy" / "losses"
    write_shard(shard_path(log, 0, 2), pa.Table.from_pylist(rows, LOSS_SCHEMA))
    write_manifest(log, {})
    page = write_report(settings(run)).read_text()
    figures = json.loads(re.findall(r'id="figures">(.*?)</script>', page, re.S)[0])
    drawn = {line["line"]["color"]: (line["x"], line["y"]) for line in figures["learned-by-source"]["data"]}
    assert drawn.keys() == {*source_colours(decisions).values()} and all(
        one == ([1, 2], [2, 2]) for one in drawn.values()
    )
    labels = {line["name"]: line["line"]["color"] for line in figures["learned-by-label"]["data"]}
    assert labels == LABEL_COLOURS and "Learning curves" in page


def test_many_sources_share_a_curve_as_elsewhere(tmp_path: Path) -> None:
    # Of nine sources seven have a curve of their own, and the others one together, over all of their tokens.
    rows = [
        {
            "id": f"{n}",
            "source": f"s{n % 9}",
            "num_tokens": 1,
            "loss_sum": float(n % 9),
            "rank": 0,
            "step": 1,
            "epoch": 0,
        }
        for n in range(9)
    ]
    log = tmp_path / "train" / "noisy" / "losses"
    write_shard(shard_path(log, 0, 1), pa.Table.from_pylist(rows, LOSS_SCHEMA))
    write_manifest(log, {})
    found = loss_curves(tmp_path, ["source"])["noisy"]
    assert len(found) == 8 and found[OTHER] == [(1.0, 7.5)]
