"""Declare how a trained model could be deployed, build and measure every combination, choose with evidence."""

__version__ = "0.1.0"
DISTRIBUTION = "deploy-sweep"  # what `pip install` is given: `sweep` on PyPI is somebody else's
