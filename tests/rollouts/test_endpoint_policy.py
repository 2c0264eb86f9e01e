"""The endpoint policy against a server that behaves, and one that does not."""

import base64
import gzip
import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest

from medvistagym_core.cli import main
from medvistagym_core.environment import Episode, EpisodeConfig, step_episodes
from medvistagym_core.imaging import Image
from medvistagym_core.plugins import LoadedPlugin, PluginReport, Registry
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.rollouts import (
    ChatCompletionsClient,
    EndpointError,
    EndpointPolicy,
    PolicyUnavailableError,
    RateLimiter,
    rollout,
)
from medvistagym_core.trajectories import TrajectoryReader, TrajectoryWriter

KEY = "sk-planted-4711"
ANSWER = {"role": "assistant", "content": "<think>I see.</think><answer>unclear</answer>"}
CALL = {
    "role": "assistant",
    "content": "I open the window.",
    "tool_calls": [
        {
            "id": "x",
            "type": "function",
            "function": {"name": "window", "arguments": '{"image": 0, "center": 1, "width": 10}'},
        }
    ],
}


class Fake(ThreadingHTTPServer):
    """Answers with the next of `script`, and then with `last`: a message, a status, bytes, or a function of the body."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.last, self.headers, self.usage = [], ANSWER, {}, None
        self.bodies, self.keys, self.times, self.paths, self.proxy_logins = [], [], [], [], []
        self.busy = self.most = 0
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        pass  # a client that did not wait for the slow answer


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        fake = self.server
        with fake.lock:
            fake.busy += 1
            fake.most = max(fake.most, fake.busy)
            fake.times.append(time.monotonic())
            fake.keys.append(self.headers.get("Authorization"))
            fake.paths.append(self.path)
            fake.proxy_logins.append(self.headers.get("Proxy-Authorization"))
            said = fake.script.pop(0) if fake.script else fake.last
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fake.bodies.append(body)
        said = said(body) if callable(said) else said
        with fake.lock:
            fake.busy -= 1
        status, raw = 200, said
        if isinstance(said, int):
            status, raw = (
                said,
                json.dumps({"error": {"message": f"refused {self.headers.get('Authorization')}"}}).encode(),
            )
        elif isinstance(said, tuple):
            status, raw = said[0], json.dumps(said[1]).encode()
        elif isinstance(said, dict):
            choices = [{"index": 0, "message": said, "finish_reason": "stop"}]
            raw = json.dumps({"choices": choices, "usage": fake.usage}).encode()
        self.send_response(status)
        for name, value in fake.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args):
        pass


@pytest.fixture
def fake():
    server = Fake()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def endpoint(fake, **changes):
    return ChatCompletionsClient(fake.url, **{"backoff_s": 0.001, "timeout_s": 5, **changes})


def play(fake, task, toolbox, cases=range(1), settings=None, style="tools", **changes):
    settings = settings or EpisodeConfig(style=style, view_side=16)
    policy = EndpointPolicy(endpoint(fake, **changes), "tiny", toolbox, settings.protocol, style=style, seed=3)
    return list(rollout(policy, task, toolbox, "test", cases, settings))


def test_a_conversation_with_tools_and_images(fake, task, toolbox):
    fake.script = [CALL]
    (t,) = play(fake, task, toolbox)
    assert t.outcome.ended == "answered"
    assert t.turns[0].think == "I open the window."
    assert t.turns[0].conforms
    assert t.turns[0].calls[0].handles == (1,)
    assert t.policy.sampling["endpoint"] == fake.url
    first, second = fake.bodies
    assert fake.paths == ["/v1/chat/completions"] * 2
    assert first["model"] == "tiny"
    assert first["tools"] == toolbox.schemas("openai")
    shown = first["messages"][-1]["content"]
    url = next(part for part in shown if part["type"] == "image_url")["image_url"]["url"]
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    assert picture.size == (16, 16)
    assistant, result, images = second["messages"][-3:]
    assert assistant["tool_calls"][0]["function"] == {
        "name": "window",
        "arguments": '{"image": 0, "center": 1, "width": 10}',
    }
    assert result == {"role": "tool", "tool_call_id": assistant["tool_calls"][0]["id"], "content": "image 1:"}
    assert [images["role"], *(part["type"] for part in images["content"])] == ["user", "text", "image_url"]
    assert first["seed"] != second["seed"]


def test_a_picture_is_sent_as_its_file_has_it_and_without_what_else_stands_there(fake, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)
    info = PIL.PngImagePlugin.PngInfo()
    info.add(b"tIME", b"\x07\xb2\x01\x01\0\0\0")
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=info)
    stored = (tmp_path / "a.png").read_bytes()
    (tmp_path / "q.jsonl").write_text('{"question": "What is it?", "answer": "noise", "image": "a.png"}\n')
    run = tmp_path / "run"
    command = ["eval", "--task-file", str(tmp_path / "q.jsonl"), "--endpoint", fake.url, "--endpoint-model", "m"]
    assert main([*command, "--tools", "none", "--run", str(run)]) == 0
    part = next(part for part in fake.bodies[0]["messages"][-1]["content"] if part["type"] == "image_url")
    sent = base64.b64decode(part["image_url"]["url"].removeprefix("data:image/png;base64,"))
    assert sent == stored.replace(stored[stored.index(b"tIME") - 4 :][:19], b"")
    (kept,) = (run / "trajectories" / "images").iterdir()
    assert kept.read_bytes() == sent
    (trajectory,) = TrajectoryReader(next((run / "trajectories").glob("*.jsonl")))
    assert trajectory.images[0].picture == Image(pixels=pixels).rendered().sha256


def test_several_calls_in_a_turn_keep_their_order(fake, task, toolbox):
    crop = {"function": {"name": "crop", "arguments": {"image": 0, "box": [0, 0, 500, 500]}}}
    fake.script = [{"content": None, "tool_calls": [*CALL["tool_calls"], crop]}]
    (t,) = play(fake, task, toolbox, settings=EpisodeConfig(protocol=TextProtocol(max_calls_per_turn=2)))
    assert [call.name for call in t.turns[0].calls] == ["window", "crop"]
    *_, assistant, one, two, images = fake.bodies[1]["messages"]
    assert [call["id"] for call in assistant["tool_calls"]] == [one["tool_call_id"], two["tool_call_id"]]
    assert len([part for part in images["content"] if part["type"] == "image_url"]) == 2
    assert "parallel_tool_calls" not in fake.bodies[0]


def test_a_server_that_knows_no_tools(fake, task, toolbox):
    fake.script = [{"content": '<tool_call>{"name": "window", "arguments": {"image": 0, "center": 1, "width": 10}}'}]
    (t,) = play(fake, task, toolbox, style="text")
    assert t.turns[0].calls[0].handles == (1,)
    assert fake.bodies[0]["stop"] == ["</tool_call>"]
    assert "tools" not in fake.bodies[0]
    assert {m["role"] for m in fake.bodies[1]["messages"]} <= {"system", "user", "assistant"}


def hang_up(body):
    raise ConnectionAbortedError


@pytest.mark.parametrize(
    "trouble",
    [
        hang_up,
        429,
        500,
        503,
        b"<html>",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": "hm"}]}',
        b"",
        b'{"choices": [{"message": {"role": "assistant", "content": 7}}]}',
        b"[" * 99999,
        b'{"choices": [{"message": {"role": "assistant", "content": null}}]}',
        b'{"choices": [{"message": {"role": "assistant", "content": null, "tool_calls": 7}}]}',
        b'{"choices": [{"message": {"role": "assistant", "content": [7]}}]}',
        b'{"choices": [{"message": {"role": "assistant", "content": "<answer>\\ud800</answer>"}}]}',
        b'{"choices": [{"message": {"content": ""}, "finish_reason": "error"}]}',
        b'{"choices": [{"message": {"content": "<answer>b"}, "finish_reason": "abort"}]}',
        b'{"choices": [{"message": {"content": "<answer>b"}, "finish_reason": "insufficient_system_resource"}]}',
        b'{"choices": [{"message": {"content": ""}, "error": {"code": 502, "message": "no provider"}}]}',
        b'{"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}',
        b'{"error": {"code": 429, "message": "too many"}}',
        b'data: {"choices": [{"delta": {"content": "a"}}]}',
        b'{"choices": {"0": {"message": {"content": "a"}}}}',
        b'{"choices": [{"text": "<answer>b</answer>"}]}',
        b'{"choices": [{"delta": {"content": "<answer>b</answer>"}}]}',
        b'{"choices": [null]}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": {"answer": "bright"}}}]}',
        b'{"choices": [{"message": {"content": true}}]}',
        b'{"choices": [{"message": {"content": null, "tool_calls": {"name": "window"}}}]}',
        b"null",
        b"\xff\xfe{}",
    ],
)
def test_what_may_pass_is_tried_again(fake, task, toolbox, trouble):
    fake.script = [trouble, trouble]
    (t,) = play(fake, task, toolbox)
    assert t.outcome.abstained
    assert len(fake.bodies) == 3


@pytest.mark.parametrize(
    "message", [{"content": None, "reasoning_content": "I look"}, {"content": ""}, {"content": None, "refusal": "no"}]
)
def test_a_turn_without_an_answer_is_the_models_own(fake, task, toolbox, message):
    fake.script = [message]
    (t,) = play(fake, task, toolbox)
    assert t.outcome.ended == "answered"
    assert t.turns[0].error is not None
    assert len(fake.bodies) == 2


def test_a_model_that_was_cut_off_before_it_wrote_anything_has_taken_a_turn(fake, task, toolbox):
    choice = {"message": {"role": "assistant", "content": None}, "finish_reason": "length"}
    fake.script = [json.dumps({"choices": [choice]}).encode()]
    (t,) = play(fake, task, toolbox)
    assert t.outcome.ended == "answered"
    assert t.turns[0].error is not None


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (b'{"choices": [{"message": {"content": null}}]}', "its content is null, and it calls nothing"),
        (b'{"choices": [{"message": {"content": "\\udc00"}}]}', "half of a character"),
        (b'{"choices": [{"message": {"content": ""}, "finish_reason": "error"}]}', "it broke off its answer (error)"),
        (
            b'{"choices": [{"message": {"content": ""}, "error": {"message": "no provider"}}]}',
            "it broke off its answer (no provider)",
        ),
        (
            b'{"choices": [{"message": {"content": null}, "finish_reason": "content_filter"}]}',
            "its content filter held the answer back",
        ),
    ],
)
def test_an_endpoint_that_returns_nonsense_is_an_error_and_no_wrong_answer(fake, task, toolbox, trouble, words):
    fake.last = trouble
    (t,) = play(fake, task, toolbox, retries=1)
    assert t.outcome.ended == "policy_failed"
    assert words in t.outcome.reason
    assert not t.turns


@pytest.mark.parametrize("trouble", [500, b"{}"])
def test_after_so_many_tries_it_is_given_up(fake, task, toolbox, trouble):
    fake.last = trouble
    (t,) = play(fake, task, toolbox, retries=2)
    assert t.outcome.ended == "policy_failed"
    assert "given up after 3 tries" in t.outcome.reason
    assert len(fake.bodies) == 3


def test_one_refused_request_costs_the_others_nothing(fake, task, toolbox):
    fake.script = [400]
    played = play(fake, task, toolbox, range(6), concurrency=1)
    assert sorted(t.outcome.ended for t in played) == ["answered"] * 5 + ["policy_failed"]
    assert len(fake.bodies) == 6


def test_a_slow_answer_is_not_waited_for(fake, task, toolbox):
    over = threading.Event()

    def slow(body):
        over.wait(60)
        return ANSWER

    fake.script = [slow]
    try:
        (t,) = play(fake, task, toolbox, timeout_s=1)
        assert t.outcome.ended == "answered"
        assert len(fake.bodies) == 2
        fake.last = slow
        with pytest.raises(EndpointError, match=r"no answer within 0.1 s \(given up after one try\)"):
            endpoint(fake, timeout_s=0.1, retries=0).complete({})
    finally:
        over.set()


def test_retry_after_is_heeded_by_everybody(fake):
    fake.headers, fake.script = {"Retry-After": "0.4"}, [429]
    server = endpoint(fake, concurrency=4)
    threads = [threading.Thread(target=server.complete, args=({},)) for _ in range(2)]
    threads[0].start()
    time.sleep(0.15)
    threads[1].start()
    for thread in threads:
        thread.join()
    first, *others = fake.times
    assert len(others) == 2
    assert all(at - first > 0.38 for at in others)


@pytest.mark.parametrize("value", ["soon", "-3", "Wed, 21 Oct 2015 07:28:00 GMT", "nan", ""])
def test_a_retry_after_that_says_nothing_of_use_is_no_obstacle(fake, value):
    fake.headers, fake.script = {"Retry-After": value}, [429, 503]
    assert endpoint(fake).complete({})["content"] == ANSWER["content"]
    assert fake.times[-1] - fake.times[0] < 20


def test_concurrency_and_rate_are_limited(fake, task, toolbox):
    def slow(body):
        time.sleep(0.05)
        return ANSWER

    fake.last = slow
    play(fake, task, toolbox, range(9), concurrency=3)
    assert fake.most == 3
    fake.times.clear()
    play(fake, task, toolbox, range(5), per_minute=1200)
    assert fake.times[-1] - fake.times[0] > 4 * 0.05 - 0.02


@pytest.mark.parametrize("status", [401, 404])
def test_a_server_that_refuses_everything_stops_the_run(fake, task, toolbox, tmp_path, status):
    fake.script, fake.last = [ANSWER, ANSWER], status
    policy = EndpointPolicy(endpoint(fake), "tiny", toolbox)
    with TrajectoryWriter(tmp_path / "t.jsonl", toolbox) as writer:
        with pytest.raises(PolicyUnavailableError, match=str(status)):
            list(rollout(policy, task, toolbox, "test", range(8), batch=2, writer=writer))
        assert len(writer.recorded_ids) == 2
        fake.last = ANSWER
        assert len(list(rollout(policy, task, toolbox, "test", range(8), batch=2, writer=writer))) == 6


def test_no_server(task, toolbox):
    policy = EndpointPolicy(ChatCompletionsClient("http://127.0.0.1:9/v1", retries=1, backoff_s=0.001), "tiny", toolbox)
    with pytest.raises(PolicyUnavailableError, match="cannot be reached"):
        list(rollout(policy, task, toolbox, "test", range(2)))


def test_the_key_goes_nowhere_else(fake, task, toolbox, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MEDVISTAGYM_API_KEY", KEY)
    fake.script = [400, 500]
    policy = EndpointPolicy(endpoint(fake, concurrency=1), "tiny", toolbox)
    with TrajectoryWriter(tmp_path / "t.jsonl", toolbox) as writer:
        played = list(rollout(policy, task, toolbox, "test", range(3), writer=writer))
    assert set(fake.keys) == {f"Bearer {KEY}"}
    assert any("refused Bearer ***" in (t.outcome.reason or "") for t in played)
    said = repr((policy, policy.sampling, policy._endpoint)) + "".join(capfd.readouterr())
    fake.last = 401
    with pytest.raises(PolicyUnavailableError, match="MEDVISTAGYM_API_KEY, which is set") as failed:
        policy.act([Episode.from_task(task, "test", 0, toolbox).observation()])
    said += repr(failed.value)
    assert KEY not in said
    assert KEY not in json.dumps(fake.bodies)
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_redirect_is_not_followed(fake, monkeypatch):
    monkeypatch.setenv("MEDVISTAGYM_API_KEY", KEY)
    fake.script, fake.headers = [307], {"Location": fake.url + "/elsewhere"}
    with pytest.raises(EndpointError, match=r"answered 307.* sends elsewhere: http.*/elsewhere; give the address"):
        endpoint(fake).complete({})
    assert fake.paths == ["/v1/chat/completions"]


def test_a_compressed_answer_is_read(fake):
    fake.headers = {"Content-Encoding": "gzip"}
    fake.last = gzip.compress(json.dumps({"choices": [{"message": ANSWER}]}).encode())
    assert endpoint(fake).complete({})["content"] == ANSWER["content"]


def test_a_compressed_answer_is_no_larger_than_others_when_it_is_inflated(fake):
    fake.headers = {"Content-Encoding": "gzip"}
    fake.last = gzip.compress(b" " * 2**28)
    with pytest.raises(EndpointError, match="more than 16 MiB"):
        endpoint(fake, retries=0).complete({})


def test_what_is_no_completion_is_quoted_and_the_key_is_not(fake, monkeypatch):
    monkeypatch.setenv("MEDVISTAGYM_API_KEY", KEY)
    fake.last = f"<html>Log in with {KEY}\x1b[2J</html>".encode()
    with pytest.raises(EndpointError, match=r"no chat completion: .<html>Log in with ") as raised:
        endpoint(fake, retries=0).complete({})
    assert KEY not in str(raised.value)
    assert "\x1b" not in str(raised.value)


def test_what_a_server_says_of_a_request_that_it_refuses_is_told(fake):
    def refuse(body):
        return 422, {"detail": [{"loc": ["body", "tools"], "msg": "extra fields not permitted"}]}

    fake.script = [refuse]
    with pytest.raises(EndpointError, match=r"answered 422: .*extra fields not permitted"):
        endpoint(fake).complete({})


def test_a_proxy_is_asked_with_its_password(fake, monkeypatch):
    monkeypatch.setenv("http_proxy", fake.url.removesuffix("/v1").replace("//", "//me:p%40ss@"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert ChatCompletionsClient("http://model.invalid/v1").complete({})["content"] == ANSWER["content"]
    assert fake.paths == ["http://model.invalid/v1/chat/completions"]
    assert base64.b64decode(fake.proxy_logins[0].removeprefix("Basic ")) == b"me:p@ss"


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://[::1"])
def test_a_proxy_that_is_none_is_said(monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(ValueError, match="HTTP_PROXY"):
        ChatCompletionsClient("http://model.invalid/v1")


def test_a_key_that_no_header_holds_is_refused(monkeypatch):
    monkeypatch.setenv("MEDVISTAGYM_API_KEY", "sk-\u2713")
    with pytest.raises(ValueError, match="MEDVISTAGYM_API_KEY"):
        ChatCompletionsClient("http://model.invalid/v1")


ARGUMENTS = '{"image": 0, "center": 1, "width": 10}'


@pytest.mark.parametrize(
    ("message", "repairs"),
    [
        pytest.param({"function_call": {"name": "window", "arguments": ARGUMENTS}}, (), id="before there were tools"),
        pytest.param(
            {"tool_calls": [{"function": {"name": "window", "arguments": f"```json\n{ARGUMENTS}\n```"}}]},
            ("code_fence", "arguments_text"),
            id="arguments in a fence",
        ),
        pytest.param(
            {"content": ["I look."], "tool_calls": [{"id": 7, "function": {"name": "window", "arguments": ARGUMENTS}}]},
            (),
            id="texts in a list",
        ),
        *(
            pytest.param(message, (), id=name)
            for name, message in {
                "Anthropic": {
                    "content": [
                        {"type": "text", "text": "I look."},
                        {"type": "tool_use", "id": "toolu_1", "name": "window", "input": json.loads(ARGUMENTS)},
                    ]
                },
                "Ollama": {
                    "content": "",
                    "tool_calls": [{"function": {"index": 0, "name": "window", "arguments": json.loads(ARGUMENTS)}}],
                },
                "Gemini": {
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "",
                            "type": "function",
                            "extra_content": {"google": {"thought_signature": "x"}},
                            "function": {"name": "window", "arguments": ARGUMENTS},
                        }
                    ],
                },
                "without an id or a type": {"tool_calls": [{"function": {"name": "window", "arguments": ARGUMENTS}}]},
                "without a wrapper": {"tool_calls": [{"name": "window", "arguments": ARGUMENTS}]},
                "an empty list beside the older field": {
                    "tool_calls": [],
                    "function_call": {"name": "window", "arguments": ARGUMENTS},
                },
                "blanks around the arguments": {
                    "tool_calls": [{"function": {"name": "window", "arguments": f"\n{ARGUMENTS}\n"}}]
                },
                "reasoning as a part": {
                    "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}],
                    "tool_calls": [{"function": {"name": "window", "arguments": ARGUMENTS}}],
                },
            }.items()
        ),
    ],
)
def test_a_call_is_read_as_servers_write_it(fake, task, toolbox, message, repairs):
    fake.script = [{"role": "assistant", **message}]
    (t,) = play(fake, task, toolbox)
    (call,) = t.turns[0].calls
    assert call.error is None
    assert (call.name, call.arguments) == ("window", json.loads(ARGUMENTS))
    assert set(call.repairs) <= set(repairs)


ANSWERED = "<answer>bright</answer>"


@pytest.mark.parametrize(
    ("message", "reasoning"),
    [
        ({"content": ANSWERED, "reasoning_content": "Hm."}, "Hm."),
        ({"content": ANSWERED, "reasoning": "Hm."}, "Hm."),
        ({"content": f"<think>Hm.</think>{ANSWERED}", "reasoning_content": "Hm."}, "Hm."),
        ({"content": f"<think>\nHm.\n</think>\n\n{ANSWERED}", "reasoning": "Hm.\n"}, "Hm."),
        ({"content": f"Hm.</think>{ANSWERED}"}, "Hm."),
        ({"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": ANSWERED}]}, "Hm."),
        ({"content": [{"type": "reasoning", "text": "Hm."}, {"type": "output_text", "text": ANSWERED}]}, "Hm."),
        ({"content": ["<answer>bright", "</answer>"]}, None),
        ({"content": [{"type": "text", "text": None}, {"type": "text", "text": ANSWERED}]}, None),
        ({"content": ANSWERED, "reasoning": None, "reasoning_details": [{"text": "Hm."}]}, None),
        ({"content": ANSWERED, "reasoning": {"summary": "Hm."}}, None),
        ({"content": ANSWERED, "tool_calls": []}, None),
        ({"content": ANSWERED, "role": "model", "annotations": [], "audio": None}, None),
    ],
)
def test_an_answer_is_read_as_servers_write_it(fake, task, toolbox, message, reasoning):
    fake.script = [{"role": "assistant", **message}]
    (t,) = play(fake, task, toolbox)
    (turn,) = t.turns
    assert (turn.error, t.outcome.answer) == (None, "bright")
    assert TextProtocol().parse(turn.text).reasoning == reasoning
    assert ("Hm." in turn.text) is (reasoning is not None)


def test_a_refusal_is_on_record(fake, task, toolbox):
    fake.script = [{"role": "assistant", "content": None, "refusal": "I do not read films."}]
    (t,) = play(fake, task, toolbox)
    assert t.turns[0].error.code == "malformed_call"
    assert t.turns[0].text == "I do not read films."


def test_misuse_is_refused(fake, toolbox):
    for url in ("127.0.0.1:8000", "file:///etc", "http://user:pass@host/v1", "http://host/v1?key=1", ""):
        with pytest.raises(ValueError, match="endpoint"):
            ChatCompletionsClient(url)
    for bad in ({"concurrency": 0}, {"per_minute": 0}, {"tokens_per_minute": 0}, {"retries": -1}, {"timeout_s": 0}):
        with pytest.raises(ValueError, match=r"at least|above"):
            ChatCompletionsClient(fake.url, **bad)
    for bad in ({"temperature": -1}, {"top_p": 0}, {"max_tokens": 0}):
        with pytest.raises(ValueError, match="temperature"):
            EndpointPolicy(endpoint(fake), "tiny", toolbox, **bad)
    assert EndpointPolicy(endpoint(fake), "tiny", toolbox).act([]) == []


def test_tokens_a_minute_are_limited_over_time(fake, task, toolbox):
    fake.usage = {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100}
    began = time.monotonic()
    play(fake, task, toolbox, range(5), concurrency=1, tokens_per_minute=60_000)  # a request earns its place in 0.1 s
    assert time.monotonic() - began > 4 * 0.1 - 0.02  # however slow the machine is
    fake.times.clear()
    fake.usage = {"total_tokens": "many"}  # a server that does not count is not held back
    play(fake, task, toolbox, range(5), concurrency=1, tokens_per_minute=60)
    assert len(fake.times) == 5


@pytest.fixture
def stopped_clock(monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)


def test_tokens_of_requests_under_way_together_are_earned_before_the_next(stopped_clock):
    pace = RateLimiter(8, tokens_per_minute=600)
    assert pace.reserve() == 0
    for _ in range(3):
        pace.charge_tokens(10, 1000)
    assert pace.reserve() == pytest.approx(3)
    pace.charge_tokens(10, 900)  # time that has passed since counts
    assert pace.reserve() == pytest.approx(4)


def test_a_pace_is_even(stopped_clock):
    pace = RateLimiter(1, 600)
    assert [pace.reserve() for _ in range(3)] == pytest.approx([0, 0.1, 0.2])
    pace.pause_for(5)
    assert pace.reserve() == pytest.approx(5)


def test_sample_from_the_command_line(fake, task, toolbox, tmp_path, monkeypatch, capsys):
    report = PluginReport(name="toy", distribution="toy", version="0", state="loaded")
    registry = Registry(
        [LoadedPlugin(report, {"tools": [t.with_metadata(plugin="toy") for t in toolbox.values()], "tasks": [task]})]
    )
    monkeypatch.setattr(Registry, "discover", classmethod(lambda cls, *a, **k: registry))
    command = [
        "sample", "--task", "quadrants", "--split", "test", "--cases", "4", "--endpoint", fake.url, "--concurrency", "2",
        "--reward", "paper,calls=0.1", "--out", str(tmp_path),
    ]  # fmt: skip
    assert main(command) == 2
    assert "--endpoint-model" in capsys.readouterr().err
    command += ["--endpoint-model", "tiny"]
    fake.last = lambda body: ANSWER if any(m["role"] == "tool" for m in body["messages"]) else CALL
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["played"] == 4
    for t in TrajectoryReader(tmp_path / "trajectories.jsonl"):
        assert (t.policy.name, t.weights["calls"], t.terms["calls"]) == ("tiny", 0.1, -1.0)
    fake.last = 401
    assert main([*command[:-5], *command[-5:], "--cases", "6"]) == 1
    assert "the same command goes on with it" in capsys.readouterr().err


def test_it_steps_like_any_policy(fake, task, toolbox, executor):
    episode = Episode.from_task(task, "test", 0, toolbox)
    step_episodes(executor, [episode], EndpointPolicy(endpoint(fake), "tiny", toolbox).act([episode.observation()]))
    assert episode.termination == "answered"
