"""Layouts of features that code bases of temporal localisation and of anomaly detection read."""
