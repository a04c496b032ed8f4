"""The ``greenlove`` command: one module a command, loaded when it is called."""

from __future__ import annotations

import importlib

import click

from greenlove_mlflow._version import __version__
from greenlove_mlflow.environment import secret_values
from greenlove_mlflow.errors import GreenloveError
from greenlove_mlflow.untrusted import printable, scrubbed

# name of the command -> module below this package that defines it as `command`
_COMMANDS = {
    "demo": "demo",
    "report": "report",
    "recover": "recover",
    "tables": "tables",
    "doctor": "doctor",
    "calibration": "calibration",
    "compare": "compare",
    "runs": "runs",
    "cloud-task": "cloud_task",
    "reestimate": "reestimate",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for, so that ``--help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; None when there is none."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{_COMMANDS[cmd_name]}")
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an error of ours, or of the MLflow store, becomes one line and exit code 1."""
        try:
            return super().invoke(ctx)
        except GreenloveError as error:
            raise click.ClickException(_safe(str(error))) from None
        except Exception as error:
            # MLflow is not imported to ask: it takes a second, and a command that has not loaded it cannot have met it.
            if type(error).__module__.split(".")[0] not in ("mlflow", "requests", "urllib3"):
                raise
            first = str(error).strip().split("\n", 1)[0]
            raise click.ClickException(f"the MLflow store could not be read: {_safe(first)[:300]}") from None


def _safe(text: str) -> str:
    """The text without passwords and without characters that a terminal would obey."""
    return printable(scrubbed(text, secret_values()), lines=True)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="greenlove")
def main() -> None:
    """What a training takes in hours, dollars, kWh and CO2e, and what it would take elsewhere."""
