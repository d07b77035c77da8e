"""``runbook``: one command for the notebooks and the sandbox."""

from __future__ import annotations

from importlib import import_module

import click

_LIBRARY, _SANDBOX = "vllm_runbook", "vllm_sandbox"
#: Where each command is; its name is the command's.
_COMMANDS = {
    "init": f"{_LIBRARY}.initialise.command:init",
    "sandbox": f"{_SANDBOX}.cli:sandbox",
    "run": f"{_LIBRARY}.commands:run_notebooks",
    "normalise": f"{_LIBRARY}.commands:normalise",
    "params": f"{_LIBRARY}.params.command:params",
    "doctor": f"{_LIBRARY}.doctor.command:doctor",
    "drill": f"{_LIBRARY}.drills.command:drill",
    "verify": f"{_LIBRARY}.scheduled.commands:verify",
    "schedule": f"{_LIBRARY}.scheduled.commands:schedule",
    "roles": f"{_LIBRARY}.scheduled.commands:roles",
    "lab": f"{_LIBRARY}.lab.command:lab",
    "export": f"{_LIBRARY}.export.commands:export",
    "diff": f"{_LIBRARY}.export.commands:diff",
    "monitoring": f"{_LIBRARY}.monitoring:monitoring",
}


class _Commands(click.Group):
    """Loads a command when it is asked for: all of them take a second."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(module), name)
        assert isinstance(found, click.Command)
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vllm-runbook")
def main() -> None:
    """Learn, rehearse and run vLLM on Kubernetes."""


if __name__ == "__main__":
    main()
