"""From annotations to batches of clips."""
