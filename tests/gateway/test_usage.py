"""Usage is read from any dialect, however the bytes are cut, and garbage is no usage."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentd.gateway.usage import Tee, Usage, usage_of

CHAT = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "prompt_tokens_details": {"cached_tokens": 30},
    "completion_tokens_details": {"reasoning_tokens": 7},
}
RESPONSES = {
    "input_tokens": 100,
    "output_tokens": 20,
    "input_tokens_details": {"cached_tokens": 30},
    "output_tokens_details": {"reasoning_tokens": 7},
}
START = {"input_tokens": 50, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 20, "output_tokens": 1}


def stream(*events: Any, ending: str = "\n\n") -> bytes:
    lines = [f"data: {event if isinstance(event, str) else json.dumps(event)}{ending}" for event in events]
    return "".join(lines).encode()


STREAMS = {
    "chat": stream(
        {"choices": [{"delta": {"content": 'a "usage" b'}}], "usage": None}, {"choices": [], "usage": CHAT}, "[DONE]"
    ),
    "responses": b"event: response.completed\n"
    + stream({"type": "response.created", "response": {"usage": None}})
    + stream({"type": "response.completed", "response": {"usage": RESPONSES}}),
    "messages": stream(
        {"type": "message_start", "message": {"usage": START}},
        {"type": "content_block_delta", "delta": {"text": '{"usage": 5}'}},
        {"type": "message_delta", "usage": {"output_tokens": 20}},
        {"type": "message_stop"},
    ),
}
WANTED = {
    "chat": Usage(100, 20, 30, 0, 7),
    "responses": Usage(100, 20, 30, 0, 7),
    "messages": Usage(100, 20, 30, 20, 0),
}


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
@pytest.mark.parametrize("dialect", STREAMS)
def test_usage_of_a_stream_cut_anywhere(dialect: Any, size: int, ending: bytes) -> None:
    data = STREAMS[dialect].replace(b"\n\n", ending)
    tee = Tee(dialect, is_stream=True)
    for at in range(0, len(data), size):
        tee.feed(data[at : at + size])
    assert tee.usage(is_whole=True) == WANTED[dialect]


@pytest.mark.parametrize("dialect", STREAMS)
def test_a_client_that_hangs_up_after_the_last_event_has_had_all(dialect: Any) -> None:
    tee = Tee(dialect, is_stream=True)
    tee.feed(STREAMS[dialect])
    assert tee.usage(is_whole=False) == WANTED[dialect]


@pytest.mark.parametrize("dialect", STREAMS)
def test_a_stream_that_breaks_off_earlier_has_no_usage(dialect: Any) -> None:
    data = STREAMS[dialect]
    last = data.rindex(b"usage", 0, data.rindex(b"}}") if dialect != "messages" else data.rindex(b"message_stop"))
    for end in range(last):
        tee = Tee(dialect, is_stream=True)
        tee.feed(data[:end])
        assert tee.usage(is_whole=False) is None


def test_usage_so_far_is_not_the_last_word() -> None:
    tee = Tee("chat", is_stream=True)
    tee.feed(stream({"choices": [{}], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}))
    assert tee.usage(is_whole=False) is None
    assert tee.partial() == Usage(9, 1)
    tee.feed(stream({"choices": [{}], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}))
    assert tee.usage(is_whole=True) == Usage(9, 5)


@pytest.mark.parametrize(
    ("dialect", "told", "wanted"),
    [
        (
            "chat",
            CHAT | {"prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 60}},
            Usage(100, 20, 30, 60, 7),
        ),
        (
            "responses",
            RESPONSES | {"input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 60}},
            Usage(100, 20, 30, 60, 7),
        ),
        (  # OpenRouter's way of counting
            "chat",
            CHAT | {"prompt_tokens_details": {"cached_tokens": 90, "cache_write_tokens": 60}},
            Usage(100, 20, 40, 60, 7),
        ),
    ],
)
def test_what_is_put_into_a_cache_is_told_apart(dialect: Any, told: dict[str, Any], wanted: Usage) -> None:
    assert usage_of(dialect, told) == wanted


def test_what_stays_in_a_cache_for_an_hour_is_told_apart() -> None:
    kept = {"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 5}
    data = STREAMS["messages"].replace(
        b'"cache_creation_input_tokens": 20',
        b'"cache_creation_input_tokens": 20, "cache_creation": %s' % stream(kept)[6:-2],
    )
    tee = Tee("messages", is_stream=True)
    tee.feed(data)
    assert tee.usage(is_whole=True) == Usage(100, 20, 30, 20, hour_write=5)


def test_searches_of_the_service_are_counted() -> None:
    told = START | {"server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 1}}
    assert usage_of("messages", told) == Usage(100, 1, 30, 20, searches=3)


def test_a_nought_at_the_end_takes_nothing_back() -> None:
    start = START | {"cache_creation": {"ephemeral_1h_input_tokens": 5, "ephemeral_5m_input_tokens": 15}}
    none = {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": None}
    end = none | {"cache_creation": {"ephemeral_1h_input_tokens": 0}, "output_tokens": 20}
    tee = Tee("messages", is_stream=True)
    tee.feed(stream({"type": "message_start", "message": {"usage": start}}, {"type": "message_delta", "usage": end}))
    assert tee.usage(is_whole=True) == Usage(100, 20, 30, 20, hour_write=5)


def test_numbers_that_only_the_end_has_are_taken() -> None:
    start = {"input_tokens": 0, "output_tokens": None}
    tee = Tee("messages", is_stream=True)
    tee.feed(
        stream(
            {"type": "message_start", "message": {"usage": start}},
            {"type": "message_delta", "usage": {"input_tokens": 70, "output_tokens": 0}},
        )
    )
    assert tee.usage(is_whole=True) == Usage(70, 0)


@pytest.mark.parametrize(
    ("told", "output"),
    [
        ({"completion_tokens": 9, "total_tokens": 135, "completion_tokens_details": {"reasoning_tokens": 26}}, 35),
        ({"completion_tokens": 9, "total_tokens": 135}, 35),
        ({"completion_tokens": 9, "total_tokens": 109, "completion_tokens_details": {"reasoning_tokens": 7}}, 9),
        ({"completion_tokens": 9, "total_tokens": 0}, 9),
        ({"completion_tokens": 9, "total_tokens": None}, 9),
    ],
)
def test_reasoning_that_only_the_total_has_is_output(told: dict[str, Any], output: int) -> None:
    found = usage_of("chat", {"prompt_tokens": 100, **told})
    assert found is not None
    assert (found.input, found.output) == (100, output)


def test_an_incomplete_response_has_usage() -> None:
    tee = Tee("responses", is_stream=True)
    tee.feed(stream({"type": "response.incomplete", "response": {"usage": RESPONSES}}))
    assert tee.usage(is_whole=True) == WANTED["responses"]


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"prompt_tokens": 1},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": "1", "completion_tokens": 1},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 10**18, "completion_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}},
        {"prompt_tokens": 1, "completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 2}},
    ],
)
def test_numbers_that_cannot_be_are_no_usage(told: dict[str, Any]) -> None:
    assert usage_of("chat", told) is None
    tee = Tee("chat", is_stream=False)
    tee.feed(json.dumps({"usage": told}).encode())
    assert tee.usage(is_whole=True) is None


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[1]", b'{"usage": 5}', b'{"usage": null}', b"\xff\x00", b"[" * 99_999]
)
@pytest.mark.parametrize("is_stream", [True, False])
def test_garbage_is_no_usage(body: bytes, is_stream: bool) -> None:
    for dialect in STREAMS:
        tee = Tee(dialect, is_stream=is_stream)  # type: ignore[arg-type]  # names of dialects
        tee.feed(b"data: " + body + b'"usage"\n\n' if is_stream else body)
        assert tee.usage(is_whole=True) is None


def test_a_line_without_end_is_dropped_and_what_follows_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentd.gateway.usage.LONGEST_LINE", 1000)
    tee = Tee("chat", is_stream=True)
    for _ in range(50):
        tee.feed(b"x" * 100)
    assert len(tee._rest) < 2000
    tee.feed(b"\n\n" + STREAMS["chat"])
    assert tee.usage(is_whole=True) == WANTED["chat"]
