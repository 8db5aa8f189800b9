"""The command `tf-neuron-auto-multicore`."""

import argparse
import sys
from typing import List, Optional

from tensorflow import _storage
from tensorflow_double.tracing import tagged


def convert_model(arguments: Optional[List[str]] = None) -> int:
    """Write a copy of a compiled SavedModel that will be loaded on several cores."""
    parser = argparse.ArgumentParser(description="CLI for Inferentia Automatic Multicore Inference")
    parser.add_argument("model_dir", help="Model Directory of Inferentia compiled model")
    parser.add_argument("--num_cores", default=1, type=int, help="Number of cores to be replicated")
    parser.add_argument("--new_model_dir", default="new_model", help="New model directory to save modified graph")
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    stored = _storage.read(given.model_dir)
    graph = tagged(stored.graph, given.num_cores, "tensorflow_neuron")
    _storage.write(given.new_model_dir, stored._replace(graph=graph))
    return 0


if __name__ == "__main__":
    sys.exit(convert_model())
