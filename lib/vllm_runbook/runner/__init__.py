"""Running notebooks in order, headless, with papermill: progress, resuming, summaries and one report."""
