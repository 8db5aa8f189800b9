"""TensorFlow on Inf2 and Trn1 (tensorflow-neuronx): traced, compiled by neuronx-cc, options in NEURON_CC_FLAGS.

One copy runs on one core; `auto_multicore` spreads a copy over several by replication. Sources: AWS Neuron
documentation. Last supported in SDK 2.28; never run on a device by this project. Worker side, Python 3.8.
"""

from types import MappingProxyType
from typing import Any, List, Mapping, Optional, Sequence

from sweep.backends.neuron.sdk import value_of
from sweep.backends.tensorflow import common
from sweep.spec import BuildSpec, Json, Trial

CHOICES = {
    "auto_cast": ("all", "matmult"),
    "optlevel": (1, 2, 3),
    "model_type": ("generic", "transformer", "unet-inference"),
}
DEFAULTS = {"auto_cast": "all", "optlevel": 2, "model_type": "generic"}


class TensorFlowNeuronX(common.TensorFlowNeuron):
    name = "tensorflow_neuronx"
    packages = ("tensorflow", "tensorflow-neuronx", "neuronx-cc")
    build_packages = ("neuronx-cc",)
    compiler = "neuronx-cc"
    targets = ("inf2", "trn1", "trn1n")
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
    compile_options = ("target", *CHOICES, "dynamic_batch", "auto_multicore", "verbose", "extra_args")

    @classmethod
    def build_options(cls, trial: Trial) -> Json:
        """`target: auto` is the hardware's."""
        found = super().build_options(trial)
        if found.get("target", "auto") == "auto":
            found["target"] = trial.hardware.get("target")
        return found

    @classmethod
    def supports(cls, spec: BuildSpec) -> Optional[str]:
        target = spec.options.get("target")
        if target not in cls.targets:
            known = ", ".join(cls.targets)
            return "%s builds for %s, not for %s: choose such hardware or backend.options.target" % (
                cls.name,
                known,
                target,
            )
        for name, choices in CHOICES.items():
            value = spec.options.get(name, DEFAULTS[name])
            if value not in choices:
                return "backend.options.%s=%s is not known: choose %s" % (name, value, ", ".join(map(str, choices)))
        if (spec.cores or 1) > 1 and not spec.options.get("auto_multicore"):
            return "%s runs one copy on one core: use replicas=..., or backend.options.auto_multicore=true" % cls.name
        return super().supports(spec)

    def flags(self, spec: BuildSpec, tf1: bool) -> List[str]:
        chosen = {name: self.options.get(name, default) for name, default in DEFAULTS.items()}
        found = ["--verbose=%s" % self.options.get("verbose", "error"), "--target=%s" % self.options["target"]]
        found.append("--auto-cast=%s" % ("none" if spec.precision == "fp32" else chosen["auto_cast"]))
        if spec.precision != "fp32":
            found.append("--auto-cast-type=%s" % spec.precision)
        found += ["--optlevel=%s" % chosen["optlevel"], "--model-type=%s" % chosen["model_type"]]
        if self.options.get("dynamic_batch"):
            found.append("--dynamic-batch-size")
        return found + [str(word) for word in self.options.get("extra_args") or ()]

    def precision(self, flags: Sequence[str], tf1: bool) -> str:
        cast = value_of(flags, "--auto-cast") or "none"
        return "fp32" if cast == "none" else value_of(flags, "--auto-cast-type") or "bf16"

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
