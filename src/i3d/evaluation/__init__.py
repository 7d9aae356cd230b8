"""Tests of a model: scores of labelled clips (`evaluate`), metrics, results as files, and reports."""
