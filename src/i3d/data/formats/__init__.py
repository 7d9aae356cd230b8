"""Readers of the lists and folder layouts of the field: each turns one of them into `annotations.Rows`."""
