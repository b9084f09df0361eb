"""Measurements of mmevent; each module is run as ``python -m benchmarks.<name>``."""
