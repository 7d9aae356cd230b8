"""Runtimes other than PyTorch, which compile a network for inference."""
