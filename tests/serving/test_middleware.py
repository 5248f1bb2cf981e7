import asyncio
import json

import pytest

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from kerasptb.serving.middleware import AllowedHosts, BodyLimit, CancelOnDisconnect, RateLimit


def request(app, path="/v1/suggest", body=(b"",), headers=(), client=("10.0.0.1", 1)):
    """Sends a request whose body comes in parts; returns the status, the headers and the body of the answer."""
    scope = {"type": "http", "path": path, "headers": list(headers), "client": client}
    parts = [{"type": "http.request", "body": part, "more_body": i + 1 < len(body)} for i, part in enumerate(body)]
    sent = []

    async def receive():
        if not parts:
            await asyncio.sleep(0.01)  # until the answer has come, which servers also report as a disconnection
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    start, *rest = sent
    return start["status"], dict(start["headers"]), b"".join(message["body"] for message in rest)


async def echo(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def test_a_body_of_the_limit_passes_whole():
    app = BodyLimit(echo, lambda: 10)
    assert request(app, body=[b"0123", b"45", b"6789"]) == (200, {}, b"0123456789")


def test_a_larger_body_is_refused_whether_announced_or_not():
    app = BodyLimit(echo, lambda: 10)
    for body, headers in (([b"0123", b"456789x"], []), ([b""], [(b"content-length", b"11")])):
        status, answered, answer = request(app, body=body, headers=headers)
        assert (status, answered[b"connection"]) == (413, b"close")
        assert "at most 10 bytes" in json.loads(answer)["error"]
    assert request(app, body=[b"0"], headers=[(b"content-length", b"one")])[0] == 200


def reading(app, messages, pause=0.0):
    """Has an app read a request's messages; returns what it sent, and the messages that it has left."""
    sent = []

    async def receive():
        await asyncio.sleep(pause)
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(app({"type": "http", "headers": []}, receive, send))
    return sent, messages


def part(body, more_body=True):
    return {"type": "http.request", "body": body, "more_body": more_body}


def test_a_larger_body_is_read_no_further_than_the_limit():
    sent, left = reading(BodyLimit(echo, lambda: 10), [part(b"0123") for _ in range(9)])
    assert (sent[0]["status"], len(left)) == (413, 6)


def test_a_body_that_drips_is_given_up():
    sent, left = reading(BodyLimit(echo, lambda: 100, max_seconds=0.1), [part(b"0") for _ in range(50)], pause=0.02)
    assert sent[0]["status"] == 408
    assert len(left) > 40


def test_a_body_that_is_broken_off_is_no_request():
    assert reading(BodyLimit(echo, lambda: 10), [part(b"01"), {"type": "http.disconnect"}]) == ([], [])


def test_a_body_that_is_still_coming_when_the_server_ends_is_answered():
    sent = []

    async def receive():
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    async def stop():
        answering = asyncio.create_task(BodyLimit(echo, lambda: 10)({"type": "http", "headers": []}, receive, send))
        await asyncio.sleep(0.01)
        answering.cancel()
        await answering

    asyncio.run(stop())
    assert sent[0]["status"] == 503
    assert (b"connection", b"close") in sent[0]["headers"]
    assert "stopping" in json.loads(sent[1]["body"])["error"]


def test_a_client_gets_its_rate_and_twice_that_at_once():
    time = [0.0]
    app = RateLimit(echo, rate=5, clock=lambda: time[0])
    statuses = [request(app)[0] for _ in range(12)]
    assert statuses == [200] * 10 + [429] * 2
    _, headers, answer = request(app)
    assert headers[b"retry-after"] == b"1"
    assert "5 requests a second" in json.loads(answer)["error"]
    time[0] = 1.0
    assert [request(app)[0] for _ in range(6)] == [200] * 5 + [429]
    time[0] = 100.0
    assert [request(app)[0] for _ in range(11)] == [200] * 10 + [429]


def test_other_clients_and_other_paths_are_not_limited():
    app = RateLimit(echo, rate=0.25, clock=lambda: 0.0)
    assert [request(app)[0] for _ in range(2)] == [200, 429]
    assert request(app, client=("10.0.0.2", 1))[0] == 200
    assert request(app, path="/health")[0] == 200
    assert request(app, client=None)[0] == 200


def test_clients_are_forgotten_oldest_first():
    app = RateLimit(echo, rate=0.5, max_clients=3, clock=lambda: 0.0)
    for last in (1, 2, 3, 4):
        request(app, client=(f"10.0.0.{last}", 1))
    assert list(app._clients) == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    # By their last request, not by their first.
    request(app, client=("10.0.0.2", 1))
    request(app, client=("10.0.0.5", 1))
    assert list(app._clients) == ["10.0.0.4", "10.0.0.2", "10.0.0.5"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"localhost", 200),
        (b"LOCALHOST.:8000", 200),
        (b"127.0.0.1:8000", 200),
        (b"127.8.9.1", 200),
        (b"[::1]:8000", 200),
        (b"Models.example:80", 200),
        (b"attacker.example:8000", 421),
        (b"localhost.attacker.example", 421),
        (b"localhost:attacker.example", 421),
        (b"localhost:80:80", 421),
        (b"localhost:8x", 421),
        (b"localhost:\xb2", 421),  # a digit, in Unicode
        (b"[::1]attacker.example", 421),
        (b"[::1]:attacker.example", 421),
        (b":8000", 421),
        (b"127.0.0.1.attacker.example", 421),
        (b"192.168.1.7", 421),
        (b"[::2]:8000", 421),
        (b"[::1", 421),
        (b"", 421),
        (b"\xff", 421),
    ],
)
def test_a_page_of_another_site_is_not_let_in_by_a_name_of_its_own(host, status):
    assert request(AllowedHosts(echo, ["models.EXAMPLE"]), headers=[(b"host", host)])[0] == status


@pytest.mark.parametrize(
    "allowed", ["kb.example.org", "KB.example.org.", "kb.example.org:8443", "[fd00::1]:80", "fd00::1"]
)
def test_a_name_may_be_allowed_with_its_port(allowed):
    app, host = AllowedHosts(echo, [allowed]), b"[fd00::1]:8443" if "::" in allowed else b"kb.example.org"
    assert request(app, headers=[(b"host", host)])[0] == 200


def test_who_names_no_host_is_no_browser():
    assert request(AllowedHosts(echo))[0] == 200


def test_work_ends_with_the_client_that_asked_for_it():
    seen = []

    async def app(scope, receive, send):
        seen.append((await receive())["body"])
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def run():
        gone = asyncio.Event()
        parts = [{"type": "http.request", "body": b"text", "more_body": False}]

        async def receive():
            if parts:
                return parts.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        request = asyncio.create_task(CancelOnDisconnect(app)({"type": "http"}, receive, None))
        while not seen:
            await asyncio.sleep(0.001)
        gone.set()
        await asyncio.wait_for(request, 10)

    asyncio.run(run())
    assert seen == [b"text", "cancelled"]


def test_a_client_that_stays_gets_its_answer_and_what_the_work_raises_is_raised():
    assert request(CancelOnDisconnect(echo), body=(b"one ", b"two"))[2] == b"one two"

    async def fails(scope, receive, send):
        raise KeyError("fault")

    with pytest.raises(KeyError, match="fault"):
        request(CancelOnDisconnect(fails))


def test_a_body_that_does_not_come_is_given_up():
    sent = []
    parts = [{"type": "http.request", "body": b"01", "more_body": True}]

    async def receive():
        if not parts:
            await asyncio.sleep(60)
        return parts.pop()

    async def send(message):
        sent.append(message)

    asyncio.run(BodyLimit(echo, lambda: 10, max_seconds=0.05)({"type": "http", "headers": []}, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert "whole body within 0.05 seconds" in json.loads(sent[1]["body"])["error"]
