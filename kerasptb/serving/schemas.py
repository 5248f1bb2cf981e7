"""The bodies of requests and answers, as in the OpenAPI description."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from kerasptb.serving.engine import MAX_SCORED

MAX_CHARACTERS = 20_000
MAX_SUGGESTIONS = 100
_MAX_PREFIX_CHARACTERS = 100


def _number(value: Any) -> Any:
    """Accepts numbers, also 3.0 for 3 as in JSON Schema, but not strings and booleans, which pydantic would convert."""
    if isinstance(value, str | bytes | bool):
        raise ValueError("expected a whole number")
    return value


# The validator comes last; otherwise the limits would be missing from the description.
_K = Annotated[
    int, Field(ge=1, le=MAX_SUGGESTIONS, description="How many words to suggest at most."), BeforeValidator(_number)
]
_OFFSET = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_CHARACTERS,
        description="Offset in code points; words before it are read, too, but left out of the answer's `words`.",
    ),
    BeforeValidator(_number),
]
_TEXT = Field(
    max_length=MAX_CHARACTERS,
    description="Text as it was typed. A line's end ends a sentence, or a paragraph; words unknown to a model of words "
    "are read as <unk>.",
)


_COORDINATE = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False, strict=True)]
LayoutName = Literal["azerty", "portuguese", "qwerty", "qwertz"]
_LEARN = Field(
    False,
    strict=True,
    description="Whether the words typed before become more probable, those that the model does not know included. "
    "The server keeps no session: it finds them in the text, or in the state.",
)


class _Request(BaseModel):
    # A misspelt name is an error. Otherwise the default would be taken silently.
    model_config = ConfigDict(extra="forbid")


class SuggestRequest(_Request):
    """A text that is being typed."""

    text: str = _TEXT
    k: _K = 3
    complete: bool = Field(
        True,
        strict=True,
        description="Whether a last word that no white space follows is unfinished, so that words are suggested that "
        "begin so. If false, it is whole and the next word is suggested.",
    )
    learn: bool = _LEARN
    typos: LayoutName | None = Field(
        None,
        description="The layout of the keys on which the unfinished word may have been typed with errors; null if it "
        "is as it stands.",
    )
    touches: list[tuple[_COORDINATE, _COORDINATE]] | None = Field(
        None,
        max_length=_MAX_PREFIX_CHARACTERS,
        description="With `typos`, where the keys were hit for each letter of the unfinished word: x to the right and "
        "y down from the corner of the keys, in widths of a key. null if that is not known.",
    )

    @model_validator(mode="after")
    def _check_touches(self) -> Self:
        if self.touches is not None and self.typos is None:
            raise ValueError("`touches` are of the keys that `typos` names: send both")
        return self


class Correction(BaseModel):
    """A word that is likelier than what was typed."""

    word: str
    log_odds: float = Field(description="By how much, a natural logarithm.")


class SuggestedWord(BaseModel):
    """A word that may come next."""

    word: str = Field(
        description="The word as the model knows it, or a sign of punctuation. With `learn` also a word that the model "
        "does not know, as it was typed before."
    )
    probability: float = Field(
        ge=0,
        le=1,
        description="The model's probability that it comes, and ends there, given the text before; with `typos`, and "
        "that it is typed so.",
    )
    corrects: bool = Field(
        False, description="Whether it does not begin with the prefix: that was typed with an error then."
    )


class SuggestResponse(BaseModel):
    """Words that may come next, the most probable first."""

    suggestions: list[SuggestedWord]
    prefix: str = Field(
        description="The unfinished word at the end of the text, which a suggestion takes the place of."
    )
    prefix_probability: float = Field(
        ge=0,
        le=1,
        description="Probability that the next word begins with the prefix; nearly 1 if it is empty. With `typos`, "
        "that of all words that may come, and begin as typed.",
    )
    correction: Correction | None = Field(
        None,
        description="With `typos`, what the word should be if it ends with the prefix; null if it may stay as it is.",
    )


class StreamRequest(_Request):
    """The words since the last request, and the state that it answered with."""

    # Its length depends on the model, and is checked when the state is decoded.
    state: str | None = Field(None, description="`state` of the last answer; null at the beginning of a text.")
    text: str = Field(
        "",
        max_length=MAX_CHARACTERS,
        description="The whole words that came since. May be empty. A letter or digit at its beginning begins a word.",
    )
    prefix: str = Field(
        "", max_length=_MAX_PREFIX_CHARACTERS, description="How the next word begins, if that is known; not read."
    )
    k: _K = 3
    learn: bool = _LEARN


class StreamResponse(BaseModel):
    """Words that may come next, and the state after all words so far."""

    suggestions: list[SuggestedWord]
    prefix_probability: float = Field(ge=0, le=1, description="Probability that the next word begins with the prefix.")
    state: str = Field(
        description="Opaque; for the next request, to any server of the same model. With `learn` the last words typed "
        "are in it."
    )


class ScoreRequest(_Request):
    """A text to be read by the model."""

    text: str = _TEXT
    start: _OFFSET = 0


class ScoredToken(BaseModel):
    """A word, or a part of one, as the model reads it."""

    word: str = Field(description="What it writes, without the space before a word; <eos> for a line's end.")
    log_probability: float | None = Field(
        description="Natural logarithm of its probability, given all before it. Null for the first word, if the "
        "model's vocabulary has no <eos> that could come before."
    )


class ScoredWord(BaseModel):
    """A word as it was typed, or the line's end between two."""

    text: str
    start: int = Field(description="Offset of its beginning in the text, in code points.")
    end: int = Field(description="Offset after its end.")
    tokens: list[ScoredToken] = Field(
        description="What the model reads in it: its subwords or characters; of a model of words two in «don't»."
    )


class ScoreResponse(BaseModel):
    """How well the model foresaw each word. What is no word to it, such as a comma alone, is left out."""

    words: list[ScoredWord]
    num_tokens: int = Field(description="Number of tokens that the model read in the whole text.")
    log_probability: float = Field(description="Natural logarithm of the whole text's probability.")
    perplexity: float = Field(description="exp of minus the mean log probability of a token; 1 for an empty text.")


class Health(BaseModel):
    """The server answers and the model is loaded."""

    status: str = "ok"


class Version(BaseModel):
    """What is served, by what, and what a request may hold."""

    kerasptb: str
    model: str = Field(description="Fingerprint of the weights and the tokenizer.")
    name: str = Field(description="Name of the run's folder; «english» for the model that comes with kerasptb.")
    tokens: str = Field(description="What it reads: words, subwords or characters.")
    vocabulary_size: int = Field(description="How many different ones there are.")
    max_characters: int = MAX_CHARACTERS
    max_scored_tokens: int = MAX_SCORED
    max_suggestions: int = MAX_SUGGESTIONS
    layouts: list[LayoutName] = Field(default=list(get_args(LayoutName)), description="What `typos` may be.")


class Problem(BaseModel):
    """Why a request was not answered."""

    error: str
