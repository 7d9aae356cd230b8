"""The networks: each whole in one file, logits out."""
