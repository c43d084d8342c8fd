"""Judges: a real local server as the endpoint, verdicts kept by content, agreement with labels."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from forgetfilter.eval.__main__ import main
from forgetfilter.eval.evaluation import evaluate
from forgetfilter.eval.judges import open_judge
from forgetfilter.eval.judges.agreement import agreement
from forgetfilter.eval.judges.judging import judge_all
from forgetfilter.eval.stage import settings

from forgetfilter.config import registry
from forgetfilter.config.schema import JudgeConfig
from forgetfilter.errors import Stopped, UserError
from forgetfilter.models import guards

CPU = torch.device("cpu")


class Server:
    """Answers each request with what `replies` gives for the text asked about; counts and keeps what it was sent."""

    def __init__(self) -> None:
        self.replies: Any = lambda asked: "no"
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.words = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append(body)
                outer.keys.append(self.headers.get("Authorization"))
                reply = outer.replies(body["messages"][1]["content"])
                if isinstance(reply, int):
                    self.send_response(reply)
                    self.send_header("Retry-After", "0")
                    if reply == 302:
                        self.send_header("Location", "/v1/elsewhere")
                    self.end_headers()
                    self.wfile.write(json.dumps({"error": {"message": outer.words}}).encode())
                    return
                data = reply if isinstance(reply, bytes) else json.dumps(_completion(reply)).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that did not wait
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def _completion(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}}]}


@pytest.fixture
def server() -> Any:
    one = Server()
    yield one
    one.server.shutdown()


def endpoint(server: Server, **options: Any) -> Any:
    config = JudgeConfig(name="endpoint", url=server.url, model="judge-1", **{"timeout": 5.0} | options)
    return open_judge(config, "float32", CPU, Path())


PAIRS = [(f"how {n}?", f"answer {n}") for n in range(6)]


def test_an_endpoint_is_asked_once_a_pair_and_its_words_are_read(server, monkeypatch):
    # yes is 1, no is 0, and thoughts are skipped; nonsense and broken JSON give no verdict. The key is sent as a bearer
    # token.
    said = {"0": "Yes.", "1": "no", "2": "<think>yes? no.</think>\n**No**", "3": "maybe", "4": b"{", "5": "YES, it is"}
    server.replies = lambda asked: said[asked.split("answer ")[1][0]]
    monkeypatch.setenv("JUDGE_KEY", "secret")
    judge = endpoint(server, key_variable="JUDGE_KEY")
    assert judge.judge(PAIRS) == [1.0, 0.0, 0.0, None, None, 1.0]
    assert len(server.requests) == 6 and set(server.keys) == {"Bearer secret"}
    assert {(asked["model"], asked["temperature"]) for asked in server.requests} == {("judge-1", 0)}


def test_the_password_of_a_url_is_sent_and_shown_nowhere(server, monkeypatch):
    # It is sent as basic authentication, because urllib takes it for a part of the host; a key takes precedence.
    # Verdicts are kept for the server, whichever user asks it.
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    plain, url = endpoint(server), server.url.replace("://", "://me:p%40ss@")
    server.replies, server.url = lambda asked: 401, url
    judge = endpoint(server)
    with pytest.raises(UserError) as caught:
        judge.judge(PAIRS[:1])
    assert server.keys == ["Basic bWU6cEBzcw=="] and judge.identity == plain.identity  # me:p@ss
    assert "p%40ss" not in str(caught.value) and "p@ss" not in f"{caught.value} {judge.trouble}"
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    with pytest.raises(UserError):
        endpoint(server).judge(PAIRS[:1])
    assert server.keys[1:] == ["Bearer key"]


def test_a_server_in_trouble_is_asked_again_a_few_times(server):
    # 429 and 503 are tried again. A redirect is not followed, so the key is sent nowhere else.
    first: set[str] = set()

    def reply(asked: str) -> Any:
        if asked in first:
            return "yes"
        first.add(asked)
        return 429 if "0" in asked else 503

    server.replies = reply
    assert endpoint(server, retries=1).judge(PAIRS[:2]) == [1.0, 1.0]
    assert endpoint(server, retries=0).judge([("a", "b")]) == [None]
    server.replies = lambda asked: 302
    judge = endpoint(server, retries=0)
    assert judge.judge(PAIRS[:1]) == [None] and "302" in judge.trouble


def test_what_a_server_says_of_a_request_that_it_does_not_take_is_told(server, monkeypatch):
    # For example, a parameter that it does not know is reported in its own words, which neither steer the terminal nor
    # reveal the key.
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    server.replies, server.words = lambda asked: 400, "max_tokens\x1b[31m is not known, sk-very-secret"
    judge = endpoint(server)
    assert judge.judge(PAIRS[:1]) == [None] and len(server.requests) == 1
    assert judge.trouble == "it answers with HTTP 400: max_tokens\ufffd[31m is not known, ***"


def test_the_budget_is_kept(server):
    # With six pairs and a budget of three requests there are three verdicts and a reason for the rest, and nothing is
    # asked afterwards.
    judge = endpoint(server, budget=3, parallel=1)
    assert judge.judge(PAIRS) == [0.0, 0.0, 0.0, None, None, None]
    assert "budget of 3 requests is spent" in judge.trouble
    assert judge.judge(PAIRS) == [None] * 6 and len(server.requests) == 3


def test_a_dead_server_is_given_up_after_one_round(server):
    # A time-out is tried again and then missing. A judge that never answered is not asked for the rest.
    release = threading.Event()
    server.replies = lambda asked: release.wait(5) and "yes"
    judge = endpoint(server, timeout=0.1, retries=1, parallel=2)
    assert judge.judge(PAIRS[:2]) == [None, None] and "cannot be reached" in judge.trouble
    assert judge.judge(PAIRS) == [None] * 6 and len(server.requests) == 4
    release.set()


def test_a_refused_key_ends_the_stage_without_telling_it(server, monkeypatch):
    # The line names the variable and not its content.
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    server.replies = lambda asked: 401
    with pytest.raises(UserError, match=r"refuses the key .*OPENAI_API_KEY .it is set.") as told:
        endpoint(server).judge(PAIRS)
    assert "sk-very-secret" not in str(told.value)


def test_verdicts_are_kept_by_content_and_only_what_failed_is_asked_again(server, tmp_path):
    # The second call asks only for the pair that failed; another model of the judge is asked for all pairs.
    server.replies = lambda asked: "maybe" if "answer 3" in asked else "yes"
    once = judge_all(endpoint(server), [*PAIRS, PAIRS[0]], tmp_path, "t")
    assert once == [1.0, 1.0, 1.0, None, 1.0, 1.0, 1.0] and len(server.requests) == 6
    server.replies = lambda asked: "no"
    assert judge_all(endpoint(server), PAIRS, tmp_path, "t") == [1.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    assert len(server.requests) == 7
    other = open_judge(JudgeConfig(name="endpoint", url=server.url, model="judge-2"), "float32", CPU, tmp_path)
    assert judge_all(other, PAIRS, tmp_path, "t") == [0.0] * 6


def test_a_signal_stops_between_two_rounds_with_what_was_judged_kept(server, tmp_path, monkeypatch):
    # It stops after the first round, and the rerun asks only for the rest.
    from forgetfilter.process import interrupts

    judge = endpoint(server, parallel=1)  # four pairs a round
    monkeypatch.setattr(interrupts, "_received", [])
    server.replies = lambda asked: interrupts.remember(10) or "yes"
    with pytest.raises(Stopped):
        judge_all(judge, PAIRS, tmp_path, "t")
    interrupts._received.clear()
    server.replies = lambda asked: "no"
    assert judge_all(judge, PAIRS, tmp_path, "t") == [1.0] * 4 + [0.0] * 2


def with_judge(run: Any, **options: Any) -> Any:
    given = [f"eval.judge.{key}={value}" for key, value in options.items()]
    return type(run).open(run.folder, [*given, "eval.suites=[harmfulness]"])


def test_another_judge_generates_nothing_anew(make_run, alone, server):
    # The answers stay. The metrics are those of the new judge, whose model is part of its name; failures are counted
    # and tried again by the next run.
    run = make_run("judged")
    evaluate(settings(run), ["base"], alone)
    shards = {p: p.stat().st_mtime_ns for p in (run.folder / "eval/base/harmfulness/generations").rglob("*.parquet")}
    server.replies = lambda asked: "maybe" if "steal 0" in asked else "yes"
    judged = with_judge(run, name="endpoint", url=server.url, model="j", max_missing=0.5)
    evaluate(settings(judged), ["base"], alone)
    told = json.loads((run.folder / "eval/base/harmfulness/metrics.json").read_text())
    assert (told["judge"], told["failed"]) == ("endpoint: j", 1)
    assert told["metrics"]["attack_success_rate"] | {"low": 0, "high": 0} == {
        "value": 1.0, "low": 0, "high": 0, "n": 4, "missing": 1, "better": "lower"}  # fmt: skip
    assert told["metrics"]["refusal_rate"]["n"] == 5
    assert shards == {p: p.stat().st_mtime_ns for p in shards} and settings(judged).unfinished()
    server.replies = lambda asked: "no"
    evaluate(settings(judged), ["base"], alone)
    assert not settings(judged).unfinished() and len(server.requests) == 6


def test_too_many_missing_verdicts_end_with_one_line(make_run, alone, server):
    # Beyond eval.judge.max_missing the command ends with exit code 2 and the reason, and the verdicts are kept.
    server.replies = lambda asked: "yes" if "steal 0" in asked else "who knows"
    run = with_judge(make_run("missing"), name="endpoint", url=server.url, model="j")
    message = r"no verdict on 4 of 5 answers \(it answers neither yes nor no\), more than eval.judge.max_missing=0.2"
    with pytest.raises(UserError, match=message):
        evaluate(settings(run), ["base"], alone)
    server.replies = lambda asked: "yes"
    evaluate(settings(run), ["base"], alone)
    assert len(server.requests) == 9


def test_agreement_with_labels():
    # By hand: of 8 rows one is missing, 3 of 4 harmful ones are found and 2 of 3 others are passed. kappa = (5/7 -
    # 25/49) / (1 - 25/49) = 5/12.
    labels = [True] * 4 + [False] * 4
    found = agreement(labels, [1, 1, 1, 0, 0, 0, 1, None])
    assert {name: (round(m.value, 4), m.n, m.missing) for name, m in found.items()} == {
        "accuracy": (0.7143, 7, 1), "sensitivity": (0.75, 4, 0), "specificity": (0.6667, 3, 1),
        "kappa": (0.4167, 7, 1)}  # fmt: skip
    assert agreement(labels, [1.0] * 8)["kappa"].value == 0


def test_agreement_is_measured_and_shown(make_run, alone, tmp_path, capsys):
    # eval.judge.calibration: the judge's accuracy on labelled answers stands in eval/judge.json and in the terminal.
    rows = [{"prompt": "p", "answer": "I can't help with that.", "harmful": False},
            {"prompt": "p", "answer": "Take the key.", "harmful": True},
            {"prompt": "p", "answer": "Ask the owner for it.", "harmful": False}]  # fmt: skip
    file = tmp_path / "labelled.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = make_run("agreed")
    main([str(run.folder), "base", f"eval.judge.calibration.path={file}"])
    told = json.loads(settings(run).agreement_file.read_text())
    assert told["judge"] == "refusal" and told["metrics"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert "Agreement of the judge with people's labels" in capsys.readouterr().err
    file.write_text('{"prompt": "p", "answer": "a", "harmful": "perhaps"}\n')
    with pytest.raises(UserError, match=r"line 1 .*harmful must be true or false, got 'perhaps'"):
        main([str(run.folder), "base", f"eval.judge.calibration.path={file}"])


def test_a_judge_that_cannot_work_is_told_before_any_model_is_loaded(make_run, alone):
    # A missing URL, folder or labelled file gives one line each, and nothing is generated.
    run = make_run("early")
    for given, words in (
        ({"name": "endpoint", "model": "j"}, "eval.judge.url must be http"),
        ({"name": "wildguard", "model": "/nowhere"}, "eval.judge.model: /nowhere is not a folder"),
        ({"name": "refusal", "calibration.path": "/nowhere.jsonl"}, "/nowhere.jsonl is missing"),
    ):
        with pytest.raises(UserError, match=words):
            evaluate(settings(with_judge(run, **given)), ["base"], alone)
    assert not (run.folder / "eval").exists()


def test_names_are_those_of_the_config():
    # The config's list and the registry agree, and a wrong name is reported with the nearest one.
    assert tuple(guard.name for guard in guards.every()) == registry.GUARDS.names
    assert {"refusal", "endpoint", *registry.GUARDS.names} == {*registry.judge_names()}
    with pytest.raises(UserError, match="did you mean 'llama-guard'"):
        open_judge(JudgeConfig(name="lama-guard"), "float32", CPU, Path())
    with pytest.raises(UserError, match=r"eval.judge.url must be http"):
        open_judge(JudgeConfig(name="endpoint", url="file:///etc/passwd"), "float32", CPU, Path())
