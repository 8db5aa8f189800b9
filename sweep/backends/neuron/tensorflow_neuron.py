"""TensorFlow on Inf1 (tensorflow-neuron): compiled by neuron-cc, by `saved_model.compile` (1.15) or `trace` (2.x).

Which of the two it is follows from the TensorFlow that is installed. Sources: AWS Neuron documentation (archive of
Inf1), and the plug-in's published source. Never run on a device by this project. Worker side, Python 3.8.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, List, Mapping, Optional, Sequence, Union

from sweep.backends.base import Source
from sweep.backends.neuron.sdk import find_value
from sweep.backends.tensorflow import common
from sweep.spec import BuildSpec
from sweep.spec.declared import setting
from sweep.workloads import SavedModel

STATIC_FROM_CORES = 16
NO_DEADLINE_SECONDS = 30 * 24 * 3600  # TensorFlow 1 would call a compiler that it ended a success without operators
TF1_VERBOSE = {"debug": 2}  # numbers that every neuron-cc knows; 0 would hide its output in a file


@dataclass(frozen=True)
class TensorFlowNeuronOptions(common.TensorFlowOptions):
    fp32_cast: Optional[str] = setting(
        "all",
        "what is cast to `precision`; null: the compiler's own choice, for compilers of 2020",
        choices=("all", "matmult"),
    )
    cores_flag: Optional[str] = setting(
        "--neuroncore-pipeline-cores", "the compiler's flag for `cores`; compilers of 2020: --num-neuroncores"
    )
    static_weights: Union[bool, str] = setting(
        False, "weights stay in the cores of a pipeline; auto: from 16 cores on", choices=("auto",)
    )


class TensorFlowNeuronInf1(common.TensorFlowNeuron):
    name = "tensorflow_neuron"
    options_type = TensorFlowNeuronOptions
    options: TensorFlowNeuronOptions
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

    def flags(self, spec: BuildSpec, tf1: bool) -> List[str]:
        options = self.options
        cores = 1 if options.auto_multicore else spec.cores or 1
        words = [] if tf1 else ["--verbose=%s" % options.verbose]
        cast = options.fp32_cast
        if cast is not None:
            words.append(
                "--fp32-cast=%s"
                % ("all" if (cast, spec.precision) == ("all", "bf16") else "%s-%s" % (cast, spec.precision))
            )
        if tf1 or cores > 1:  # TensorFlow 2 makes switching models fast where it is not asked for a pipeline
            words.append("%s=%d" % (options.cores_flag or TensorFlowNeuronOptions.cores_flag, cores))
        if options.static_weights is True or (options.static_weights == "auto" and cores >= STATIC_FROM_CORES):
            words.append("--static-weights")
        if options.dynamic_batch and not tf1:
            words.append("--dynamic-batch-size")
        return [*words, *map(str, options.extra_args)]

    def precision(self, flags: Sequence[str], tf1: bool) -> str:
        """Without a flag neuron-cc casts to bf16, and TensorFlow 2 asks it for fp16."""
        cast = find_value(flags, "--fp32-cast") or find_value(flags, "--fast-math") or ("" if tf1 else "matmult-fp16")
        return "fp16" if cast.endswith("fp16") else "bf16"

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
                dynamic_batch_size=self.options.dynamic_batch,
                compiler_args=[part for flag in flags for part in flag.split("=", 1)],
                compiler_timeout=NO_DEADLINE_SECONDS,
                compiler_verbose=TF1_VERBOSE.get(self.options.verbose, 1),
            )
        return float(answer["OnNeuronRatio"])


def _saved(model: Any, folder: Path) -> Path:
    """A Keras model of TensorFlow 1 as a SavedModel whose names sort in the order of its inputs and outputs."""
    import tensorflow

    inputs = {"input_%03d" % number: tensor for number, tensor in enumerate(model.inputs)}
    outputs = {"output_%03d" % number: tensor for number, tensor in enumerate(model.outputs)}
    session = tensorflow.keras.backend.get_session()
    tensorflow.saved_model.simple_save(session, str(folder), inputs=inputs, outputs=outputs)
    return folder
