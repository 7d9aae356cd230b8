"""Readers of other projects' weights. None of them executes anything in a file."""
