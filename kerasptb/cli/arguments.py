"""What the parsers of several commands share: types of arguments, and options."""

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, get_args

from kerasptb.arguments import Argument, Choice, ModelArguments, Number, Several, Text, Whole
from kerasptb.data.sources.source import Source, TextSource
from kerasptb.run import Run, load_run
from kerasptb.utils.types import Tokens

DATA_HELP = (
    "auto (PTB where it is found or can be downloaded, else the built-in sample), ptb, sample, a folder with "
    "train, valid and test texts, an archive of them, or files, folders and archives with any text (plain, PDF, DOCX, "
    "HTML, EPUB, CSV, JSON, mail, chats; - for a pipe), of which the last tenth is half validation, half test"
)

Commands: TypeAlias = "argparse._SubParsersAction[ArgumentParser]"
Group: TypeAlias = "argparse._ActionsContainer"  # a command, or a group of its options


def option_type(kind: Any) -> Callable[[str], Any]:
    """Returns the `type` of an option whose words a kind parses; the message says what is expected."""

    def read(word: str) -> Any:
        try:
            return kind.parse(word)
        except (ValueError, OverflowError):
            received = word or "''"
            raise argparse.ArgumentTypeError(f"expected {kind.expected}, received {received}") from None

    return read


class _Port(Whole):
    expected = "a port from 0 to 65535"

    def read(self, value: Any) -> int:
        if value > 65_535:
            raise ValueError
        return super().read(value)


port = option_type(_Port(0))
rate = option_type(Number(0))
positive = option_type(Whole())
path = option_type(Text())

_SHARED: dict[str, dict[str, Any]] = {
    "run": {"metavar": "RUN", "help": "run folder, or english for the model that comes with this package"},
    "--counts": {
        "choices": ("auto", "none"),
        "help": "auto: with the counts of the run's training text, if it has them; none: the network alone "
        "(default: auto)",
    },
    "--json": {"action": "store_true", "help": "print JSON: an object, or one a line where lines are read"},
    "--tokens": {
        "choices": get_args(Tokens),
        "help": "what a text is cut into (default: words if <unk> is often in its training text, else subwords)",
    },
    "--tokenizer": {
        "metavar": "FILE",
        "help": "cut the text with this tokenizer.json or SentencePiece .model, in place of one of its own",
    },
    "--vocabulary-size": {
        "type": positive,
        "help": "the most tokens: of words, <unk> and <eos> among them, the rest becomes <unk> (default: all words, or "
        "as many subwords as suit the text's size)",
    },
    "--keep-lines": {
        "action": argparse.BooleanOptionalAction,
        "help": "each line is a paragraph, or those that are as full as a margin lets them be are joined (default: "
        "joined if the text as a whole is wrapped prose)",
    },
}


def add_fields(command: Group, fields: Iterable[Argument], default: str | None = None) -> None:
    """Adds the options of `Argument`s, with what the help says of the default: what takes an option knows it."""
    for field in fields:
        choices = field.kind.names if isinstance(field.kind, Choice) else None
        shown = default or field.shown
        command.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=str if choices else option_type(field.kind),
            choices=choices,
            nargs="+" if isinstance(field.kind, Several) else None,
            metavar=field.metavar,
            help=f"{field.help} (default: {shown})" if shown else field.help,
        )


_OF_SOURCE = ("encoding", "column", "author")


class _OneOrSeveral(argparse.Action):
    """Stores a single value as such."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None
    ) -> None:
        setattr(namespace, self.dest, values[0] if len(values) == 1 else values)


def add_data(command: Group, default: str) -> None:
    """Adds the option of the text, of which several files may be named."""
    text = f"{DATA_HELP} (default: {default})"
    command.add_argument("--data", nargs="+", action=_OneOrSeveral, metavar="TEXT", help=text)
    command.add_argument("--encoding", help="encoding of --data (default: UTF-8, or what is found)")
    command.add_argument("--column", help="column of a table, or key of JSON, that holds the text (default: text)")
    command.add_argument("--author", help="read only this person's messages of a chat or mailbox (default: all)")


def add_reading(command: Group) -> None:
    """Adds the options of how a text is read."""
    add_shared(command, "--tokens", "--tokenizer", "--vocabulary-size", "--keep-lines")


def add_command(
    commands: Commands, name: str, execute: Callable[[Namespace], int | None], text: str, **kwargs: Any
) -> ArgumentParser:
    """Adds a command, of which the help says `text`, and returns its parser."""
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", **kwargs)
    command.set_defaults(command=execute, name=name)
    return command


def as_arguments(options: Namespace) -> dict[str, Any]:
    """Returns the options of a command as a dict, for a function whose arguments have their names."""
    others = ("command", "debug", "name", *_OF_SOURCE)
    values = {name: value for name, value in vars(options).items() if name not in others}
    return values | ({"data": data_of(options)} if "data" in values else {})


def data_of(options: Namespace) -> TextSource | None:
    """Returns the text that a command names, and how it is to be read; `None` if it names none."""
    choices = {name: value for name in _OF_SOURCE if (value := getattr(options, name)) is not None}
    if choices and options.data is None:
        raise ValueError(f"Expected the text that is to be read so, with --data. Received: --{', --'.join(choices)}")
    if not choices and options.data in (None, "auto", "ptb", "sample"):
        return options.data
    source = Source(options.data, **choices)
    source.check_there()  # before TensorFlow is imported, which takes seconds
    return source if choices else options.data


def add_shared(command: Group, *names: str) -> None:
    """Adds options that several commands have."""
    for name in names:
        command.add_argument(name, **_SHARED[name])


def add_backend(command: ArgumentParser) -> None:
    """Adds the options of what computes a run's model."""
    fields = ModelArguments.fields()
    add_fields(command, (fields["backend"], fields["precision"]), default="the run's")


def open_run(options: Namespace, **overrides: Any) -> Run:
    """Returns the run of a command, with these in place of its own, such as float32 on a processor without bfloat16."""
    asked = {"backend": options.backend, "precision": options.precision}
    overrides["counts"] = getattr(options, "counts", None) != "none"
    return load_run(options.run).using(**overrides, **{n: value for n, value in asked.items() if value is not None})
