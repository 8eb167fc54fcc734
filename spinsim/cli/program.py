"""The command-line program, put together from all of its commands."""

from __future__ import annotations

from typing import Annotated

import typer

import spinsim
from spinsim.cli import experiments, fidelity, models, runs
from spinsim.cli.usage import Commands

app = typer.Typer(
    name="spinsim",
    cls=Commands,
    help="Simulate and run schedules of speculative decoding with several heterogeneous drafts.",
    epilog="Exit codes: 0 done, 2 bad input, 1 failed while running (SPINSIM_TRACEBACK=1 in the environment "
    "shows where), 130 interrupted (Ctrl-C or SIGTERM). Partial results are kept.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would take as long to import as everything else
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"spinsim {spinsim.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Prints the version.")
    ] = False,
) -> None:
    pass


for _command in (
    runs.simulate,
    runs.run,
    runs.replay,
    fidelity.profile,
    fidelity.trace,
    fidelity.validate,
    experiments.compare,
    experiments.sweep,
    experiments.tune,
    experiments.capacity,
    runs.report,
    runs.schema,
):
    app.command()(_command)
app.add_typer(models.app, name="models")
