"""One module per notebook: what it creates, how that is verified, and what it needs from the cluster."""
