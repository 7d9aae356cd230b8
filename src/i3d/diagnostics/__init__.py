"""Checks of an installation and measurements: `doctor`, `benchmark_data`, `benchmark_model`, `model_zoo`."""
