"""All that can be made to go wrong, as data. `row` is the row of the failure taxonomy that must recognise it.

Stages: `trace` in the Python process before the compiler starts, `compile` in the compiler's own process, `load` when a
model is put on a core, `execute` at a call, `ls` and `monitor` in the tools, `absent` a program that is not there.

Effects: `raise` the text; `exit` with that code after printing the text; `signal` the process itself; `hang` (with a
child of its own); `delay`; `data`: the double itself does what the name says.
"""

import signal
from typing import Dict, NamedTuple, Optional, Tuple


class Fault(NamedTuple):
    row: Optional[int]
    stage: str
    effect: str
    texts: Tuple[str, ...] = ()
    code: int = 0  # exit status, or the signal


BANNER = "An Internal Compiler Error has occurred\nError class: AssertionError\nError message: "
# What neuron-cc 1.0.18001.0 wrote for nine of the fifteen compilations of a ResNet-50 that were published in 2020
SCHEDULER = "\n".join(
    "10/18/2020 07:48:26 AM ERROR [neuron-cc]: " + line
    for line in (
        "*" * 63,
        " An Internal Compiler Error has occurred",
        "*" * 63,
        "",
        "Error message:  Scheduler Failure!",
        "",
        "Error class:    AssertionError",
        "Error location: job.Scheduler.3",
        "",
        "Version information:",
        "  Neuron Compiler version 1.0.18001.0+0.5312e6a21",
    )
)
BUSY = "ERROR NRT:nrt_allocate_neuron_cores NeuronCore(s) not available - Requested:%s Available:%d"
BUSY_LOGICAL = "Virtual Neuron Core(s) not available - Requested:%d Available:%d Virtual Core size %d"
NO_RUNTIME = "Neuron runtime cannot be initialized; cannot determine the number of available NeuronCores"
NO_MEMORY = "Could not load the model status=4 message=Allocation Failure"
INVALID = "Could not load the model status=2 message=Invalid"
FORKED = "NRT:nrt_init Incompatible runtime state: NRT_STATE_CHILD"
NO_OPERATIONS = "No operations were successfully partitioned and compiled to neuron for this model - aborting trace!"
NOT_ENOUGH = "Could not load the model status=9 message=NRT_LOAD_NOT_ENOUGH_NC"
OTHER_VERSION = "Could not load the model status=10 message=NEFF version mismatch"
INCONSISTENT = "Inconsistent batch sizes found on inputs"


def _refusal(row: int, *texts: str) -> Fault:
    return Fault(row, "compile", "exit", texts, 70)


def _nrt(row: int, stage: str, *texts: str) -> Fault:
    return Fault(row, stage, "raise", texts)


FAULTS: Dict[str, Fault] = {
    "unsupported_operator": _refusal(
        1,
        "[NCC_EUOC002] An unsupported operator was used: fft",
        "[NCC_EVRF001] unsupported HLO opcode: fft",
        "[NCC_EHCA005] Unsupported CustomCall target: Fft",
        "[NCC_EVRF015] Unsupported CustomCall target: Fft",
    ),
    "unsupported_aten": _nrt(1, "trace", "Operator aten::fft_fft is not supported"),
    "unsupported_dtype": _refusal(
        2,
        "[NCC_ESPP004] the operand has unsupported data type f64",
        "[NCC_ESPP047] float8_e4m3fn",
        "[NCC_EVRF004] complex64",
        "[NCC_EVRF005] float8",
        "[NCC_EVRF051] float8_e4m3fn on TRN1/TRN2",
        "[NCC_EVRF052] float8",
    ),
    "dynamic_shape": _refusal(3, "[NCC_EMOD025] dynamic shapes"),
    "model_too_large": _refusal(
        4,
        "[NCC_EOOM002] Maximum peak HBM usage of 18.12GB exceeds HBM limit of 16.00GB for Trn1",
        "[NCC_EOOM001] exceeds the high-bandwidth memory limit",
        "[NCC_EVRF009] exceeds the HBM limit",
        "[NCC_EXSP001] exceeds HBM limit",
    ),
    "graph_too_large": _refusal(
        5,
        "[NCC_EXTP004] number of instructions generated exceeds the limit",
        "[NCC_EBVF030] number of instructions generated exceeds the limit",
        "[NCC_EVRF007] number of instructions generated exceeds the limit",
    ),
    "compiler_oom": Fault(6, "compile", "signal", code=signal.SIGKILL),
    "compiler_oom_reported": Fault(6, "compile", "exit", ("[F137]", "SIG_KILL", "BrokenProcessPool"), 1),
    "compile_hang": Fault(7, "compile", "hang"),
    "compile_delay": Fault(None, "compile", "delay"),
    "compiler_crash": _refusal(
        8,
        BANNER + "Assertion 'deltaElems <= max' failed",
        "[NCC_INLA001] Unhandled exception: Allocated memory out of bound",
        "[NCC_IBIR605]",
        "[TEN404] Internal tensorizer error",
        "[NLA001] Unhandled exception",
        "[F134] neuronx-cc terminated abnormally",
        "=== BIR error === Reason: Access pattern out of bound. SIG_ABORT",
        "Compiler status ERROR",
    ),
    "scheduler_failure": Fault(8, "compile", "exit", (SCHEDULER,), 1),
    "compiler_fails": Fault(8, "compile", "exit", ("",), 1),
    "compiler_segfault": Fault(8, "compile", "signal", code=signal.SIGSEGV),
    "compiler_abort": Fault(8, "compile", "signal", code=signal.SIGABRT),
    "trace_segfault": Fault(8, "trace", "signal", code=signal.SIGSEGV),
    "bad_pipeline_size": Fault(
        9,
        "compile",
        "exit",
        ("The requested number of neuroncore-pipeline-cores (4) may not be suitable for this network",),
        1,
    ),
    "no_ops_on_device": Fault(10, "trace", "data", (NO_OPERATIONS,)),
    "toolchain_missing": _nrt(
        11, "trace", "neuronx-cc is not installed", "compiler binary does not exist", "neuron-cc is not found"
    ),
    "compiler_absent": Fault(11, "absent", "data"),
    "cached_failure": _nrt(12, "trace", "Got a cached failed neff. Will skip compilation"),
    "core_unavailable": _nrt(
        13,
        "load",
        BUSY % ("nc1-nc1", 0),
        BUSY_LOGICAL % (2, 0, 1),
        "There were insufficent NCs for the requested operation NERR_RESOURCE_NC",
        "Failed to execute the model status=1005 message=NC Busy",
    ),
    "not_enough_cores": _nrt(14, "load", "Could not find VNC id 2", "Could not open the nd1", NOT_ENOUGH),
    "device_oom": _nrt(
        15,
        "load",
        NO_MEMORY,
        'nrt_tensor_allocate status=4 message="Allocation Failure"',
        "Failed to allocate 1048576 bytes on ND 0:NC 1",
        "device mempool 0 total 17179869184 occupied 17179869184",
    ),
    "device_oom_at_call": _nrt(15, "execute", 'nrt_tensor_allocate status=4 message="Allocation Failure"'),
    "host_oom": _nrt(16, "load", "Could not load the model status=11 message=NRT_FAIL_HOST_MEM_ALLOC"),
    "runner_killed": Fault(16, "execute", "signal", code=signal.SIGKILL),
    "runtime_unavailable": _nrt(
        17,
        "load",
        NO_RUNTIME,
        "Unable to determine Neuron Driver version",
        "This runtime requires Neuron Driver version 2.x",
        "No neuron device available",
        "not compatible with the installed aws-neuron-dkms",
    ),
    "fork_after_init": _nrt(18, "load", FORKED),
    "artifact_incompatible": _nrt(
        19,
        "load",
        INVALID,
        OTHER_VERSION,
        "features: 0x80 are not supported",
        "Unsupported hardware operator code 214",
    ),
    "shape_mismatch": _nrt(
        20,
        "execute",
        INCONSISTENT,
        "Failed to execute the model status=1002 message=Bad input",
        "Failed to execute the model status=2 message=Invalid",
    ),
    "exec_timeout": _nrt(
        21,
        "execute",
        "Failed to execute the model status=5 message=Timeout Exceeded",
        "execution timeout (30000 ms)",
        "inference timeout (10000 ms)",
    ),
    "numerical_error": _nrt(
        22,
        "execute",
        "Failed to execute the model status=1003 message=numerical error",
        "INFER_ERROR_SUBTYPE_NUMERICAL",
    ),
    "oob_input": _nrt(23, "execute", "Failed to execute the model status=1006 message=out-of-bound access"),
    "hardware_error": _nrt(
        24,
        "execute",
        "Failed to execute the model status=6 message=HW Error",
        "Failed to execute the model status=101 message=Unrecoverable",
        "Failed to execute the model status=1200 message=Collectives",
        "Failed to execute the model status=1201 message=HBM",
        "Failed to execute the model status=1202 message=NC",
        "Failed to execute the model status=1203 message=DMA",
        "Failed to execute the model status=1205 message=HBM",
        "NEURON_HW_ERR=1",
        "FATAL-RT-UNDEFINED-STATE",
    ),
    "extension_not_imported": _nrt(25, "load", "Unknown builtin op: neuron::forward_v2"),
    "bad_tp_degree": _nrt(26, "load", "Unsupported topology. Supported number of Neuron Cores: 1, 2, 8, 32"),
    "load_delay": Fault(None, "load", "delay"),
    "load_hang": Fault(None, "load", "hang"),
    "execute_delay": Fault(None, "execute", "delay"),
    "execute_hang": Fault(None, "execute", "hang"),
    "wrong_answers": Fault(None, "execute", "data"),
    "nan_outputs": Fault(None, "execute", "data"),
    "silent_cpu_fallback": Fault(None, "trace", "data"),
    "low_on_device_ratio": Fault(None, "trace", "data"),
    "ls_absent": Fault(None, "absent", "data"),
    "ls_fails": Fault(None, "ls", "exit", ("neuron-ls: No neuron device found",), 1),
    "ls_hang": Fault(None, "ls", "hang"),
    "ls_broken": Fault(None, "ls", "data"),
    "monitor_absent": Fault(None, "absent", "data"),
    "monitor_fails": Fault(None, "monitor", "exit", ("neuron-monitor: no Neuron driver",), 1),
    "monitor_hang": Fault(None, "monitor", "hang"),
    "monitor_partial_line": Fault(None, "monitor", "data"),
    "monitor_missing_groups": Fault(None, "monitor", "data"),
}
OPTIONS = (
    "times",
    "after",
    "seconds",
    "variant",
    "ratio",
)  # of an injected fault; everything else says when it strikes
