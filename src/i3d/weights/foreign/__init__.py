"""Readers of other projects' weights. None of them executes what a file says."""
