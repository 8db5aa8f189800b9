"""TensorFlow's log: lines like `WARNING:tensorflow:...` on stderr, warnings and worse unless more is asked for."""

import sys


def warning(text: object) -> None:
    _write("WARNING", text)


def info(text: object) -> None:
    """Shown: the Neuron packages raise the level around the few that they write."""
    _write("INFO", text)


def _write(level: str, text: object) -> None:
    sys.stderr.write("%s:tensorflow:%s\n" % (level, text))
    sys.stderr.flush()
