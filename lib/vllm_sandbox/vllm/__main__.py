"""``python -m vllm_sandbox.vllm serve MODEL …`` or ``api-server --model MODEL …``."""

import sys

from vllm_sandbox.vllm.main import main

sys.exit(main(sys.argv[1:]))
