"""Real texts of compilers, runtimes and frameworks, and what they must become."""

import concurrent.futures.process
import errno
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.isolate import failures
from sweep.spec import FailureKind as K
from sweep.spec import TrialError

TEXTS = [
    # Neuron: compilers
    ("[NCC_EVRF001] Unsupported operator: ...", K.UNSUPPORTED_OPERATOR),
    ("ERROR: unsupported HLO opcode: rng-bit-generator", K.UNSUPPORTED_OPERATOR),
    ("please consider implementing op with using supported XLA operators only", K.UNSUPPORTED_OPERATOR),
    ("Operator aten::grid_sampler_3d is not supported", K.UNSUPPORTED_OPERATOR),
    ("[NCC_ESPP047] type f8e4m3fn ...", K.UNSUPPORTED_DTYPE),
    ("tensor %arg0 has unsupported data type: complex64", K.UNSUPPORTED_DTYPE),
    ("ValueError: input shapes are not fully defined", K.DYNAMIC_SHAPE),
    (
        "[NCC_EOOM002] Maximum peak HBM usage of 18.12GB exceeds HBM limit of 16.00GB for Trn1",
        K.MODEL_TOO_LARGE,
    ),
    ("[NCC_EBVF030] The number of instructions generated exceeds the limit", K.GRAPH_TOO_LARGE),
    ("RuntimeError: neuronx-cc failed with -9", K.HOST_OOM),
    ("Compile command returned: -9", K.HOST_OOM),
    ("RuntimeError: neuronx-cc failed with 70", K.COMPILER_CRASH),
    ("RuntimeError: neuronx-cc failed with -11", K.COMPILER_CRASH),
    ("[TEN404] Internal tensorizer error: BirCodeGenLoop", K.COMPILER_CRASH),
    ("An Internal Compiler Error has occurred", K.COMPILER_CRASH),
    ("=== BIR error === Reason: Access pattern out of bound.", K.COMPILER_CRASH),
    ("[NCC_INLA001] Unhandled exception with message", K.COMPILER_CRASH),
    ("WARNING: No operations were successfully partitioned and compiled to neuron", K.PARTIAL_PLACEMENT),
    ("neuronx-cc is not installed.", K.TOOLCHAIN_MISSING),
    ("The requested number of neuroncore-pipeline-cores (4) may not be suitable for this network", K.COMPILER_CRASH),
    # Neuron: runtime
    (
        "ERROR NRT:nrt_allocate_neuron_cores NeuronCore(s) not available - Requested:nc1-nc1 Available:0",
        K.CORE_UNAVAILABLE,
    ),
    ("Virtual Neuron Core(s) not available - Requested:2 Available:0 Virtual Core size 1", K.CORE_UNAVAILABLE),
    ("There were insufficent NCs for the requested operation", K.CORE_UNAVAILABLE),
    ("RuntimeError: Could not load the model status=4 message=Allocation Failure", K.DEVICE_OOM),
    ('nrt_tensor_allocate status=4 message="Allocation Failure"', K.DEVICE_OOM),
    ("RuntimeError: Could not load the model status=2 message=Invalid", K.ARTIFACT_INCOMPATIBLE),
    ("Failed to execute the model status=2 message=Invalid", K.SHAPE_MISMATCH),
    ("Failed to execute the model status=5 message=Timeout Exceeded", K.TIMEOUT),
    ("Could not load the model status=9", K.CORE_UNAVAILABLE),
    ("Could not load the model status=10 message=NEFF version", K.ARTIFACT_INCOMPATIBLE),
    ("nrt_execute status=1003", K.NUMERICAL_ERROR),
    ("Failed to execute the model status=1005 message=busy", K.CORE_UNAVAILABLE),
    ("nrt_execute status=1202 message=uncorrectable", K.HARDWARE_ERROR),
    ("NrtError: NRT Error NRT_EXEC_BAD_INPUT(1002): wrong size", K.SHAPE_MISMATCH),
    ("RuntimeError: Inconsistent batch sizes found on inputs", K.SHAPE_MISMATCH),
    ("No neuron device available", K.TOOLCHAIN_MISSING),
    ("Unknown builtin op: neuron::forward_v2", K.TOOLCHAIN_MISSING),
    # GPUs
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.", K.DEVICE_OOM),
    ("RuntimeError: CUDA error: no kernel image is available for execution on the device", K.ARTIFACT_INCOMPATIBLE),
    ("RuntimeError: Found no NVIDIA driver on your system.", K.TOOLCHAIN_MISSING),
    ("AssertionError: Torch not compiled with CUDA enabled", K.TOOLCHAIN_MISSING),
    ("RuntimeError: No CUDA GPUs are available", K.CORE_UNAVAILABLE),
    ("CUDA error: uncorrectable ECC error encountered", K.HARDWARE_ERROR),
    # The host
    ("terminate called after throwing an instance of 'std::bad_alloc'", K.HOST_OOM),
    (
        "RuntimeError: [enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried",
        K.HOST_OOM,
    ),
    ("Failed to allocate memory for requested buffer of size 4294967296", K.HOST_OOM),
    ("g++: fatal error: Killed signal terminated program cc1plus", K.HOST_OOM),
    ("torch._inductor.exc.InvalidCxxCompiler: No working C++ compiler found in ...", K.TOOLCHAIN_MISSING),
    ("OSError: [Errno 28] No space left on device", K.UNKNOWN),
    # Frameworks
    (
        "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for ConvInteger(10) node",
        K.UNSUPPORTED_OPERATOR,
    ),
    (
        "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: x for the following indices",
        K.SHAPE_MISMATCH,
    ),
    (
        "Unexpected input data type. Actual: (tensor(float)) , expected: (tensor(float16))",
        K.UNSUPPORTED_DTYPE,
    ),
    ("Unsupported model IR version: 12, max supported IR version: 10", K.ARTIFACT_INCOMPATIBLE),
    ("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model failed:Protobuf parsing failed.", K.ARTIFACT_INCOMPATIBLE),
    ("No conversion rule found for operations: aten::special_zeta", K.UNSUPPORTED_OPERATOR),
    (
        "Exporting the operator 'aten::fft_rfft' to ONNX opset version 13 is not supported.",
        K.UNSUPPORTED_OPERATOR,
    ),
    (
        "Can't set the input tensor with index: 0, because the model input (shape=[1,3,224,224]) and the tensor "
        "(shape=(5.3.224.224)) are incompatible",
        K.SHAPE_MISMATCH,
    ),
    ("NotImplementedError: \"addmm_impl_cpu_\" not implemented for 'Half'", K.UNSUPPORTED_DTYPE),
    ("mat1 and mat2 must have the same dtype, but got Float and Half", K.UNSUPPORTED_DTYPE),
    ("mat1 and mat2 shapes cannot be multiplied (1x10 and 20x5)", K.SHAPE_MISMATCH),
    ("The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1", K.SHAPE_MISMATCH),
    (
        "Given groups=1, weight of size [8, 3, 3, 3], expected input[1, 1, 28, 28] to have 3 channels",
        K.SHAPE_MISMATCH,
    ),
    ("ValueError: operands could not be broadcast together with shapes (2,) (3,)", K.SHAPE_MISMATCH),
    (
        "symbolic_shapes.GuardOnDataDependentSymNode: Could not guard on data-dependent expression",
        K.DYNAMIC_SHAPE,
    ),
    ("torch._inductor.exc.CppCompileError: C++ compile error", K.COMPILER_CRASH),
    ("PytorchStreamReader failed reading zip archive: failed finding central directory", K.ARTIFACT_INCOMPATIBLE),
    ("ValueError: Message onnx.ModelProto exceeds maximum protobuf size of 2GB: 3000000000", K.MODEL_TOO_LARGE),
    (
        "No ONNX function found for <OpOverload(op='aten.special_zeta', overload='default')>",
        K.UNSUPPORTED_OPERATOR,
    ),
]


@pytest.mark.parametrize(("text", "kind"), TEXTS)
def test_real_texts(text: str, kind: K) -> None:
    assert failures.classify(None, f"loading\n{text}\ndone\n")[0] is kind
    assert failures.classify(RuntimeError(text), "")[0] is kind
    assert failures.classify(None, text)[1] == failures.shorten(text)


@pytest.mark.parametrize(
    "text",
    [
        "epoch 4 of 9, step 1003, loss 0.11, 1202 images",
        "GET /models status=404 in 5 ms",
        "worker status=9 reported by the dashboard",
        "neuronx-cc: child ended with exit status=4",
        "['neuron-top', '-x'] returned non-zero exit status 9.",
        "1005",
        "compiled in 70 s",
        "accuracy -9 points",
        "Compiler status PASS",
        "",
    ],
)
def test_bare_numbers_and_harmless_lines_mean_nothing(text: str) -> None:
    assert failures.match(text) is None
    assert failures.classify(None, text)[0] is K.UNKNOWN


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TrialError(K.PARTIAL_PLACEMENT, "half of it"), K.PARTIAL_PLACEMENT),
        (MemoryError(), K.HOST_OOM),
        (ModuleNotFoundError("No module named 'x'"), K.TOOLCHAIN_MISSING),
        (ImportError("cannot import name 'x'"), K.TOOLCHAIN_MISSING),
        (TimeoutError("10 s"), K.TIMEOUT),
        (subprocess.TimeoutExpired("cc", 3), K.TIMEOUT),
        (subprocess.CalledProcessError(-9, "cc"), K.HOST_OOM),
        (subprocess.CalledProcessError(-11, "cc"), K.COMPILER_CRASH),
        (subprocess.CalledProcessError(1, "cc"), K.UNKNOWN),
        (concurrent.futures.process.BrokenProcessPool("a child died"), K.HOST_OOM),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), K.HOST_OOM),
        (FloatingPointError("overflow"), K.NUMERICAL_ERROR),
        (KeyError("pixel_values"), K.UNKNOWN),
    ],
)
def test_the_type_of_an_exception(error: BaseException, kind: K) -> None:
    assert failures.classify(error, "")[0] is kind


def test_full_disk_is_named() -> None:
    assert failures.classify(OSError(errno.ENOSPC, "No space left on device"), "") == (
        K.DISK_FULL,
        "disk full: OSError: [Errno 28] No space left on device",
    )


def raised(outer: Exception, inner: Exception, *, named: bool) -> Exception:
    try:
        try:
            raise inner
        except Exception as error:
            if named:
                raise outer from error
            raise outer  # noqa: B904  # what a library does that tries, fails and goes on
    except Exception as error:
        return error


def test_cause_classifies_unknown_exception() -> None:
    assert failures.classify(raised(RuntimeError("export failed"), MemoryError(), named=True), "")[0] is K.HOST_OOM
    inner = RuntimeError("Operator aten::x is not supported")
    assert failures.classify(raised(RuntimeError("failed"), inner, named=False), "")[0] is K.UNSUPPORTED_OPERATOR


def test_tried_import_is_not_the_reason() -> None:
    error = raised(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ImportError("no apex"), named=False)
    assert failures.classify(error, "")[0] is K.SHAPE_MISMATCH


def test_log_classifies_unknown_exception() -> None:
    assert failures.classify(RuntimeError("failed"), "x\n[F137] killed\n")[0] is K.HOST_OOM
    assert failures.classify(ValueError("shape mismatch"), "[F137] killed")[0] is K.SHAPE_MISMATCH


def test_summary_of_exit() -> None:
    stack = 'Fatal Python error: x\n\nCurrent thread (most recent call first):\n  File "/a/b.py", line 7 in run\n'
    assert failures.classify_exit(None, "SIGSEGV", stack) == (K.CRASH, "killed by SIGSEGV in run (b.py:7)")
    assert failures.classify_exit(3, None, "") == (K.CRASH, "ended with exit code 3 and left no result")
    assert failures.classify_exit(1, None, "x\nBIR error: bad\ny")[0] is K.COMPILER_CRASH
    assert "BIR error: bad" in failures.classify_exit(1, None, "x\nBIR error: bad\ny")[1]


def test_no_row_matches_what_is_no_failure() -> None:
    for row in failures.TABLE:
        assert not row.pattern.search("")
        assert not row.pattern.search("everything went well in 12 of 12 steps\n")


def test_shorten_takes_first_line_with_text() -> None:
    assert failures.shorten("\n  \n-----\n\x1b[31mred\x1b[0m  words\tand\rmore\nnext") == "red words and"
    assert failures.shorten("") == ""
    assert len(failures.shorten("x" * 1000)) == failures.SUMMARY_CHARACTERS


EXPORT = """Failed to export the model with torch.export. \x1b[96mThis is step 1/3\x1b[0m of exporting. Next steps:
- Modify the model code for `torch.export.export` to succeed.

## Exception summary

<class 'torch.fx.experimental.symbolic_shapes.GuardOnDataDependentSymNode'>: Could not guard on Eq(u0, 1)

(Refer to the full stack trace above for more information.)"""
CONVERT = """Exception from src/inference/src/cpp/core.cpp:109:
Exception from src/inference/src/dev/plugin.cpp:54:
Check 'false' failed at src/frontends/onnx/frontend/src/frontend.cpp:411:
FrontEnd API failed with OpConversionFailure:
No conversion rule for the operator com.example.Foo
"""


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (EXPORT, "GuardOnDataDependentSymNode: Could not guard on Eq(u0, 1)"),
        (CONVERT, "No conversion rule for the operator com.example.Foo"),
        ("plain\nsecond", "plain"),
        ("Exception from src/a.cpp:1:\n", "Exception from src/a.cpp:1:"),
        ("mat1 and mat2 shapes cannot be multiplied (4x3 and 4x3)\nmore", "mat1 and mat2 shapes cannot be multiplied"),
        ("", ""),
    ],
)
def test_shown_line_names_the_cause_and_not_the_place(message: str, cause: str) -> None:
    assert failures.pick_cause(message).startswith(cause)
    assert failures.classify(RuntimeError(message), "")[1].startswith(f"RuntimeError: {cause}" if cause else "Runtime")


TEXTS_OF_RELEASES = sorted((Path(__file__).parent / "failure_texts").glob("*.txt"))
GRAPH = """Graph execution error:

Detected at node net/dense/MatMul defined at (most recent call last):
  File "train.py", line 1, in <module>
Matrix size-incompatible: In[0]: [4,5], In[1]: [4,4]
\t [[{{node net/dense/MatMul}}]] [Op:__inference_call_12]"""
COMPILER = """C++ compile error

Command:
g++ /tmp/a.cpp -fPIC -o /tmp/a.so

Output:
/tmp/a.cpp:2:10: fatal error: omp.h: No such file or directory
compilation terminated."""


@pytest.mark.parametrize("file", TEXTS_OF_RELEASES, ids=lambda file: file.stem)
def test_texts_that_releases_print_are_shown_by_their_cause(file: Path) -> None:
    """Texts of torch 2.13, onnxruntime 1.32, openvino 2026.4 and nncf 3.4; above each what must be shown of it."""
    shown, _, text = file.read_text().partition("\n---\n")
    assert failures.pick_cause(text).startswith(shown)


def test_lines_behind_a_head_are_found_by_what_stands_round_them() -> None:
    assert failures.pick_cause(GRAPH).startswith("Matrix size-incompatible: In[0]: [4,5]")
    assert failures.pick_cause(COMPILER) == "fatal error: omp.h: No such file or directory"


@given(st.text())
def test_shorten_gives_one_short_printable_line(text: str) -> None:
    line = failures.shorten(text)
    assert len(line) <= failures.SUMMARY_CHARACTERS
    assert "\n" not in line
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in line)
    assert failures.shorten(line) == line


@given(st.text())
def test_no_text_breaks_the_classifier(text: str) -> None:
    assert isinstance(failures.classify(None, text)[0], K)
    assert isinstance(failures.classify_exit(1, None, text)[0], K)


def test_an_exception_that_cannot_print_itself() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert failures.classify(BrokenError(), "") == (K.UNKNOWN, "BrokenError")


def test_a_long_log_is_searched_quickly_and_only_at_its_end() -> None:
    early = "Operator aten::x is not supported\n" + "all fine\n" * 10000
    assert failures.classify(None, early)[0] is K.UNKNOWN
