"""Download one revision of a model into a directory, verified, resumable, safe to run again.

Run as ``python -m vllm_runbook.prefetch`` in a Job that mounts the volume for the weights. Exit codes:
:class:`vllm_runbook.prefetch.outcomes.ExitCode`.
"""
