"""Send streaming chat completions at a given rate, and account for every one of them.

Run as ``python -m vllm_runbook.load`` in a Job. The loop is open: requests start when the schedule says so, whatever
became of those before. Exit codes: :class:`vllm_runbook.load.outcomes.ExitCode`.
"""
