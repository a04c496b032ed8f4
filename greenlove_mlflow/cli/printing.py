"""What commands print: text of anybody's, with nothing in it that a terminal would obey."""

from __future__ import annotations

import click

from greenlove_mlflow.untrusted import printable


def echo(text: str, *, err: bool = False) -> None:
    """Print one or more lines; names of runs, machines and offers in them may be anybody's."""
    click.echo(printable(text, lines=True), err=err)
