"""The ``greenlove`` command: one module per subcommand, imported when it is called."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

import click

from greenlove_mlflow._version import __version__
from greenlove_mlflow.environment import secret_values, variable_set
from greenlove_mlflow.errors import GreenloveError
from greenlove_mlflow.untrusted import printable, scrubbed

# command name -> (module in this package that defines it as `command`, its line in the list of commands)
_COMMANDS = {
    "calibration": ("calibration", "How estimates held in finished runs, and what they teach."),
    "cloud-task": ("cloud_task", "Write a task file that times a training on a rented GPU."),
    "compare": ("compare", "What a run would take and cost on each offer."),
    "demo": ("demo", "Estimate and train a small network, in about a minute."),
    "doctor": ("doctor", "What this machine lets greenlove see, and what to do."),
    "recover": ("recover", "Send to MLflow what earlier runs could not."),
    "reestimate": ("reestimate", "Estimate the runs of an experiment again with new prices."),
    "report": ("report", "Write the report of a run or of an experiment."),
    "runs": ("runs", "Runs side by side, with totals; for a terminal, PR or sheet."),
    "tables": ("tables", "Prices, GPUs, grids: show, check, compare, add your own."),
}


class LazyGroup(click.Group):
    """A click group that imports each command on first use, so that ``--help`` is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command with that name, or None."""
        if cmd_name not in _COMMANDS:
            return None
        module, words = _COMMANDS[cmd_name]
        command: click.Command = importlib.import_module(f"{__name__}.{module}").command
        command.short_help = words  # what zsh and fish show beside a completion
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, none of which is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an error from this package or the MLflow store becomes one line and exit code 1."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        try:
            with variable_set("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"):
                return super().invoke(ctx)
        except click.UsageError as error:
            message = error.format_message()
            if (shown := _within_terminal(message)) == message:
                raise
            raise click.UsageError(shown, ctx=error.ctx) from None
        except GreenloveError as error:
            raise click.ClickException(_within_terminal(_safe(str(error)))) from None
        except Exception as error:
            # Do not import MLflow just to check: that takes a second, and an unloaded MLflow cannot have raised this.
            if type(error).__module__.split(".")[0] not in ("mlflow", "requests", "urllib3"):
                raise
            first = _safe(str(error).strip().split("\n", 1)[0])[:300]
            raise click.ClickException(_within_terminal(f"the MLflow store could not be read: {first}")) from None


def echo(text: str, *, err: bool = False, bold: bool = False, hanging: str | None = None) -> None:
    """Print lines for people: a terminal gets them within its columns, a file or a pipe whole.

    Run, machine and offer names in them are untrusted.
    """
    from greenlove_mlflow.terminal import can_redraw
    from greenlove_mlflow.words.fitting import fitted

    shown = fitted(printable(text, lines=True), columns(err=err), hanging=hanging)
    is_styled = bold and can_redraw(sys.stderr if err else sys.stdout) and not os.environ.get("NO_COLOR")
    click.echo(click.style(shown, bold=True) if is_styled else shown, err=err)


def echo_whole(text: str, *, err: bool = False) -> None:
    """Print lines for a program, or for a page that lays them out itself: never broken."""
    click.echo(printable(text, lines=True), err=err)


def columns(*, err: bool = False) -> int | None:
    """The columns of the terminal that is printed on; None where there is none."""
    from greenlove_mlflow.terminal import width_of

    return width_of(sys.stderr if err else sys.stdout)


def _within_terminal(message: str) -> str:
    """The message of an error, whose first line follows the word ``Error:``."""
    from greenlove_mlflow.words.fitting import fitted

    return fitted(f"Error: {message}", columns(err=True)).removeprefix("Error: ")


def _safe(text: str) -> str:
    """The text with passwords and terminal control characters removed."""
    return printable(scrubbed(text, secret_values()), lines=True)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="greenlove")
def main() -> None:
    """Estimate what a training run takes in hours, dollars, kWh and CO2e, here and elsewhere."""
