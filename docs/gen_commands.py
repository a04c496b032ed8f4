"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator

import click

from greenlove_mlflow.cli import main


def render_commands() -> str:
    """One section a command: what it does, its call, its options."""
    return "\n".join(line for name, command in leaf_commands(main) for line in _section(name, command))


def leaf_commands(group: click.Group, prefix: str = "greenlove") -> Iterator[tuple[str, click.Command]]:
    """Every command that can be called, by its full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaf_commands(command, f"{prefix} {name}")
        elif command is not None:
            yield f"{prefix} {name}", command


def _section(name: str, command: click.Command) -> list[str]:
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    paragraphs = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    rows = [record for each in command.params if (record := each.get_help_record(context)) is not None]
    table = ["| option | meaning |", "|---|---|", *(f"| `{_cell(flag)}` | {_cell(text)} |" for flag, text in rows)]
    return [f"## {name}", "", *(f"{each}\n" for each in paragraphs), "```text", usage, "```", "", *table, ""]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
