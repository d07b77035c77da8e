"""A simulated vLLM server: the real one's flags, start-up checks, routes, metrics and ways to end; no model.

What it answers and how it fails was recorded from vLLM 0.32.0. How long things take is a model
of a GPU (timing.py), and how much host memory requests use is an assumption (host_memory.py).
"""

VERSION = "0.32.0"
