"""``python -m vllm_runbook.router``."""

import sys

from vllm_runbook.router.command import main

sys.exit(main())
