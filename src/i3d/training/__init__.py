"""Parts of a training run: rates, losses, state, logs."""
