"""``python -m vllm_runbook.load``."""

import sys

from vllm_runbook.load.command import main

sys.exit(main())
