"""The web application: routes and their errors. The answers are computed in `engine.py`."""

import contextlib
import functools
import itertools
import math
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

import kerasptb
from kerasptb.data import EOS, DataError, Tokenizer
from kerasptb.data.tokenizers.prefixes import fold_case
from kerasptb.data.tokenizers.tokenizer import Unit
from kerasptb.keyboard import Keyboard
from kerasptb.keyboard.tapped import Readings
from kerasptb.reading import Reader
from kerasptb.serving import schemas
from kerasptb.serving.engine import SuggestionEngine
from kerasptb.serving.errors import BusyError, StateError
from kerasptb.serving.middleware import AllowedHosts, BodyLimit, CancelOnDisconnect, RateLimit, problem
from kerasptb.serving.state_token import decode_state, encode_state, largest_token

# Enough for the longest text with every character written as two escapes of six bytes. A state's size is added.
MAX_BODY_BYTES = 12 * schemas.MAX_CHARACTERS + 8_000
# A fast typist makes ten keystrokes a second, each of which may send two requests. An office may share an address.
DEFAULT_RATE = 100

_PAGE = Path(__file__).parent / "page"
_PROBLEMS = {
    400: "The body is not JSON.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    421: "The server is not asked for by this name.",
    422: "The body is JSON, but not what was expected.",
    429: "Too many requests came from this address.",
    503: "Too many requests are waiting.",
}
# What a request is refused with that raises an error.
_STATUSES: tuple[tuple[type[Exception], int, dict[str, str]], ...] = (
    (DataError, 422, {}),
    (StateError, 409, {}),
    (BusyError, 503, {"Retry-After": "1"}),
)


def create_app(
    reader: Reader,
    name: str = "",
    rate: float | None = DEFAULT_RATE,
    allowed_hosts: Collection[str] | None = None,
    allowed_origins: Collection[str] = (),
) -> FastAPI:
    """Returns the ASGI application that serves a `Reader` with a fingerprint: the page at `/`, the API below `/v1/`.

    The name is that of the run's folder, the rate that of requests a second from one address, and allowed
    hosts are names that the header Host may have beside this machine's own; `None` for any. Allowed origins are sites
    whose pages may read the answers. Its description is at `/openapi.json`; there is no interactive page for it,
    because the usual pages load scripts from other servers.
    """

    def max_bytes() -> int:
        return MAX_BODY_BYTES + largest_token(app.state.engine.state_size)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.engine.close()

    app = FastAPI(
        title="kerasptb",
        summary="Next words, as a phone's keyboard suggests them",
        version=kerasptb.__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.engine, app.state.name = SuggestionEngine(reader), name
    _add_routes(app)
    app.exception_handler(RequestValidationError)(_refuse_invalid)
    app.exception_handler(HTTPException)(_refuse_http)
    app.exception_handler(Exception)(_fail)
    for kind, status, headers in _STATUSES:
        app.exception_handler(kind)(functools.partial(_refuse, status=status, headers=headers))
    # A request passes the middleware that was added last first.
    app.add_middleware(CancelOnDisconnect)
    if rate is not None:
        app.add_middleware(RateLimit, rate=rate)
    if allowed_hosts is not None:
        app.add_middleware(AllowedHosts, hosts=allowed_hosts)
    app.add_middleware(BodyLimit, max_bytes=max_bytes)
    if allowed_origins:
        origins, methods, headers = [*allowed_origins], ["GET", "POST"], ["Content-Type"]
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=methods, allow_headers=headers)
    return app


def replace_model(app: FastAPI, reader: Reader) -> None:
    """Has further requests answered by the model of another reader; those that have begun are by the one before."""
    before, app.state.engine = app.state.engine, SuggestionEngine(reader)
    before.close()  # what it still does for requests that have begun, it does in new threads


def _add_routes(app: FastAPI) -> None:
    of_state, problems = _described({409: "The state is damaged, or another model's."}), _described(_PROBLEMS)

    @app.post("/v1/suggest", responses=problems, tags=["API"], summary="Suggest words for a text")
    async def suggest(request: schemas.SuggestRequest) -> schemas.SuggestResponse:
        """Suggests the next word, or words that the unfinished one at the end may become."""
        engine = app.state.engine
        typed, memory = await engine.split(request.text, request.complete, request.learn)
        context = await engine.context(typed.whole)
        prefix = engine.text_format.end_typed(request.text, len(typed.prefix.removeprefix(" ")))
        if request.typos is None or not typed.prefix.strip():
            found = await engine.keys(context, typed, request.k, memory)
            words, total, correction = _suggested(found.words), found.prefix_probability, None
        else:
            keyboard = keyboard_of(request.typos)
            readings, whole = await engine.readings(context, typed, request.touches, keyboard, request.k, memory)
            words, total = _suggested(readings.words, readings.literal), readings.total
            correction = _correction(whole)
        return schemas.SuggestResponse(
            suggestions=words, prefix=prefix, prefix_probability=total, correction=correction
        )

    @app.post("/v1/stream", responses=problems | of_state, tags=["API"], summary="Suggest words, a few words at a time")
    async def stream(request: schemas.StreamRequest) -> schemas.StreamResponse:
        """Reads only what came since the last request, at the cost of those words alone; the server remembers nothing.

        The answer's `state` goes into the next request, with `learn` the last words typed in it.
        """
        engine = app.state.engine
        before, memory, end = engine.initial, None, "\n"
        if request.state is not None:
            before, memory, end = decode_state(request.state, engine.fingerprint, engine.state_size)
        read = engine.text_format.signs.read
        text = read(request.text, end)
        context = await engine.extend(before, text, end)
        memory = await engine.remember(text, memory) if request.learn else None
        whole = end + text.rstrip(" ")
        typed = engine.typed_after(whole, read(request.prefix, whole))
        found = await engine.keys(context, typed, request.k, memory)
        return schemas.StreamResponse(
            suggestions=_suggested(found.words),
            prefix_probability=found.prefix_probability,
            state=encode_state(context.state, engine.fingerprint, memory, whole),
        )

    @app.post("/v1/score", responses=problems, tags=["API"], summary="Score each word of a text")
    async def score(request: schemas.ScoreRequest) -> schemas.ScoreResponse:
        """Gives the log probability of each word after those before it."""
        engine = app.state.engine
        units, values = await engine.score(request.text)
        return _scored(request, units, values, engine.tokenizer)

    @app.head("/health", include_in_schema=False)
    @app.get("/health", tags=["Server"], summary="Whether the server answers")
    async def health() -> schemas.Health:
        return schemas.Health()

    @app.get("/version", tags=["Server"], summary="What is served")
    async def version() -> schemas.Version:
        engine = app.state.engine
        return schemas.Version(
            kerasptb=kerasptb.__version__,
            model=engine.fingerprint,
            name=app.state.name,
            tokens=engine.tokenizer.kind,
            vocabulary_size=len(engine.tokenizer),
        )

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_PAGE / "index.html")

    app.mount("/static", StaticFiles(directory=_PAGE))


def _described(problems: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": schemas.Problem, "description": reason} for status, reason in problems.items()}


@functools.cache
def keyboard_of(layout: schemas.LayoutName) -> Keyboard:
    """Returns the `Keyboard` of a layout of the package."""
    return Keyboard(layout)


def _suggested(words: Iterable[tuple[str, float]], prefix: str = "") -> list[schemas.SuggestedWord]:
    """Returns words for an answer; those that do not begin with a prefix correct it."""
    begins = fold_case(prefix)
    return [
        schemas.SuggestedWord(word=word, probability=value, corrects=not fold_case(word).startswith(begins))
        for word, value in words
    ]


def _correction(readings: Readings) -> schemas.Correction | None:
    """Returns what a word should be by its `Readings`; None if it stays."""
    word = readings.corrected()
    if word == readings.literal:
        return None
    return schemas.Correction(word=word, log_odds=readings.log_odds(word))


def _name(tokenizer: Tokenizer, token: int) -> str:
    """Returns what a token writes as a reader sees it, without the space before a word; `<eos>` for a line's end."""
    if token == tokenizer.eos_id:
        return EOS
    written = tokenizer.pieces[token].decode(errors="replace")
    return written.removeprefix(" ") or written


def _scored(
    request: schemas.ScoreRequest, units: Sequence[Unit], values: Sequence[float | None], tokenizer: Tokenizer
) -> schemas.ScoreResponse:
    """Returns the answer for a text whose words were scored, see `SuggestionEngine.score`."""
    remaining = iter(values)
    scored = []
    for unit in units:
        log_probabilities = list(itertools.islice(remaining, len(unit.tokens)))
        if unit.start < request.start:
            continue
        tokens = [
            schemas.ScoredToken(word=_name(tokenizer, token), log_probability=value)
            for token, value in zip(unit.tokens, log_probabilities, strict=True)
        ]
        text = request.text[unit.start : unit.end]
        scored.append(schemas.ScoredWord(text=text, start=unit.start, end=unit.end, tokens=tokens))
    known = [value for value in values if value is not None]
    total = math.fsum(known)
    # A model may give a text so small a probability that its perplexity would overflow a float.
    perplexity = math.exp(min(-total / max(len(known), 1), 700))
    return schemas.ScoreResponse(words=scored, num_tokens=len(values), log_probability=total, perplexity=perplexity)


async def _refuse_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """Answers with one sentence about the first error, without repeating the body, which may be long or malformed."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return problem(400, "Expected a body in JSON. Received something else.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        return problem(422, f"Expected the header Content-Type: application/json. Received: {kind or 'none'}")
    name = ".".join(str(part) for part in first["loc"] if part != "body")
    return problem(422, f"`{name}`: {first['msg']}" if name else f"Expected a JSON object: {first['msg']}")


async def _refuse(request: Request, error: Exception, status: int, headers: dict[str, str]) -> JSONResponse:
    return problem(status, str(error), headers)


async def _refuse_http(request: Request, error: HTTPException) -> JSONResponse:
    return problem(error.status_code, str(error.detail), error.headers)


async def _fail(request: Request, error: Exception) -> JSONResponse:
    """Answers with a server error; the traceback is in the server's log."""
    return problem(500, "The server failed at this request.")
