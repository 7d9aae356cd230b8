"""Runtimes that compile a network for inference, beside PyTorch itself."""
