"""Commands whose docstring is their help: paragraphs are wrapped to the terminal, examples stand at the end."""

import inspect
from collections.abc import Callable
from typing import Final

from cyclopts import App, Parameter

EXAMPLES: Final = "Examples:\n"
FLAGS: Final = Parameter(  # no --no-json for --json; no [default: False]; of a flag given twice the last one counts
    negative=(), allow_repeating=True, show_default=lambda value: None if value in (False, None) else value
)


def command(function: Callable[..., object], name: str) -> App:
    """The command that calls a function. Its docstring: a summary, paragraphs, and `Examples:` with a line for each."""
    text, _, examples = inspect.getdoc(function).partition(EXAMPLES)  # type: ignore[union-attr]
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
    app = App(
        name=name, help="\n\n".join(paragraphs), help_epilogue=f"{EXAMPLES}{examples.rstrip()}", default_parameter=FLAGS
    )
    app.default(function)
    return app
