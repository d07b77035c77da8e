"""One OpenAI endpoint for many models: requests go by their ``model`` to its Service, and wait while it is woken.

It knows its models from a file, keeps nothing, and needs no rights in the cluster: several of it run side by side.
"""
