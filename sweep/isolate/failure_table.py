"""The table of `failures`: (regular expression, kind), first match wins. Worker side, Python 3.8.

Texts come from the documents and public bug reports of each project, and from what its releases print. What a person
can do about each kind stands in docs/reference/statuses.md.
"""

from typing import Dict, Tuple

from sweep.spec import FailureKind as K

_NEURON: Tuple[Tuple[str, K], ...] = (
    (
        r"NCC_E(?:UOC002|VRF001|HCA005|VRF015)\b|unsupported CustomCall target|unsupported HLO opcode"
        r"|using supported XLA operators only|operator aten::\S+ is not supported|an unsupported operator was used"
        r"|found unhandled resource tensors",
        K.UNSUPPORTED_OPERATOR,
    ),
    (r"NCC_E(?:SPP004|SPP047|VRF004|VRF005|VRF051|VRF052)\b|has unsupported data type", K.UNSUPPORTED_DTYPE),
    (
        r"NCC_EMOD025\b|shapes are not fully defined|batch_size is not sufficient to determine|must have known rank",
        K.DYNAMIC_SHAPE,
    ),
    (
        r"NCC_E(?:OOM001|OOM002|VRF009|XSP001)\b|exceeds (?:the )?(?:high-bandwidth memory|HBM) limit"
        r"|total model size including weights",
        K.MODEL_TOO_LARGE,
    ),
    (r"NCC_E(?:BVF030|VRF007|XTP004)\b|number of instructions generated exceeds", K.GRAPH_TOO_LARGE),
    (
        r"failed with -9\b|compile command returned: -9\b|\bSIG_KILL\b|\[F137\]|BrokenProcessPool"
        r"|(?:^|\n)\s*killed\s*(?:\n|$)",
        K.HOST_OOM,
    ),
    (r"neuronx?-cc is not installed|compiler binary does not exist|neuronx?-cc is not found", K.TOOLCHAIN_MISSING),
    (r"got a cached failed neff", K.COMPILER_CRASH),
    (r"may not be suitable for this network", K.COMPILER_CRASH),
    (
        r"neuronx?-cc: error: (?:unrecognized arguments|argument \S+|the following arguments are required)",
        K.COMPILER_CRASH,
    ),
    (
        r"neuronx?-cc (?:compilation )?failed with -?\d+|compile command returned: -?[1-9]|\bNCC_I\w+"
        r"|\[(?:TEN404|NLA001|F134)\]|internal compiler error"
        r"|\bBIR error\b|compiler status ERROR|\bSIG_ABORT\b|(?-i:\bSEGFAULT\b)|failed compilation with \[",
        K.COMPILER_CRASH,
    ),
    (r"no operations were successfully partitioned", K.PARTIAL_PLACEMENT),
    (
        r"neuron core\(s\) not available|neuroncore\(s\) not available|NERR_RESOURCE_NC|insufficent NCs",
        K.CORE_UNAVAILABLE,
    ),
    (r"could not find VNC id|could not open the nd\d*", K.CORE_UNAVAILABLE),
    (r"unsupported topology. supported number of neuron cores", K.CORE_UNAVAILABLE),
    (
        r"\bNRT_RESOURCE\b|allocation failure|failed to allocate \S+ .{0,80}on ND \d+:NC \d+"
        r"|device mempool .{0,80}total .{0,80}occupied|\bNERR_RESOURCE\b",
        K.DEVICE_OOM,
    ),
    (r"\bNRT_FAIL_HOST_MEM_ALLOC\b", K.HOST_OOM),
    (
        r"unable to determine neuron driver version|requires neuron driver version|no neuron device available"
        r"|neuron runtime cannot be initialized|not compatible with the installed aws-neuron-dkms",
        K.TOOLCHAIN_MISSING,
    ),
    (r"\bNRT_STATE_CHILD\b", K.CRASH),
    (
        r"NEFF version mismatch|features: 0x\w+ are not supported|unsupported hardware operator code"
        r"|\bNRT_UNSUPPORTED_NEFF_VERSION\b",
        K.ARTIFACT_INCOMPATIBLE,
    ),
    (r"inconsistent (?:client |NEFF )?batch sizes", K.SHAPE_MISMATCH),
    (
        r"has dynamic batch axis|invalid input tensor size|incorrect number of input tensors"
        r"|\bNRT_EXEC_BAD_INPUT\b|unable to pad \S+ with shape",
        K.SHAPE_MISMATCH,
    ),
    (r"\bNRT_TIMEOUT\b|timeout exceeded|(?:execution|inference) timeout \(", K.TIMEOUT),
    (r"\bNRT_EXEC_COMPLETED_WITH_NUM_ERR\b|\bINFER_ERROR_SUBTYPE_NUMERICAL\b|\bnumerical error\b", K.NUMERICAL_ERROR),
    (r"\bNRT_EXEC_OOB\b|out-of-bound access", K.CRASH),
    (
        r"\bNRT_HW_ERROR\b|\bNRT_EXEC_HW_ERR\w*|\bNEURON_HW_ERR=|FATAL-RT-UNDEFINED-STATE|EXEC_UNIT_UNRECOVERABLE",
        K.HARDWARE_ERROR,
    ),
    (r"unknown builtin op: neuron::|no such operator neuron::|op type not registered 'NeuronOp'", K.TOOLCHAIN_MISSING),
)

_CUDA: Tuple[Tuple[str, K], ...] = (
    (
        r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation"
        r"|CUDA failure 2\b|torch\.OutOfMemoryError|torch\.cuda\.OutOfMemoryError|\bOutOfMemoryError: (?:CUDA|HIP|XPU)",
        K.DEVICE_OOM,
    ),
    (r"no kernel image is available for execution", K.ARTIFACT_INCOMPATIBLE),
    (
        r"CUDA driver version is insufficient|found no NVIDIA driver|not compiled with CUDA enabled"
        r"|libcuda\.so(?:\.\d+)?: cannot open|lib(?:cudart|cublas\w*|cudnn\w*|nvinfer\w*)\.so\S*: cannot open",
        K.TOOLCHAIN_MISSING,
    ),
    (r"no CUDA GPUs are available|CUDA-capable device\(s\) is/are busy|no CUDA-capable device", K.CORE_UNAVAILABLE),
    (r"uncorrectable ECC error|GPU has fallen off the bus|CUDA error: unspecified launch failure", K.HARDWARE_ERROR),
)

_HOST: Tuple[Tuple[str, K], ...] = (
    (
        r"std::bad_alloc|DefaultCPUAllocator: (?:can't|cannot|not enough) |cannot allocate memory|\bMemoryError\b"
        r"|failed to allocate memory for requested buffer|unable to allocate [\d.]+ [KMGT]iB|LLVM ERROR: out of memory",
        K.HOST_OOM,
    ),
    (r"No space left on device|disk quota exceeded", K.UNKNOWN),
    (r"(?:died with|exited with|signal) <?Signals\.SIGKILL|: killed signal terminated program", K.HOST_OOM),
    (
        r"no working C\+\+ compiler found|InvalidCxxCompiler"
        r"|(?:g\+\+|gcc|clang\+\+|clang|ninja|cc1plus)'?: (?:command )?not found"
        r"|No such file or directory: '(?:\S*/)?(?:g\+\+|gcc|clang\+\+|clang|ninja)'|fatal error: Python\.h",
        K.TOOLCHAIN_MISSING,
    ),
)

_FRAMEWORKS: Tuple[Tuple[str, K], ...] = (
    (
        r"NOT_IMPLEMENTED ?: ?Could not find an implementation|no conversion rule found for operations?"
        r"|model wasn't fully converted|exporting the operator \S+ to ONNX opset version \d+ is not supported"
        r"|ONNX export of operator \S+|no ONNX function found for|no decompositions registered for"
        r"|could not run '\w+::\S+' with arguments from the|is not a registered function/op|missing out variants"
        r"|unsupported operator\b|operator \S+ is not (?:currently )?(?:supported|implemented)"
        r"|unsupported operation of type|unknown builtin op: |no importer registered for op",
        K.UNSUPPORTED_OPERATOR,
    ),
    (
        r"not implemented for '(?:Half|BFloat16|Float|Double|Char|Byte|Int|Long|Bool|Float8\w*|ComplexFloat)'"
        r"|unexpected input data type|must have the same dtype|to have the same dtype"
        r"|expected scalar type \w+ but found"
        r"|input type \(.{1,60}\) and (?:weight|bias) type \(.{1,60}\) should be the same"
        r"|type '?tensor\(\w+\)'? of input parameter .{0,120} is invalid|unsupported (?:data ?type|dtype|precision)\b"
        r"|(?:data ?type|dtype|precision) \S+ is not supported",
        K.UNSUPPORTED_DTYPE,
    ),
    (
        r"data-dependent (?:expression|operation|operator)|DataDependentOutputException|GuardOnDataDependentSymNode"
        r"|constraints violated|DynamicOutputShapeException"
        r"|(?:to_shape|get_shape) was called on a (?:descriptor with )?dynamic"
        r"|dynamic (?:input )?shapes? (?:is|are) not supported|network has dynamic (?:or shape )?inputs",
        K.DYNAMIC_SHAPE,
    ),
    (
        r"exceeds? (?:the )?maximum protobuf size|serialized model (?:is )?larger than the 2 ?GiB|larger than 2GB"
        r"|protobuf larger than 2|larger than the limit \(2147483647",
        K.MODEL_TOO_LARGE,
    ),
    (
        r"unsupported model IR version|protobuf parsing failed|INVALID_PROTOBUF"
        r"|PytorchStreamReader failed|invalid magic number"
        r"|kMaxSupportedFileFormatVersion|opset \d+ is under development and support for this is limited"
        r"|unable to (?:read the model|open file): |incorrect weights in bin file|empty weights data in bin file"
        r"|the engine plan file is (?:not compatible|generated on an incompatible)"
        r"|serialization assertion .{0,40} failed",
        K.ARTIFACT_INCOMPATIBLE,
    ),
    (
        r"shapes cannot be multiplied|got invalid dimensions for input|invalid rank for input"
        r"|size of tensor a \(\d+\) must match"
        r"|operands could not be broadcast|shape '\[.{0,80}\]' is invalid for input of size|size mismatch for \S+"
        r"|given groups=\d+, weight of size|expected input batch_size|mismatch between (?:input|tensor) shapes?"
        r"|model input \(shape=.{1,80}\) and the tensor \(shape=.{1,80}\) are incompatible|shape mismatch"
        r"|input (?:size|shape|dimension)s? (?:must|should|does|do) |stack expects each tensor to be equal size",
        K.SHAPE_MISMATCH,
    ),
    (r"function '\w+' returned nan values|\b(?:nan|inf)s? (?:values? )?(?:found|detected) in", K.NUMERICAL_ERROR),
    (
        r"CppCompileError|C\+\+ compile error|BackendCompilerFailed|LLVM ERROR:|PLEASE submit a bug report"
        r"|InductorError|internal error, please report a bug|Internal Error \(.{0,200}\bbuilder\b",
        K.COMPILER_CRASH,
    ),
    (r"died with <Signals\.SIG(?:SEGV|ABRT|BUS|ILL|FPE)", K.COMPILER_CRASH),
)

ROWS: Tuple[Tuple[str, K], ...] = _NEURON + _CUDA + _HOST + _FRAMEWORKS

# Numbers of the Neuron runtime (NRT_STATUS in its public header); 0 and the states that are no failure are left out
NEURON_STATUS: Dict[int, K] = {
    2: K.ARTIFACT_INCOMPATIBLE,
    4: K.DEVICE_OOM,
    5: K.TIMEOUT,
    6: K.HARDWARE_ERROR,
    9: K.CORE_UNAVAILABLE,
    10: K.ARTIFACT_INCOMPATIBLE,
    11: K.HOST_OOM,
    101: K.HARDWARE_ERROR,
    1002: K.SHAPE_MISMATCH,
    1003: K.NUMERICAL_ERROR,
    1004: K.UNKNOWN,
    1005: K.CORE_UNAVAILABLE,
    1006: K.CRASH,
    1200: K.HARDWARE_ERROR,
    1201: K.HARDWARE_ERROR,
    1202: K.HARDWARE_ERROR,
    1203: K.HARDWARE_ERROR,
    1204: K.HARDWARE_ERROR,
    1205: K.HARDWARE_ERROR,
}
