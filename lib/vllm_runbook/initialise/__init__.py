"""A user's own copies of notebooks, params and manifests: made, and brought to new versions."""
