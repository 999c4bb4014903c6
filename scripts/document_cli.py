"""Prints docs/reference/cli.md from the commands themselves. `make docs` writes the page; a test compares it."""

from __future__ import annotations

import enum
import inspect
import re
import textwrap
from collections.abc import Iterator

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from planmesh.cli.main import make_app

HEAD = """# Command line

Every command has `--help`, which prints what this page has. Most commands have `--json`; [its
page](cli-json.md) documents the objects that they print.

| exit code | meaning |
|---|---|
| 0 | The command did what it was asked to do. |
| 1 | The command failed, or found something wrong. The message on standard error says what. |
| 2 | The arguments are wrong. |

`make docs` generates this page from the commands.
"""

COLUMNS = 100

DEFAULT = re.compile(r"\s*\[default: (.*)\]$")
"""Pattern by which a help text explains a default that the command computes."""


def cell(text: str) -> str:
    """Escape text for a table cell."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "\\<").strip()


def commands(group: TyperGroup, prefix: str) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Yield every command below a group, with its full name, in the order of `--help`."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{prefix} {name}")
        else:
            assert isinstance(command, typer.core.TyperCommand)
            yield f"{prefix} {name}", command


def argument_name(argument: TyperArgument) -> str:
    """Return the name of an argument in the usage."""
    return (argument.metavar or argument.name or "").upper()


def usage(name: str, command: typer.core.TyperCommand) -> str:
    """Return the command line with its arguments."""
    arguments = [parameter for parameter in command.params if isinstance(parameter, TyperArgument)]
    shown = [argument_name(each) if each.required else f"[{argument_name(each)}]" for each in arguments]
    return " ".join([name, *shown, "[OPTIONS]"])


def default_and_meaning(parameter: TyperArgument | TyperOption) -> tuple[str, str]:
    """Return two cells: names and help. The help, or typer's `show_default`, explains a computed default."""
    text = parameter.help or ""
    explained = DEFAULT.search(text)
    if explained:
        return cell(explained.group(1)), cell(text[: explained.start()])
    if isinstance(parameter.show_default, str):
        return cell(parameter.show_default), cell(text)
    default = parameter.default
    if not parameter.show_default or default is None or default is False or default == () or callable(default):
        return "-", cell(text)
    if default is True and parameter.secondary_opts:
        return f"`{parameter.opts[0]}`", cell(text)
    return f"`{default.value if isinstance(default, enum.Enum) else default}`", cell(text)


def value_name(option: TyperOption) -> str:
    """Return the placeholder for an option's value, "" for a flag."""
    if option.is_flag:
        return ""
    kind = option.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " " + "\\|".join(str(choice.value) for choice in kind)
    return f" {option.metavar or getattr(kind, '__name__', str(kind)).upper()}"


def rows(command: typer.core.TyperCommand) -> Iterator[str]:
    """Return the rows of a command's table, arguments first."""
    for parameter in command.params:
        if isinstance(parameter, TyperArgument):
            yield f"| `{argument_name(parameter)}` | {' | '.join(default_and_meaning(parameter))} |"
    for parameter in command.params:
        if isinstance(parameter, TyperOption) and not parameter.hidden:
            names = "`, `".join([*parameter.opts, *parameter.secondary_opts])
            variable = f" or `{parameter.envvar}`" if isinstance(parameter.envvar, str) else ""
            default, meaning = default_and_meaning(parameter)
            yield f"| `{names}{value_name(parameter)}`{variable} | {default} | {meaning} |"


def description(command: typer.core.TyperCommand) -> Iterator[str]:
    """Return the paragraphs of the help, with examples as code."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "").replace("\b", "")):
        text = re.sub(r"\s+", " ", paragraph).strip()
        if text.startswith("Example: "):
            yield f"```sh\n{text.removeprefix('Example: ')}\n```"
        elif text:
            yield textwrap.fill(text, COLUMNS, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    """Print the page."""
    group = typer.main.get_command(make_app())
    assert isinstance(group, TyperGroup)
    pages = [HEAD]
    for name, command in commands(group, "planmesh"):
        lines = [f"## {name}", f"`{usage(name, command)}`", *description(command)]
        table = [*rows(command)]
        if table:
            lines.append("| argument or option | default | meaning |\n|---|---|---|\n" + "\n".join(table))
        pages.append("\n\n".join(lines) + "\n")
    print("\n".join(pages), end="")


if __name__ == "__main__":
    main()
