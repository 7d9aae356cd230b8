"""What is told beside the results, on stderr."""

import typer


def say(message: str) -> None:
    typer.echo(message, err=True)
