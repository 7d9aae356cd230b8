"""What is wrong with the clips of a dataset, and repairs."""
