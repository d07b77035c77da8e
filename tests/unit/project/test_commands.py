"""The ``runbook`` command: each of its commands is found by name and loaded alone."""

from __future__ import annotations

import subprocess
import sys

import click

from runbook_cli.main import main


def test_every_command_has_the_name_that_it_is_asked_by() -> None:
    context = click.Context(main)
    names = main.list_commands(context)
    assert {"run", "sandbox", "doctor", "init"} < set(names)
    for name in names:
        command = main.get_command(context, name)
        assert command is not None and command.name == name
        assert command.get_short_help_str(), name


def test_a_command_does_not_load_the_others() -> None:
    code = "import sys; from runbook_cli.main import main; main(['sandbox', '--help'], standalone_mode=False)"
    code += "; print(sorted({'vllm_runbook.doctor', 'plotly', 'papermill'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("\n[]\n"), done.stdout + done.stderr


def test_a_run_does_not_load_a_grammar_of_addresses() -> None:
    code = "import sys, vllm_runbook.runner.run, nbformat, papermill; print('lark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stdout + done.stderr
