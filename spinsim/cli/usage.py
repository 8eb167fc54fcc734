"""A command line that cannot be understood, in one line: what is wrong, and what is allowed."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from spinsim.cli.support import BAD_INPUT
from spinsim.errors import did_you_mean


class Commands(TyperGroup):
    """The program, with errors about its options in one line on stderr and exit code 2."""

    def make_context(self, info_name: str | None, *args: Any, **kwargs: Any) -> Any:
        """As Typer does."""
        try:
            return super().make_context(info_name, *args, **kwargs)
        except Exception as error:
            raise _in_one_line(error, info_name or "spinsim") from None

    def invoke(self, ctx: Any) -> Any:
        """As Typer does."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            raise _in_one_line(error, f"{ctx.command_path} {ctx.invoked_subcommand or ''}".strip()) from None


def _in_one_line(error: Exception, command: str) -> Exception:
    """An exit after the line was printed; ``error`` itself where it is not about the command line.

    Errors are told apart by what they have: older Typers use an installed Click, newer ones bring their own.
    """
    if not hasattr(error, "format_message"):
        return error
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
        return error
    typer.echo(describe(error, command), err=True)
    return typer.Exit(BAD_INPUT)


def describe(error: Any, command: str) -> str:
    """``spinsim COMMAND: what is wrong; what is allowed`` for a usage error of Click.

    ``command`` is the one that was called, where the error does not know it.
    """
    kind = type(error).__name__
    text = " ".join(error.format_message().split())
    path = command if error.ctx is None else error.ctx.command_path
    if kind == "MissingParameter":
        text = f"{_name(error.param)} is missing; {_usage(error.ctx)}"
    elif kind == "NoSuchOption":
        text = _unknown(error.option_name, "option", _options(error.ctx))
    elif kind == "BadOptionUsage":
        said = text.rstrip(".").replace(f"Option '{error.option_name}'", f"{error.option_name}:")
        text = f"{said}; see {path} --help"
    elif kind == "BadParameter" and error.param is not None:
        message = " ".join(str(error.message).split()).removeprefix("Value error, ").rstrip(".")
        message = message.removeprefix("Input ")
        text = f"{_name(error.param)}: {message}{_allowed(error.param, message)}"
    elif text.startswith("No such command"):
        given = text.split("'")[1] if "'" in text else ""
        text = _unknown(given, "command", list(error.ctx.command.commands))
    elif text.startswith("Got unexpected extra argument"):
        text = f"{text[0].lower()}{text[1:].rstrip('.')}; {_usage(error.ctx)}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in f"{path}: {text}")


def _unknown(given: str, what: str, allowed: list[str]) -> str:
    return f"no such {what} {given}; allowed: {', '.join(allowed)}{did_you_mean(given, allowed, quote='')}"


def _name(param: Any) -> str:
    """``SCENARIO`` or ``--seed``."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper()).rstrip(".")
    return str(max(param.opts, key=len))


def _options(ctx: Any) -> list[str]:
    return [
        max(param.opts, key=len)
        for param in ctx.command.get_params(ctx)
        if param.param_type_name == "option" and not getattr(param, "hidden", False)
    ]


def _usage(ctx: Any) -> str:
    """``allowed: spinsim simulate [OPTIONS] SCENARIO``."""
    arguments = [
        str(p.metavar or p.name.upper())
        for p in ctx.command.get_params(ctx)
        if p.param_type_name == "argument"
    ]
    needed = [
        f"{max(p.opts, key=len)} {p.metavar or p.name.upper()}"
        for p in ctx.command.get_params(ctx)
        if p.param_type_name == "option" and p.required
    ]
    return f"allowed: {' '.join([ctx.command_path, '[OPTIONS]', *needed, *arguments])}"


def _allowed(param: Any, message: str) -> str:
    """What the option takes, where the message does not say so already."""
    if any(word in message for word in ("should be", "not one of", "not in the range")):
        return ""
    return f"; allowed: {param.metavar}" if param.metavar else ""
