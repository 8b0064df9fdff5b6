"""Captions from a server that behaves badly in every way that servers do."""

from __future__ import annotations

import json
import logging
import time
from email.utils import formatdate

import pytest

pytest.importorskip("openai", reason="needs the [captions] extra")

import models.captions.openai_client as client_module
from models.captions.captioner import AnswerCache, CaptionInput, caption_clips
from models.captions.chat import LabeledImage
from models.captions.draft import MeasuredClip
from models.captions.endpoints import check_endpoints, connect_captioners
from models.captions.rate_limiter import Limits, RateLimiter
from models.captions.settings import CaptionSettings
from models.registry import WeightsError
from tests.support.chat_server import SCENE, Reply, chat_server, completion, failure, good

KEY = "sk-secret-4711"
CLIP = CaptionInput(
    measured=MeasuredClip(width=64, height=48, duration_s=2.0, luminance=100.0, darkest=90.0, brightest=110.0),
    images=(
        LabeledImage(jpeg=b"\xff\xd8one", label="Picture 1, at 0.00 s:"),
        LabeledImage(jpeg=b"\xff\xd8two", label="P2"),
    ),
    times_s=(0.0, 1.0),
)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(client_module, "BACKOFF_BASE_S", 0.01)
    monkeypatch.setenv("TEST_KEY", KEY)


@pytest.fixture
def server():
    with chat_server() as running:
        yield running


def settings(server, calls=(), text=None, **vision):
    return CaptionSettings(
        model="server",
        vision={"base_url": server.url, "name": "tiny", "api_key_env": "TEST_KEY", "timeout_s": 5.0} | vision,
        text=text or {},
        calls=dict(calls),
    )


def write(server, clips=1, folder=None, caches=None, **changes):
    captioners = connect_captioners(settings(server, **changes), folder)
    return caption_clips([CLIP] * clips, captioners, caches)


def test_three_requests_make_a_caption(server):
    (written,) = write(server, usd_per_million_input=1.0, usd_per_million_output=10.0)
    assert written.error is None
    assert written.draft.camera_motion.startswith("The camera glides forward along")
    assert written.draft.seen_motion == SCENE["camera_motion"]
    assert written.draft.normalized_tags()["weather"] == "Snowy"
    assert written.draft.odd_tags() == ("weather=Frosty",)
    assert (written.usage.requests, written.usage.input_tokens, written.usage.output_tokens) == (3, 3000, 300)
    assert written.usage.cost_usd == pytest.approx(3 * (1000 * 1 + 100 * 10) / 1e6)
    looked, refined, tagged = (seen.body for seen in server.seen)
    kinds = [part["type"] for part in looked["messages"][1]["content"]]
    assert kinds == ["text", "image_url", "text", "image_url", "text"]
    assert looked["messages"][1]["content"][0]["text"] == "Picture 1, at 0.00 s:"
    assert SCENE["scene_description"] in refined["messages"][1]["content"]
    assert "No path of the camera" in refined["messages"][1]["content"]
    assert "100 of 255" in tagged["messages"][1]["content"]
    tags = tagged["response_format"]["json_schema"]
    assert tags["strict"]
    assert tags["schema"]["properties"]["weather"]["enum"][0] == "Sunny"
    assert tags["schema"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("path", "changes", "expected"),
    [
        ("/v1beta/openai/", {"structured": "json_schema"}, {"temperature": 0.1, "max_tokens": 1024}),
        (
            "/compatible-mode/v1",
            {"structured": "json_object", "extra_body": {"enable_thinking": False}},
            {"enable_thinking": False, "response_format": {"type": "json_object"}},
        ),
        ("/v1", {"structured": "none", "max_tokens_field": "max_completion_tokens"}, {"max_completion_tokens": 1024}),
    ],
)
def test_bodies_and_paths_fit_the_providers(server, path, changes, expected):
    server.url = server.url.removesuffix("/v1") + path
    (written,) = write(server, **changes)
    assert written.error is None
    assert {seen.path for seen in server.seen} == {f"{path.rstrip('/')}/chat/completions"}
    body = server.seen[0].body
    assert {name: body.get(name) for name in expected} == expected
    rest = {"model", "messages", "temperature", "max_tokens", "max_completion_tokens", "response_format"}
    assert set(body) <= {*rest, *expected}
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"


PASSING = {
    "429": failure(429, "slow down"),
    "500": failure(500, "oops"),
    "503 in HTML": Reply(b"<html>busy</html>", 503, {"content-type": "text/html"}),
    "HTML with 200": Reply(b"<html>login</html>", 200, {"content-type": "text/html"}),
    "no choices": Reply(b'{"choices": []}'),
    "null choices": Reply(b'{"choices": null}'),
    "broken JSON body": Reply(b'{"choices": [{"mess'),
    "a list": Reply(b"[]"),
    "connection closed": Reply(b"", drop=True),
    "body cut off": Reply(b'{"choices"', headers={"content-length": "5000"}),
    "empty answer": completion(""),
    "null answer": completion(None),
    "prose": completion("Here is a caption: the camera moves."),
    "truncated answer": completion('{"camera_motion": "The', finish="length"),
    "missing key": completion('{"camera_motion": "Ahead."}'),
    "empty text": completion(json.dumps(SCENE | {"camera_motion": "  "})),
    "wrong type": completion(json.dumps(SCENE | {"camera_motion": 3})),
    "endless text": completion(json.dumps(SCENE | {"camera_motion": "x" * 5000})),
    "deep nesting": completion("{" + '"a":{' * 20_000),
}


@pytest.mark.parametrize("reply", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_asked_again(server, reply):
    server.script = [reply]
    (written,) = write(server)
    assert written.error is None
    assert written.draft is not None
    assert len(server.seen) == 4
    assert written.usage.requests == 4


ODD_BUT_GOOD = {
    "fence": f"```json\n{json.dumps(SCENE)}\n```",
    "remark before and behind": f"Sure!\r\n{json.dumps(SCENE)}\nAnything else?",
    "thoughts": f"<think>maybe {{not}} this</think>{json.dumps(SCENE)}",
    "byte order mark": "\ufeff" + json.dumps(SCENE),
    "line breaks in strings": '{"camera_motion": "**Ahead**,\n\nthen left.", "scene_description": "Ａ pier、calm\r\n"}',
    "further keys": json.dumps(SCENE | {"note": "Camera Motion Caption: none"}),
}


@pytest.mark.parametrize("text", ODD_BUT_GOOD.values(), ids=ODD_BUT_GOOD)
def test_what_stands_around_the_object_does_no_harm(server, text):
    server.script = [completion(text)]
    (written,) = write(server)
    assert written.error is None
    assert len(server.seen) == 3


def test_a_model_is_told_what_was_wrong(server):
    server.script = [completion('{"camera_motion": "Ahead."}')]
    write(server)
    roles = [m["role"] for m in server.seen[1].body["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert "scene_description: Field required" in server.seen[1].body["messages"][3]["content"]


def test_a_cut_answer_gets_more_room_but_not_without_end(server):
    server.default = lambda body: completion('{"camera', finish="length")
    (written,) = write(server, max_output_tokens=100)
    assert [seen.body["max_tokens"] for seen in server.seen] == [100, 200, 400]
    assert written.error.error_class == "TruncatedAnswer"
    assert written.usage.output_tokens == 300


def test_what_stays_bad_is_given_up_with_its_cause(server):
    server.default = lambda body: completion("no")
    (written,) = write(server)
    assert written.error.error_class == "InvalidAnswer"
    assert len(server.seen) == 3
    server.default = lambda body: completion("")
    (written,) = write(server)
    assert written.error.error_class == "EmptyAnswer"
    server.default = lambda body: failure(500, "still broken")
    (written,) = write(server, calls={"max_attempts": 2})
    assert str(written.error) == "Http500: still broken"
    assert not written.error.is_final


@pytest.mark.parametrize(
    "reply",
    [
        completion(None, finish="content_filter"),
        completion(None, refusal="I cannot help with that."),
        failure(400, "Output data may contain inappropriate content.", "data_inspection_failed"),
    ],
)
def test_a_safety_block_is_final_and_costs_one_request(server, reply):
    server.script = [reply]
    (written,) = write(server)
    assert written.error.error_class == "Blocked"
    assert written.error.is_final
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (failure(401, f"Incorrect API key provided: {KEY}"), "TEST_KEY"),
        (failure(404, "The model `tiny` does not exist"), "Check base_url and name"),
        (failure(429, "You exceeded your quota", "insufficient_quota"), "gives no more"),
        (failure(400, "response_format is not supported"), "Set structured"),
        (failure(429, "come back tomorrow", retry_after="86400"), "86400 s"),
    ],
)
def test_what_every_request_would_meet_stops_the_asking(server, reply, words, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    server.script = [reply]
    first, second = write(server, clips=2, folder=str(tmp_path))
    assert first.error.error_class == second.error.error_class == "ServerStopped"
    assert words in str(first.error)
    assert len(server.seen) == 1
    assert KEY not in f"{first.error} {second.error} {caplog.text}"
    assert all(KEY not in path.read_text() for path in tmp_path.iterdir())


@pytest.mark.parametrize("after", [lambda: "0.3", lambda: formatdate(time.time() + 2, usegmt=True)])
def test_retry_after_holds_up_every_request(server, after):
    server.script = [failure(429, "slow down", retry_after=after())]
    write(server)
    assert server.seen[1].at - server.seen[0].at >= 0.28


def test_one_that_sends_byte_by_byte_is_timed_out(server):
    server.script = [Reply(b" " * 10_000, drip_s=0.02)]
    (written,) = write(server, timeout_s=0.3, calls={"max_attempts": 1})
    assert written.error.error_class == "TimedOut"


def test_one_that_sends_nothing_is_timed_out(server):
    server.script = [Reply(b"{}", delay_s=1.0)]
    (written,) = write(server, timeout_s=0.2, calls={"max_attempts": 1})
    assert written.error.error_class == "TimedOut"


def test_one_that_sends_too_much_is_cut_off(server):
    server.script = [Reply(b" " * (5 << 20))]
    (written,) = write(server, calls={"max_attempts": 1})
    assert written.error.error_class == "BadReply"


def test_nobody_there():
    with chat_server() as gone:
        pass
    (written,) = write(gone, calls={"max_attempts": 2})
    assert written.error.error_class == "NoConnection"


def test_failures_in_a_row_stop_the_asking(server):
    server.default = lambda body: failure(500, "broken")
    results = write(server, clips=4, calls={"max_attempts": 2, "stop_after_failures": 3})
    assert len(server.seen) == 3
    assert [r.error.error_class for r in results] == ["Http500", "ServerStopped", "ServerStopped", "ServerStopped"]


def test_one_bad_clip_leaves_the_others_alone(server):
    server.script = [completion(None, finish="content_filter")]
    bad, fine = write(server, clips=2)
    assert bad.draft is None
    assert fine.draft is not None


def test_text_steps_may_go_to_another_server(server):
    with chat_server() as other:
        (written,) = write(server, text={"base_url": other.url, "name": "words"})
    assert written.error is None
    assert [seen.body["model"] for seen in server.seen] == ["tiny"]
    assert [seen.body["model"] for seen in other.seen] == ["words", "words"]
    assert "authorization" not in other.seen[0].headers or KEY not in other.seen[0].headers["authorization"]


@pytest.mark.parametrize(
    ("limit", "asked"), [({"max_requests": 4}, 4), ({"max_tokens": 9_000}, None), ({"max_usd": 0.009}, None)]
)
def test_a_budget_is_never_exceeded_and_stops_cleanly(server, limit, asked, tmp_path):
    prices = {"usd_per_million_input": 1.0, "usd_per_million_output": 1.0}
    results = write(server, clips=5, folder=str(tmp_path), calls=limit, **prices)
    failed = [r for r in results if r.error]
    assert failed
    assert {r.error.error_class for r in failed} == {"BudgetSpent"}
    assert sum(r.usage.cost_usd for r in results) <= limit.get("max_usd", 1)
    assert sum(r.usage.input_tokens + r.usage.output_tokens for r in results) <= limit.get("max_tokens", 1e9)
    assert asked is None or len(server.seen) == asked


def test_a_step_with_an_answer_is_not_asked_again(server):
    class MemoryCache(AnswerCache):
        def __init__(self):
            self.known = {}

        def get(self, step):
            return self.known.get(step)

        def put(self, step, answer):
            self.known[step] = answer

    cache = MemoryCache()
    server.script = [good, failure(400, "what?")]
    (written,) = write(server, caches=[cache])
    assert written.error.error_class == "Http400"
    (written,) = write(server, caches=[cache])
    assert written.error is None
    # The tags were known, too: only the step that failed was asked again.
    assert len(server.seen) == 4


def test_missing_counts_are_not_made_up(server):
    server.default = lambda body: completion(
        json.loads(good(body).body)["choices"][0]["message"]["content"], usage=None
    )
    (written,) = write(server)
    assert (written.usage.requests, written.usage.input_tokens, written.usage.cost_usd) == (3, None, None)


def test_rates_hold_between_ledgers_of_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr("models.captions.rate_limiter.BURST_S", 0.0)
    path = str(tmp_path / "account")
    limiters = [RateLimiter(Limits(requests_per_minute=600), path) for _ in range(2)]
    started = time.monotonic()
    for turn in range(6):
        limiters[turn % 2].commit(limiters[turn % 2].reserve(10, 0), 10, 0, failed=False)
    assert time.monotonic() - started >= 0.45


def test_tokens_that_were_not_used_are_given_back(monkeypatch):
    monkeypatch.setattr("models.captions.rate_limiter.BURST_S", 0.0)
    limiter = RateLimiter(Limits(tokens_per_minute=6000))
    started = time.monotonic()
    for _ in range(3):
        limiter.commit(limiter.reserve(6000, 0), 1, 0, failed=False)
    assert time.monotonic() - started < 5


def test_without_a_shared_file_the_limits_are_divided():
    assert Limits(max_usd=8, requests_per_minute=None).divided(4) == Limits(max_usd=2)


def test_a_missing_key_is_told_before_anything_runs(server, monkeypatch):
    assert check_endpoints(settings(server)) == "tiny"
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(WeightsError, match="TEST_KEY"):
        check_endpoints(settings(server))


@pytest.mark.parametrize("url", ["ftp://x/v1", "http://user:pw@host/v1", "https://host/v1?key=abc", "host/v1"])
def test_addresses_hold_no_secrets(url):
    with pytest.raises(ValueError, match="base_url"):
        CaptionSettings(vision={"base_url": url})


def test_there_is_no_default_host():
    with pytest.raises(ValueError, match="base_url"):
        CaptionSettings(model="server")


def test_keys_addresses_and_rates_are_not_part_of_a_results_identity(server):
    plain = settings(server).identity()
    other = settings(server, requests_per_minute=5, usd_per_million_input=1.0, calls={"concurrency": 2}).identity()
    assert plain == other
    assert plain != settings(server, temperature=0.5).identity()
    assert server.url not in str(plain)
