"""A local stand-in for the Hugging Face hub, with synthetic weights and faults to order.

``python -m vllm_sandbox.hub`` serves it; :func:`vllm_sandbox.hub.server.running_hub` embeds it.
"""
