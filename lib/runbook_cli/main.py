"""``runbook``: one command for the notebooks and the sandbox."""

from __future__ import annotations

import click

from vllm_runbook.commands import normalise, run_notebooks
from vllm_runbook.doctor.command import doctor
from vllm_runbook.drills.command import drill
from vllm_runbook.export.commands import diff, export
from vllm_runbook.initialise.command import init
from vllm_runbook.lab.command import lab
from vllm_runbook.monitoring import monitoring
from vllm_runbook.params.command import params
from vllm_runbook.scheduled.commands import roles, schedule, verify
from vllm_sandbox.cli import sandbox


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vllm-runbook")
def main() -> None:
    """Learn, rehearse and run vLLM on Kubernetes."""


main.add_command(init)
main.add_command(sandbox)
main.add_command(run_notebooks)
main.add_command(normalise)
main.add_command(params)
main.add_command(doctor)
main.add_command(drill)
main.add_command(verify)
main.add_command(schedule)
main.add_command(roles)
main.add_command(lab)
main.add_command(export)
main.add_command(diff)
main.add_command(monitoring)

if __name__ == "__main__":
    main()
