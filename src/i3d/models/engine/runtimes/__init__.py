"""Runtimes other than PyTorch itself, which a network at rest can be handed to."""
