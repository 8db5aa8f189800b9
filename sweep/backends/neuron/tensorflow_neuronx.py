"""TensorFlow on Inf2 and Trn1 (tensorflow-neuronx): traced, compiled by neuronx-cc, options in NEURON_CC_FLAGS.

One copy runs on one core; `auto_multicore` spreads a copy over several by replication. Sources: AWS Neuron
documentation. Last supported in SDK 2.28; never run on a device by this project. Worker side, Python 3.8.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, List, Mapping, Optional, Sequence

from sweep.backends.neuron.sdk import NeuronxCompilerOptions, find_value
from sweep.backends.tensorflow import common
from sweep.spec import BuildSpec, Json, Trial, from_json
from sweep.spec.declared import setting

TARGETS = ("inf2", "trn1", "trn1n")


@dataclass(frozen=True)
class TensorFlowNeuronXOptions(NeuronxCompilerOptions, common.TensorFlowOptions):
    target: Optional[str] = setting("auto", "auto: that of the hardware", choices=("auto", *TARGETS))


class TensorFlowNeuronX(common.TensorFlowNeuron):
    name = "tensorflow_neuronx"
    options_type = TensorFlowNeuronXOptions
    options: TensorFlowNeuronXOptions
    packages = ("tensorflow", "tensorflow-neuronx", "neuronx-cc")
    build_packages = ("neuronx-cc",)
    compiler = "neuronx-cc"
    targets = TARGETS
    elsewhere = "backend=tensorflow_neuron for inf1; newer ones have no TensorFlow"
    precisions = ("fp32", "bf16", "fp16")
    own_flags: Mapping[str, str] = MappingProxyType(
        {
            "--target": "target",
            "--auto-cast": "auto_cast",
            "--auto-cast-type": "auto_cast, and precision=...",
            "--optlevel": "optlevel",
            "-O": "optlevel",
            "--model-type": "model_type",
            "--dynamic-batch-size": "dynamic_batch",
            "--verbose": "verbose",
        }
    )
    compiles_cores = True

    @classmethod
    def build_options(cls, trial: Trial) -> Json:
        """`target: auto` is the hardware's."""
        options = super().build_options(trial)
        if options.get("target", "auto") == "auto":
            options["target"] = trial.hardware.get("target")
        return options

    @classmethod
    def supports(cls, spec: BuildSpec) -> Optional[str]:
        options = from_json(TensorFlowNeuronXOptions, spec.options)
        if options.target not in cls.targets:
            known = ", ".join(cls.targets)
            return "%s builds for %s, not for %s: choose such hardware or backend.options.target" % (
                cls.name,
                known,
                options.target,
            )
        if (spec.cores or 1) > 1 and not options.auto_multicore:
            return "%s runs one copy on one core: use replicas=..., or backend.options.auto_multicore=true" % cls.name
        return super().supports(spec)

    def flags(self, spec: BuildSpec, tf1: bool) -> List[str]:
        options = self.options
        words = ["--verbose=%s" % options.verbose, "--target=%s" % options.target]
        words.append("--auto-cast=%s" % ("none" if spec.precision == "fp32" else options.auto_cast))
        if spec.precision != "fp32":
            words.append("--auto-cast-type=%s" % spec.precision)
        words += ["--optlevel=%s" % options.optlevel, "--model-type=%s" % options.model_type]
        if options.dynamic_batch:
            words.append("--dynamic-batch-size")
        return [*words, *map(str, options.extra_args)]

    def precision(self, flags: Sequence[str], tf1: bool) -> str:
        cast = find_value(flags, "--auto-cast") or "none"
        return "fp32" if cast == "none" else find_value(flags, "--auto-cast-type") or "bf16"

    def plugin(self) -> Any:
        import tensorflow_neuronx

        return tensorflow_neuronx

    def multicore(self) -> Any:
        """The documentation names `tensorflow.neuron.auto_multicore` for this wheel too."""
        own = getattr(self.plugin(), "auto_multicore", None)
        if own is not None:
            return own
        import tensorflow.neuron

        return tensorflow.neuron.auto_multicore
