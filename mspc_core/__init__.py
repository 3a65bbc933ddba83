"""Backdoor Lens without a browser: data, models, detectors, runs and the command line. Importing it loads no torch."""

__version__ = "0.1.0"
