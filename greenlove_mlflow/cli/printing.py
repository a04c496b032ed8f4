"""Printing for commands: untrusted text is stripped of terminal control characters."""

from __future__ import annotations

import click

from greenlove_mlflow.untrusted import printable


def echo(text: str, *, err: bool = False) -> None:
    """Print one or more lines; run, machine and offer names in them are untrusted."""
    click.echo(printable(text, lines=True), err=err)
