"""Segments of videos: what happens from when to when, and the files that hold them."""
