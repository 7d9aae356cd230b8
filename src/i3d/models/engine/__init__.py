"""Inference: a prepared network, run by PyTorch or by a compiling runtime."""
