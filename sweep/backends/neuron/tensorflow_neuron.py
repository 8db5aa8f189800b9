"""TensorFlow on Inf1 (tensorflow-neuron): compiled by neuron-cc, by `saved_model.compile` (1.15) or `trace` (2.x).

Which of the two it is follows from the TensorFlow that is installed. Sources: AWS Neuron documentation (archive of
Inf1), and the plug-in's published source. Never run on a device by this project. Worker side, Python 3.8.
"""

import tempfile
from pathlib import Path
from types import MappingProxyType
from typing import Any, List, Mapping, Optional, Sequence

from sweep.backends.base import Source
from sweep.backends.neuron.sdk import value_of
from sweep.backends.tensorflow import common
from sweep.spec import BuildSpec
from sweep.workloads import SavedModel

CASTS = ("all", "matmult")
STATIC_FROM_CORES = 16
NO_DEADLINE_SECONDS = 30 * 24 * 3600  # TensorFlow 1 would call a compiler that it ended a success without operators
TF1_VERBOSE = {"debug": 2}  # numbers that every neuron-cc knows; 0 would hide its output in a file


class TensorFlowNeuronInf1(common.TensorFlowNeuron):
    name = "tensorflow_neuron"
    packages = ("tensorflow", "tensorflow-neuron", "neuron-cc")
    build_packages = ("neuron-cc",)
    compiler = "neuron-cc"
    targets = ("inf1",)
    elsewhere = "backend=tensorflow_neuronx"
    precisions = ("bf16", "fp16")
    own_flags: Mapping[str, str] = MappingProxyType(
        {
            "--fp32-cast": "fp32_cast",
            "--neuroncore-pipeline-cores": "cores_flag, and cores=...",
            "--num-neuroncores": "cores_flag, and cores=...",
            "--static-weights": "static_weights",
            "--dynamic-batch-size": "dynamic_batch",
            "--verbose": "verbose",
        }
    )
    compiles_cores = True
    compile_options = (
        "dynamic_batch",
        "fp32_cast",
        "cores_flag",
        "static_weights",
        "auto_multicore",
        "verbose",
        "extra_args",
    )

    @classmethod
    def supports(cls, spec: BuildSpec) -> Optional[str]:
        cast = spec.options.get("fp32_cast", CASTS[0])
        if cast is not None and cast not in CASTS:
            return "backend.options.fp32_cast=%s is not known: choose %s, or null" % (cast, " or ".join(CASTS))
        return super().supports(spec)

    def flags(self, spec: BuildSpec, tf1: bool) -> List[str]:
        cores = 1 if self.options.get("auto_multicore") else spec.cores or 1
        found = [] if tf1 else ["--verbose=%s" % self.options.get("verbose", "error")]
        cast = self.options.get("fp32_cast", CASTS[0])
        if cast is not None:
            found.append(
                "--fp32-cast=%s"
                % ("all" if (cast, spec.precision) == ("all", "bf16") else "%s-%s" % (cast, spec.precision))
            )
        if tf1 or cores > 1:  # TensorFlow 2 makes switching models fast where it is not asked for a pipeline
            found.append("%s=%d" % (self.options.get("cores_flag") or "--neuroncore-pipeline-cores", cores))
        static = self.options.get("static_weights", False)
        if static is True or (static == "auto" and cores >= STATIC_FROM_CORES):
            found.append("--static-weights")
        if self.options.get("dynamic_batch") and not tf1:
            found.append("--dynamic-batch-size")
        return found + [str(word) for word in self.options.get("extra_args") or ()]

    def precision(self, flags: Sequence[str], tf1: bool) -> str:
        """Without a flag neuron-cc casts to bf16, and TensorFlow 2 asks it for fp16."""
        asked = value_of(flags, "--fp32-cast") or value_of(flags, "--fast-math") or ("" if tf1 else "matmult-fp16")
        return "fp16" if asked.endswith("fp16") else "bf16"

    def plugin(self) -> Any:
        import tensorflow.neuron

        return tensorflow.neuron

    def convert(self, source: Source, spec: BuildSpec, folder: Path, flags: List[str]) -> float:
        """As the articles did it: a SavedModel in, a SavedModel out, and the ratio that says what it is worth."""
        plugin = self.plugin()
        model = source.load_model()
        with tempfile.TemporaryDirectory() as work:
            original = model.path if isinstance(model, SavedModel) else _saved(model, Path(work) / "original")
            answer = plugin.saved_model.compile(
                str(original),
                str(folder),
                batch_size=spec.batch,
                dynamic_batch_size=bool(self.options.get("dynamic_batch")),
                compiler_args=[part for flag in flags for part in flag.split("=", 1)],
                compiler_timeout=NO_DEADLINE_SECONDS,
                compiler_verbose=TF1_VERBOSE.get(str(self.options.get("verbose", "error")), 1),
            )
        return float(answer["OnNeuronRatio"])


def _saved(model: Any, folder: Path) -> Path:
    """A Keras model of TensorFlow 1 as a SavedModel whose names sort in the order of its inputs and outputs."""
    import tensorflow

    inputs = {"input_%03d" % number: each for number, each in enumerate(model.inputs)}
    outputs = {"output_%03d" % number: each for number, each in enumerate(model.outputs)}
    session = tensorflow.keras.backend.get_session()
    tensorflow.saved_model.simple_save(session, str(folder), inputs=inputs, outputs=outputs)
    return folder
