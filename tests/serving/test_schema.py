"""Requests drawn from the API's own description, right and wrong ones."""

import os

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from kerasptb.serving.state_token import encode_state

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

EXAMPLES = int(os.environ.get("KERASPTB_FUZZ_EXAMPLES", "40"))
MODES = {"right": schemathesis.GenerationMode.POSITIVE, "wrong": schemathesis.GenerationMode.NEGATIVE}
OPERATIONS = [
    ("/v1/suggest", "POST"),
    ("/v1/stream", "POST"),
    ("/v1/score", "POST"),
    ("/health", "GET"),
    ("/version", "GET"),
]


@pytest.fixture(scope="module")
def api(reader):
    from kerasptb.serving.app import create_app

    config = {"checks": {"negative_data_rejection": {"expected-statuses": [400, 413, 422]}}}
    app = create_app(reader, rate=None)
    return schemathesis.openapi.from_asgi("/openapi.json", app, config=schemathesis.Config.from_dict(config))


def test_every_operation_is_tested(api):
    operations = [result.ok() for result in api.get_all_operations()]
    assert {(operation.path, operation.method.upper()) for operation in operations} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [(path, method, mode) for path, method in OPERATIONS for mode in MODES if (method, mode) != ("GET", "wrong")],
)
def test_the_api_is_as_described(api, reader, path, method, mode):
    seen = set()

    # The checks are schemathesis' own, among them: no answer of 5xx, none that the description does not know, none of
    # another shape or type, wrong requests refused, and right ones not.
    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
    @given(case=api[path][method].as_strategy(generation_mode=MODES[mode]), is_given=strategies.booleans())
    def check(case, is_given):
        # What no description can say: a state must be one that the server gave, and a letter has one touch.
        if is_given and mode == "right" and path == "/v1/stream" and case.body.get("state") is not None:
            case.body["state"] = encode_state(reader.begin().state, reader.fingerprint)
        if mode == "right" and path == "/v1/suggest" and case.body.get("touches") is not None:
            case.body |= {"text": "a " + "b" * len(case.body["touches"]), "complete": True, "typos": "qwerty"}
        seen.add(case.call_and_validate().status_code)

    check()
    right = {200, 409} if path == "/v1/stream" else {200}
    assert seen <= (right if mode == "right" else {400, 413, 422}), seen
