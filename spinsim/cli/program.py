"""The command-line program: its commands in the order of ``spinsim --help``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

import spinsim
from spinsim.cli import exports, fidelity, models, runs, starting, studies
from spinsim.cli.command import Command, Instead
from spinsim.cli.usage import Commands

COMMANDS = (
    Command("init", starting.show_started, ask=starting.ask),
    Command("catalogue", starting.show_list, name="list", switches=("json",)),
    Command("simulate", runs.show_run, folder=runs.simulated_folder),
    Command("run", runs.show_run, folder=runs.live_folder),
    Command("replay", runs.show_replay),
    Command(
        "profile",
        fidelity.show_profile,
        instead=Instead(
            "--again",
            "profile_again",
            fidelity.show_drift,
            "Measures some points of the file once more, for intervals.",
        ),
    ),
    Command(
        "trace",
        fidelity.show_trace,
        instead=Instead("--import", "import_trace", fidelity.show_import),
    ),
    Command(
        "validate",
        fidelity.show_validation,
        folder=studies.folder("validate"),
        instead=Instead(
            "--again",
            "validate_again",
            fidelity.show_validation,
            "Simulates anew beside the live runs in --out, without a scenario.",
        ),
    ),
    Command("compare", studies.show_comparison, folder=studies.folder("comparison")),
    Command("sweep", studies.show_sweep, folder=studies.folder("sweep")),
    Command("tune", studies.show_tuning, folder=studies.folder("tuning")),
    Command("capacity", studies.show_capacity, folder=studies.folder("capacity")),
    Command("ladder", studies.show_ladder, folder=studies.folder("ladder")),
    Command(
        "study",
        studies.show_study,
        folder=studies.folder("study"),
        instead=Instead("--check", "check_study", studies.show_check),
    ),
    Command("export", exports.show_export),
    Command("calibrate", exports.show_calibration),
    Command("report", runs.show_report, switches=("quiet",)),
    Command("tables", runs.show_tables, switches=("quiet",)),
    Command("schema", runs.show_schema, switches=()),
)
FAMILY = (
    Command("models.members", models.show_members, name="list", switches=()),
    Command("models.train", models.show_trained, switches=()),
    Command("models.inspect", models.show_inspection, switches=()),
    Command("models.widen", models.show_widened, switches=()),
    Command("models.evaluate", models.show_evaluation, switches=("json",)),
)


def program(commands: Iterable[Command]) -> typer.Typer:
    """``spinsim`` with these commands."""
    app = typer.Typer(
        name="spinsim",
        cls=Commands,
        help="Simulate and run schedules of speculative decoding with several heterogeneous drafts.",
        epilog="Exit codes: 0 done, 2 bad input, 1 failed while running (SPINSIM_TRACEBACK=1 in the "
        "environment shows where), 130 interrupted (Ctrl-C or SIGTERM). Partial results are kept.",
        no_args_is_help=True,
        rich_markup_mode=None,  # plain help: rich would take as long to import as everything else
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_main)
    for command in commands:
        command.add_to(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"spinsim {spinsim.__version__}")
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Prints the version.")
    ] = False,
) -> None:
    pass


app = program(COMMANDS)
family = typer.Typer(
    help="The embedded family of small models.", cls=Commands, no_args_is_help=True, add_completion=False
)
for _command in FAMILY:
    _command.add_to(family)
app.add_typer(family, name="models")
