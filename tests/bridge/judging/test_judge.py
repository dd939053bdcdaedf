"""Judges that know the truth, know nothing, fail or are interrupted, behind a server on this machine."""

import json
import re
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import save_tiny_model

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.cli import main
from expander_theory.results import JudgedRecord, Ledger, read_records
from sae_bridge import judging
from sae_bridge.commands.on_features.pages import Features
from sae_bridge.judging import KEY, Answers, EndpointJudge, Example, JudgeFailed, Shown, Sizes, judges
from sae_bridge.sae import TopKSAE

SIZES = Sizes(explain=3, test=4, at_once=4)
QUESTIONS = 1 + 2 * 2
ACCEPTED = ("--other-activations", "--other-place")
PROMPTS = judging.read_prompts()


def feature(number, words="x"):
    """A feature with a token of its own in each active text; no text is like another's."""

    def text(i, active):
        tokens = tuple(f" {words}{number}.{i}.{j}" for j in range(6))
        acts = np.zeros(6, np.float32)
        acts[i % 5 : i % 5 + 1 + i % 2] = float(active)
        return Example(tokens, acts, np.ones(len(acts), bool), active)

    test = [text(i, i % 2 == 0) for i in range(8)]
    return Shown(number, tuple(text(10 + i, True) for i in range(3)), tuple(test))


SHOWN = {"folder/secretive": [feature(i) for i in range(5)], "another": [feature(i, "y") for i in range(4)]}


def ideal(system, user):
    if system == PROMPTS["explain"]:
        return f"[EXPLANATION]: said of {re.search(r'[xy][0-9]', user)[0]}"
    given = [line.split(": ", 1)[1] for line in user.split("\n\n", 1)[1].split("\n")]
    every = [e for features in SHOWN.values() for one in features for e in one.test if e.active]
    right = {e.text(e.marks() if system == PROMPTS["fuzzing"] else None) for e in every}
    return f"I think: {[int(text in right) for text in given]}"


def chat(system, user, rule=ideal):
    return 200, json.dumps({"choices": [{"message": {"content": rule(system, user)}}]}).encode()


@contextmanager
def server(rule):
    """Answers with the status and bytes that a rule gives for (system, user); None hangs up."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, dict(self.headers), body))
            found = rule(*(message["content"] for message in body["messages"]))
            if found is None:
                return
            self.send_response(found[0])
            self.send_header("Content-Length", str(len(found[1]) + (10 if found[2:] else 0)))
            self.end_headers()
            self.wfile.write(found[1])

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}", asked
    finally:
        http.shutdown()
        http.server_close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(judges, "_WAIT", 0.0)
    monkeypatch.delenv(KEY, raising=False)


class Rule:
    """A judge in this process, which counts what it is asked and may break down after some answers."""

    def __init__(self, rule=ideal, breaks=None, error=KeyboardInterrupt):
        self.rule, self.breaks, self.error, self.asked = rule, breaks, error, []
        self.identity = {"judge": "rule"}

    def count(self, system, user):
        return len(user)

    def answer(self, system, user, most):
        if len(self.asked) == self.breaks:
            raise self.error("stopped")
        self.asked.append((system, user))
        return self.rule(system, user)


def judged(folder, judge, shown=SHOWN, sizes=SIZES, prompts=PROMPTS, about=None):
    with Ledger(judging.ledger_in(folder), judging.identity(judge, prompts, sizes, about or {})) as ledger:
        return judging.judge_features(shown, Answers(judge, ledger), prompts, sizes, ledger)


def test_a_judge_that_knows_the_truth_scores_one_behind_a_server(tmp_path):
    with server(chat) as (url, asked):
        records = judged(tmp_path, EndpointJudge(url, "m"))
    assert [(r.sae, r.feature) for r in records] == [(sae, one.feature) for sae, own in SHOWN.items() for one in own]
    assert all((r.detection, r.fuzzing, r.unread, r.questions) == (1, 1, 0, 4) for r in records)
    assert records[0].explanation == "said of x0"
    assert len(asked) == 9 * QUESTIONS
    assert all((body["model"], body["temperature"]) == ("m", 0) for _, _, body in asked)
    assert not any("secretive" in str(body) or "another" in str(body) for _, _, body in asked)


@pytest.mark.parametrize(("answer", "score", "unread"), [("[1, 1, 1, 1]", 0.5, 0), ("no idea", None, 4)])
def test_a_judge_that_knows_nothing_scores_one_half_or_nothing(tmp_path, answer, score, unread):
    records = judged(tmp_path, Rule(lambda *_: answer))
    assert {(r.detection, r.fuzzing, r.unread) for r in records} == {(score, score, unread)}


def test_features_of_all_saes_come_in_mixed_order(tmp_path):
    judge = Rule()
    judged(tmp_path, judge)
    order = [re.search(r"[xy]\d", user)[0] for system, user in judge.asked if system == PROMPTS["explain"]]
    assert sorted(order) == [f"x{i}" for i in range(5)] + [f"y{i}" for i in range(4)] != order
    assert sum(a[0] != b[0] for a, b in pairwise(order)) > 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, JudgeFailed])
@pytest.mark.parametrize("breaks", [0, 1, 7, 10, 44])
def test_a_stop_and_another_start_ask_nothing_twice(tmp_path, breaks, error):
    expected, broken, again = judged(tmp_path / "whole", whole := Rule()), Rule(breaks=breaks, error=error), Rule()
    with pytest.raises(error):
        judged(tmp_path / "stopped", broken)
    assert len(broken.asked) == breaks
    assert judged(tmp_path / "stopped", again) == expected
    assert broken.asked + again.asked == whole.asked
    assert judged(tmp_path / "stopped", Rule(breaks=0)) == expected


def test_an_answer_with_half_a_character_is_kept_like_any_other(tmp_path):
    def rule(system, user):
        return "[EXPLANATION]: odd \ud800" if system == PROMPTS["explain"] else ideal(system, user)

    with pytest.raises(KeyboardInterrupt):
        judged(tmp_path / "stopped", Rule(rule, breaks=1))
    assert judged(tmp_path / "stopped", Rule(rule)) == judged(tmp_path / "whole", Rule(rule))


@pytest.mark.parametrize(
    "other",
    [
        *({"sizes": replace(SIZES, **sizes)} for sizes in ({"explain": 5}, {"seed": 1})),
        *[{"about": {"split": "x"}}, {"judge": EndpointJudge("http://a", "m")}, {"prompts": PROMPTS | {"x": "?"}}],
    ],
)
def test_other_questions_are_refused_in_the_same_folder(tmp_path, other):
    judged(tmp_path, Rule())
    with pytest.raises(InvalidFile, match="belongs to another experiment"):
        judged(tmp_path, **{"judge": Rule(breaks=0), **other})


def test_another_sae_under_the_same_name_is_judged_anew(tmp_path):
    judged(tmp_path, Rule(), shown={"sae": SHOWN["another"][:1]})
    retrained = judged(tmp_path, Rule(), shown={"sae": SHOWN["folder/secretive"][:1]})
    assert retrained[0].explanation == "said of x0"


@pytest.mark.parametrize("breaks", [0, 20, 9 * QUESTIONS])
def test_the_cost_is_what_is_then_asked(tmp_path, breaks):
    with pytest.raises(KeyboardInterrupt) if breaks < 9 * QUESTIONS else nullcontext():
        judged(tmp_path, Rule(breaks=breaks))
    judge = Rule()
    with Ledger(judging.ledger_in(tmp_path), judging.identity(judge, PROMPTS, SIZES, {})) as ledger:
        answers = Answers(judge, ledger)
        found = judging.cost(SHOWN, judge, PROMPTS, SIZES, answers)
        assert judge.asked == []
        judging.judge_features(SHOWN, answers, PROMPTS, SIZES, ledger)
        assert (found.questions, found.known) == (len(judge.asked), breaks)
        assert judging.cost(SHOWN, judge, PROMPTS, SIZES, answers).questions == 0
    assert found.answers == sum(120 if system == PROMPTS["explain"] else 40 for system, _ in judge.asked)
    assert found.tokens == pytest.approx(sum(len(user) for _, user in judge.asked), rel=0.5)
    assert ("answered already" in str(found)) == (breaks > 0)


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_server_in_trouble_is_asked_again(status):
    fails = iter([(status, b"busy")] * 2)
    with server(lambda *_: next(fails, (200, b'{"choices": [{"message": {"content": "yes"}}]}'))) as (url, asked):
        assert EndpointJudge(f"{url}/v1/", "m").answer("s", "u", 5) == "yes"
    assert [path for path, _, _ in asked] == ["/v1/chat/completions"] * 3


@pytest.mark.parametrize(
    ("answer", "times", "said"),
    [
        ((401, b"no such key"), 1, "401 Unauthorized: no such key"),
        ((404, b""), 1, "404 Not Found"),
        ((500, b"out of memory"), 4, "500 Internal Server Error: out of memory"),
        (None, 4, "closed connection without response"),
        ((200, b"{", "cut"), 4, "."),
        ((200, b"<html>"), 1, "answered b'<html>', which holds no choice's message"),
        *(((200, x), 1, "no choice's") for x in (b"\xff", b'{"choices": []}', b'{"id": 3}', b"[1]", b"")),
        ((200, b'{"choices": [{"message": {"content": 3}}]}'), 1, "its message holds no text"),
    ],
)
def test_a_server_that_gives_no_answer_is_a_clear_error(answer, times, said):
    with server(lambda *_: answer) as (url, asked):
        with pytest.raises(JudgeFailed, match=said) as raised:
            EndpointJudge(url, "m").answer("s", "u", 5)
        assert str(raised.value).startswith(f"{url}/v1/chat/completions: ")
    assert len(asked) == times


def test_a_server_that_says_nothing_gave_an_answer_that_cannot_be_read():
    with server(lambda *_: (200, b'{"choices": [{"message": {"content": null}}]}')) as (url, _):
        assert EndpointJudge(url, "m").answer("s", "u", 5) == ""


def test_a_server_that_is_slow_or_not_there_is_a_clear_error():
    with server(lambda *_: time.sleep(0.3)) as (url, _), pytest.raises(JudgeFailed, match="timed out"):
        EndpointJudge(url, "m", seconds=0.05).answer("s", "u", 5)
    with pytest.raises(JudgeFailed, match="refused"):
        EndpointJudge(url, "m").answer("s", "u", 5)


def test_a_port_that_is_no_number_is_a_clear_error():
    with pytest.raises((JudgeFailed, InvalidArgument), match="port"):
        EndpointJudge("http://127.0.0.1:port", "m").answer("s", "u", 5)


def test_the_key_is_sent_and_kept_nowhere(tmp_path, monkeypatch):
    with server(chat) as (url, asked):
        judged(tmp_path / "without", EndpointJudge(url, "m"), {"a": SHOWN["another"][:1]})
        monkeypatch.setenv(KEY, "sesame-1234")
        judged(tmp_path / "with", EndpointJudge(url, "m"), {"a": SHOWN["another"][:1]})
    headers = [given.get("Authorization") for _, given, _ in asked]
    assert headers == [None] * QUESTIONS + ["Bearer sesame-1234"] * QUESTIONS
    contents = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert [b"sesame" in content for content in contents] == [False] * max(2, len(contents))


@pytest.fixture
def saes(tmp_path, tiny_store):
    """Two untrained SAEs in folders of one name."""
    folders = [tmp_path / place / "sae" for place in ("one", "two")]
    for seed, folder in enumerate(folders):
        TopKSAE(32, 48, 4, seed=seed).save(folder, {})
    return folders


def judge_command(store, folders, out, url, *more):
    given = ["--out", out, "--judge", url, "--judge-model", "m", *ACCEPTED, "--sample", 3, "--explain", 4, "--test", 4]
    main([str(word) for word in ("sae", "judge", store.folder, *folders, *given, "--at-once", 4, *more)])


def answer_of_a_child(system, user):
    return chat(system, user, lambda *_: "[EXPLANATION]: grey towns" if system == PROMPTS["explain"] else "[1,1,0,1]")


def test_the_command_tells_the_cost_then_judges_and_pages_show_it(tmp_path, tiny_store, saes, capsys):
    store, out = tiny_store[1], tmp_path / "judged"
    with server(answer_of_a_child) as (url, asked):
        judge_command(store, saes[:1], out, url, "--dry-run")
        assert asked == []
        number = int(re.match(r"(\d+) questions: about ", capsys.readouterr().out)[1])
        judge_command(store, saes[:1], out, url)
        assert number == len(asked) == 2 * 3 * QUESTIONS
    assert re.search(r"coordinate null.*0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", capsys.readouterr().out)
    record = next(r for r in read_records(judging.ledger_in(out), JudgedRecord) if r.sae == str(saes[0]))
    given = ("--out", tmp_path / "pages", "--judged", out, *ACCEPTED)
    main([str(word) for word in ("sae", "features", saes[0], store.folder, *given)])
    found = "".join(path.read_text() for path in (tmp_path / "pages").rglob("*.json"))
    assert "grey towns" in found
    assert f'"score":{(record.detection + record.fuzzing) / 2}' in found.replace(" ", "")


def test_pages_show_what_was_said_of_this_sae_and_not_of_one_with_a_like_name(tmp_path, tiny_store, saes):
    with Ledger(judging.ledger_in(tmp_path / "judged"), {"kind": "judged features"}) as ledger:
        for folder, said in zip(saes, ("right", "wrong"), strict=True):
            counts = {"feature": 3, "shown": 64 * "0", "unread": 0, "questions": 1}
            ledger.append(JudgedRecord(sae=str(folder), explanation=said, detection=1.0, fuzzing=None, **counts))
    pages = Features(sae=saes[0], activations=Path("a"), out=Path("o"), judged=tmp_path / "judged")
    assert [(j, v.explanation, v.score) for j, v in pages._verdicts().items()] == [(3, "right", 1.0)]


def test_another_models_tokens_are_refused(tmp_path, tiny_store, saes):
    other = save_tiny_model(tmp_path / "other", "gpt_neox", seed=3)
    with server(answer_of_a_child) as (url, asked), pytest.raises(SystemExit):
        judge_command(tiny_store[1], saes[:1], tmp_path / "judged", url, "--model", other)
    assert asked == []
