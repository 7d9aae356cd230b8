"""Weights: our checkpoint file, the shipped pretrained network, and readers of other projects' files."""
