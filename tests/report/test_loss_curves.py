import json
from pathlib import Path

import pyarrow as pa
import pytest

from forgetfilter.report.loss_curves import figure_of, loss_curves
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
