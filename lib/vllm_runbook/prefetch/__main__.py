"""``python -m vllm_runbook.prefetch``."""

import sys

from vllm_runbook.prefetch.command import main

sys.exit(main())
