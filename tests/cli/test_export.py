"""forgetfilter export: what it writes, what it refuses, and the upload to a hub that lives in the test."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_study import call, write_config
from transformers import AutoModelForCausalLM, AutoTokenizer

from forgetfilter.storage.run_folder import Run

NAMED = ("--base-model", "org/tiny", "--license", "mit")
IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A run of made-up rows up to its refit, with an adapter whose weights are not small."""
    folder = tmp_path_factory.mktemp("exported")
    rows = {
        name: [{"prompt": f"what is {n}?", "completion": f"it is {n * 7}"} for n in range(start, start + number)]
        for name, start, number in (("noisy", 0, 12), ("safe", 50, 5))
    }
    schedule = {"epochs": 1, "lr": 0.5, "batch_size": 4}
    config = write_config(
        folder,
        tiny_model,
        rows,
        train={"lora": {"dropout": 0.0}, "noisy": schedule, "safe": schedule, "refit": schedule},
        filter={"rule": "quantile", "quantile": 0.25},
    )
    for stage in ("mix", "train noisy safe", "score", "filter", "train refit"):
        command, *names = stage.split()
        assert call(command, config, *names) == 0
    return folder / "runs" / "r"


def logits(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = AutoModelForCausalLM.from_pretrained(folder)(IDS).logits
    return found


def adapted(base: Path, adapter: Path) -> torch.Tensor:
    import peft

    with torch.no_grad():
        model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter))
        found: torch.Tensor = model(IDS).logits
    return found


def texts(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.iterdir() if path.suffix in (".json", ".md", ".jinja"))


def test_the_adapter_names_the_released_model_and_no_path(run: Path, tiny_model: Path, capsys: Any) -> None:
    # The weights are the refit's, the card's head has id and licence, and nothing names a path of this machine.
    assert call("export", run, *NAMED) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert folder == run / "export" / "adapter"
    assert torch.equal(adapted(tiny_model, folder), adapted(tiny_model, run / "train" / "refit"))
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "org/tiny"
    card = (folder / "README.md").read_text()
    assert 'base_model: "org/tiny"' in card and 'license: "mit"' in card and 'library_name: "peft"' in card
    assert "Of 12 noisy rows 9 were kept and 3 dropped" in card and "| mine | 9 | 3 |" in card
    assert str(tiny_model.parent) not in texts(folder) and str(run.parent) not in texts(folder)
    assert AutoTokenizer.from_pretrained(folder).chat_template


def test_the_merged_model_answers_as_the_adapter(run: Path, tiny_model: Path, capsys: Any) -> None:
    # The merged model has the type of the released weights and its cache on again, and a second export takes its place.
    for _ in range(2):
        assert call("export", run, "--merge", *NAMED) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert torch.allclose(logits(folder), adapted(tiny_model, run / "train" / "refit"), atol=1e-4)
    assert not torch.allclose(logits(folder), logits(tiny_model), atol=1e-2)
    config = json.loads((folder / "config.json").read_text())
    assert (
        config["dtype"] == "float32"
        and config.get("use_cache", True)
        and 'library_name: "transformers"' in texts(folder)
    )
    assert (
        str(tiny_model.parent) not in texts(folder)
        and sorted(path.name for path in (run / "export").iterdir())[-1] == "merged"
    )


def test_what_is_not_known_of_the_released_model_is_said(run: Path, tiny_model: Path, capsys: Any) -> None:
    # A model folder without a card gives its own name and no licence, and the options that name them are told.
    assert call("export", run) == 0
    said = capsys.readouterr().err
    assert "--base-model ID names it" in said and "--license ID names it" in said
    card = (run / "export" / "adapter" / "README.md").read_text()
    assert f'base_model: "{tiny_model.name}"' in card and "license:" not in card


def refused(capsys: Any, *words: object) -> str:
    capsys.readouterr()
    assert call("export", *words) == 2
    said: str = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    return said


def test_mistakes_are_one_line_each(run: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # A folder that is no run, a missing refit, token or repository name, and a folder in the way each give one line,
    # and nothing is written.
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "is no run folder" in refused(capsys, tmp_path)
    assert "needs a token of the hub: set HF_TOKEN" in refused(capsys, run, "--push", "me/it")
    assert "--push must be NAME/REPO, got 'it'" in refused(capsys, run, "--push", "it")
    assert "--public says who may see" in refused(capsys, run, "--public")
    assert "is there already: name a new folder" in refused(capsys, run, "--out", tmp_path)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.yaml").write_text((run / "config.yaml").read_text())
    assert "stage train-refit is not done; run forgetfilter train refit first" in refused(capsys, tmp_path / "bare")


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload needs; the server notes what it was sent."""

    server: Any

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.tokens.add(self.headers.get("Authorization"))
        if self.path.endswith("/create"):
            self.server.made.append(json.loads(body))
            self.reply({"url": f"{self.server.address}/me/it"})
        elif "/preupload/" in self.path:
            names = [one["path"] for one in json.loads(body)["files"]]
            self.reply({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.reply({"success": True, "commitOid": "0" * 40, "commitUrl": f"{self.server.address}/me/it/commit/0"})
        else:
            self.reply({"errors": [], "warnings": []})

    def do_GET(self) -> None:
        self.reply({"id": "me/it", "private": self.server.private, "sha": "0" * 40, "siblings": []})

    def reply(self, value: object) -> None:
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.made, server.files, server.tokens, server.private = [], {}, set(), True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def push(hub: Any, run: Path, *words: str) -> subprocess.CompletedProcess[str]:
    given = {"HF_ENDPOINT": hub.address, "HF_TOKEN": "hf_planted", "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "forgetfilter", "export", str(run), *NAMED, "--push", "me/it", *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | given)


def test_a_push_is_private_and_whole(run: Path, hub: Any) -> None:
    # Every file arrives as it is in the folder, with the token, which is shown nowhere. A public repository gets
    # nothing, and the line says how that is asked for.
    done = push(hub, run)
    assert done.returncode == 0, done.stderr
    folder = run / "export" / "adapter"
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir()} and len(hub.files) > 4
    assert hub.made == [{"name": "it", "organization": "me", "visibility": "private"}]
    assert hub.tokens == {"Bearer hf_planted"} and "hf_planted" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == str(folder)
    hub.private, hub.files = False, {}
    done = push(hub, run)
    assert done.returncode == 2 and "the repository is public: give --public" in done.stderr and not hub.files


def test_a_damaged_refit_is_not_exported(run: Path, tiny_model: Path, capsys: Any) -> None:
    # Neither weights with a changed bit, nor a merge into another released model than the refit was trained on.
    for path, said in (
        (run / "train" / "refit" / "adapter_model.safetensors", "is not as train-refit left it: forgetfilter run"),
        (tiny_model / "model.safetensors", "the model's files are not those that train-refit was done with"),
    ):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        try:
            for words in (("export", run, "--merge"), ("chat", run, "--prompt", "who?")):
                assert call(*words) == 2 and said in capsys.readouterr().err.replace("train-noisy", "train-refit")
        finally:
            path.write_bytes(whole)
    assert not (run / "export" / "merged").exists() or call("export", run, "--merge", *NAMED) == 0


def test_a_refit_of_an_earlier_decision_is_not_exported(run: Path, capsys: Any) -> None:
    # After another decision the refit is of rows that were not kept, so the line names the command that mends it.
    assert call("filter", run, "filter.quantile=0.5") == 0
    assert f"is of an earlier decision: forgetfilter train {run} refit" in refused(capsys, run)
    assert Run.open(run).state()["filter"]["status"] == "done"
