"""Commands whose docstring is their help, and bad usage in one line: what is wrong, what is allowed, where help is."""

import inspect
from collections.abc import Callable
from typing import Final, Literal, get_args, get_origin

import cyclopts
from cyclopts import App, CycloptsError, Parameter

from i3d.cli.output_files import guarded
from i3d.errors import printable

STDIN: Final = "-"
STDIN_WORD: Final = "/dev/stdin\0"  # stands for "-" while options are parsed: cyclopts takes that as an option
EXAMPLES: Final = "Examples:\n"
FLAGS: Final = Parameter(  # no --no-json for --json; no [default: False]
    negative=(), show_default=lambda value: None if value in (False, None) else value
)


def command(function: Callable[..., object], name: str) -> App:
    """The command that calls a function, if it may write its output files (`guarded`).

    Its docstring has a summary, paragraphs, and `Examples:` with a line for each.
    """
    text, _, examples = inspect.getdoc(function).partition(EXAMPLES)  # type: ignore[union-attr]
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
    app = App(
        name=name, help="\n\n".join(paragraphs), help_epilogue=f"{EXAMPLES}{examples.rstrip()}", default_parameter=FLAGS
    )
    app.default(guarded(function))
    return app


def usage_error(error: CycloptsError) -> str:
    """The message of an error of the parser, with the command whose help explains it."""
    words = " ".join(("i3d", *(error.command_chain or ())))
    return f"{printable(_reason(error).replace(STDIN_WORD, STDIN))}; see `{words} --help`"


def _reason(error: CycloptsError) -> str:
    flag = "" if error.argument is None else error.argument.name
    if not flag.startswith("-"):
        flag = flag.upper()
    if isinstance(error, cyclopts.CoercionError) and error.token is not None and error.msg is None:
        value = f"{error.token.keyword or flag} {error.token.value!r}"
        if get_origin(error.target_type) is Literal:
            return f"{value}: is not one of {', '.join(map(str, get_args(error.target_type)))}"
        return f"{value}: is not {_KINDS.get(error.target_type, 'a value of this option')}"
    if isinstance(error, cyclopts.MissingArgumentError) and error.argument is not None:
        return f"{flag}: needs a value" if flag in (error.root_input_tokens or ()) else f"{flag}: is missing"
    if isinstance(error, cyclopts.UnusedCliTokensError):
        return f"{' '.join(error.unused_tokens or ())}: is one argument too many"
    if isinstance(error, cyclopts.ValidationError) and error.argument is not None:
        value = error.argument.tokens[0].value if error.argument.tokens else error.value
        return f"{flag} {value}: {error.exception_message[:1].lower()}{error.exception_message[1:].rstrip('.')}"
    if isinstance(error, cyclopts.RepeatArgumentError) and error.token is not None:
        return f"{error.token.keyword}: is given twice; give it once"
    if isinstance(error, cyclopts.UnknownCommandError):
        return str(error).split(" Available commands:")[0].rstrip(".")
    return str(error).rstrip(".")


_KINDS: Final[dict[object, str]] = {
    **dict.fromkeys((int, int | None), "a whole number"),
    **dict.fromkeys((float, float | None), "a number"),
}
