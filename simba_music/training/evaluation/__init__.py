"""Evaluation: measures of codec, scorer and models, written into REPORT.json."""
