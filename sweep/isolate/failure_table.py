"""The table of `failures`: (regular expression, kind, advice), first match wins. Worker side, Python 3.8.

Texts come from the documents and public bug reports of each project, and from what its releases print.
"""

from typing import Dict, Tuple

from sweep.spec import FailureKind as K

_OPERATOR = "keep this operator on the host, replace it in the model, or use another backend"
_DTYPE = "use another precision"
_SHAPE = "the inputs must have the shapes and types that the build was made for"
_STATIC = "give every input a fixed shape, or list the shapes as buckets"
_SMALLER = "use a smaller batch, a lower precision, or more cores per copy"
_DEVICE_MEMORY = "use a smaller batch, fewer replicas, or a lower precision"
_HOST_MEMORY = "allow more memory, build fewer at once, or use a smaller batch"
_COMPILER = "use another batch, precision or compiler version; the log has the compiler's own report"
_CORES = "another process holds the cores, or the host has fewer than asked for"
_TOO_FEW = "the model needs more NeuronCores than this process has: use fewer cores, or a larger host"
_REBUILD = "build again with the versions that are installed here"

_NEURON: Tuple[Tuple[str, K, str], ...] = (
    (
        r"NCC_E(?:UOC002|VRF001|HCA005|VRF015)\b|unsupported CustomCall target|unsupported HLO opcode"
        r"|using supported XLA operators only|operator aten::\S+ is not supported|an unsupported operator was used"
        r"|found unhandled resource tensors",
        K.UNSUPPORTED_OPERATOR,
        _OPERATOR,
    ),
    (r"NCC_E(?:SPP004|SPP047|VRF004|VRF005|VRF051|VRF052)\b|has unsupported data type", K.UNSUPPORTED_DTYPE, _DTYPE),
    (
        r"NCC_EMOD025\b|shapes are not fully defined|batch_size is not sufficient to determine|must have known rank",
        K.DYNAMIC_SHAPE,
        _STATIC,
    ),
    (
        r"NCC_E(?:OOM001|OOM002|VRF009|XSP001)\b|exceeds (?:the )?(?:high-bandwidth memory|HBM) limit"
        r"|total model size including weights",
        K.MODEL_TOO_LARGE,
        _SMALLER,
    ),
    (
        r"NCC_E(?:BVF030|VRF007|XTP004)\b|number of instructions generated exceeds",
        K.GRAPH_TOO_LARGE,
        "use a smaller batch, or cut the model into parts",
    ),
    (
        r"failed with -9\b|compile command returned: -9\b|\bSIG_KILL\b|\[F137\]|BrokenProcessPool"
        r"|(?:^|\n)\s*killed\s*(?:\n|$)",
        K.HOST_OOM,
        _HOST_MEMORY,
    ),
    (
        r"neuronx?-cc is not installed|compiler binary does not exist|neuronx?-cc is not found",
        K.TOOLCHAIN_MISSING,
        "install the Neuron compiler of this framework, and put it on PATH",
    ),
    (
        r"got a cached failed neff",
        K.COMPILER_CRASH,
        "an earlier failure is cached: compile with --retry_failed_compilation",
    ),
    (r"may not be suitable for this network", K.COMPILER_CRASH, "use another number of pipeline cores"),
    (
        r"neuronx?-cc: error: (?:unrecognized arguments|argument \S+|the following arguments are required)",
        K.COMPILER_CRASH,
        "this release of the compiler does not take that flag: look at backend.options",
    ),
    (
        r"neuronx?-cc (?:compilation )?failed with -?\d+|compile command returned: -?[1-9]|\bNCC_I\w+"
        r"|\[(?:TEN404|NLA001|F134)\]|internal compiler error"
        r"|\bBIR error\b|compiler status ERROR|\bSIG_ABORT\b|(?-i:\bSEGFAULT\b)|failed compilation with \[",
        K.COMPILER_CRASH,
        _COMPILER,
    ),
    (
        r"no operations were successfully partitioned",
        K.PARTIAL_PLACEMENT,
        "nothing of the model runs on the device: look at the operators that the compiler supports",
    ),
    (
        r"neuron core\(s\) not available|neuroncore\(s\) not available|NERR_RESOURCE_NC|insufficent NCs",
        K.CORE_UNAVAILABLE,
        _CORES,
    ),
    (r"could not find VNC id|could not open the nd\d*", K.CORE_UNAVAILABLE, _TOO_FEW),
    (r"unsupported topology. supported number of neuron cores", K.CORE_UNAVAILABLE, "use a supported number of cores"),
    (
        r"\bNRT_RESOURCE\b|allocation failure|failed to allocate \S+ .{0,80}on ND \d+:NC \d+"
        r"|device mempool .{0,80}total .{0,80}occupied|\bNERR_RESOURCE\b",
        K.DEVICE_OOM,
        _DEVICE_MEMORY,
    ),
    (r"\bNRT_FAIL_HOST_MEM_ALLOC\b", K.HOST_OOM, _HOST_MEMORY),
    (
        r"unable to determine neuron driver version|requires neuron driver version|no neuron device available"
        r"|neuron runtime cannot be initialized|not compatible with the installed aws-neuron-dkms",
        K.TOOLCHAIN_MISSING,
        "install or update the Neuron driver, and check that the host has a Neuron device",
    ),
    (r"\bNRT_STATE_CHILD\b", K.CRASH, "the Neuron runtime was started before a fork: it must start in the worker"),
    (
        r"NEFF version mismatch|features: 0x\w+ are not supported|unsupported hardware operator code"
        r"|\bNRT_UNSUPPORTED_NEFF_VERSION\b",
        K.ARTIFACT_INCOMPATIBLE,
        _REBUILD,
    ),
    (
        r"inconsistent (?:client |NEFF )?batch sizes",
        K.SHAPE_MISMATCH,
        "constants of batch 1 (class token and positions of a ViT or CLIP) forbid dynamic_batch: build for each batch",
    ),
    (
        r"has dynamic batch axis|invalid input tensor size|incorrect number of input tensors"
        r"|\bNRT_EXEC_BAD_INPUT\b|unable to pad \S+ with shape",
        K.SHAPE_MISMATCH,
        _SHAPE,
    ),
    (
        r"\bNRT_TIMEOUT\b|timeout exceeded|(?:execution|inference) timeout \(",
        K.TIMEOUT,
        "raise NEURON_RT_EXEC_TIMEOUT, or use a smaller batch",
    ),
    (
        r"\bNRT_EXEC_COMPLETED_WITH_NUM_ERR\b|\bINFER_ERROR_SUBTYPE_NUMERICAL\b|\bnumerical error\b",
        K.NUMERICAL_ERROR,
        "a value became NaN on the device: use a higher precision",
    ),
    (r"\bNRT_EXEC_OOB\b|out-of-bound access", K.CRASH, "an index in the inputs lies outside of its table"),
    (
        r"\bNRT_HW_ERROR\b|\bNRT_EXEC_HW_ERR\w*|\bNEURON_HW_ERR=|FATAL-RT-UNDEFINED-STATE|EXEC_UNIT_UNRECOVERABLE",
        K.HARDWARE_ERROR,
        "do not trust this device: restart it, or replace the host",
    ),
    (
        r"unknown builtin op: neuron::|no such operator neuron::|op type not registered 'NeuronOp'",
        K.TOOLCHAIN_MISSING,
        "the Neuron extension of the framework was not imported before loading",
    ),
)

_CUDA: Tuple[Tuple[str, K, str], ...] = (
    (
        r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation"
        r"|CUDA failure 2\b|torch\.OutOfMemoryError|torch\.cuda\.OutOfMemoryError|\bOutOfMemoryError: (?:CUDA|HIP|XPU)",
        K.DEVICE_OOM,
        _DEVICE_MEMORY,
    ),
    (
        r"no kernel image is available for execution",
        K.ARTIFACT_INCOMPATIBLE,
        "this build is for another kind of device",
    ),
    (
        r"CUDA driver version is insufficient|found no NVIDIA driver|not compiled with CUDA enabled"
        r"|libcuda\.so(?:\.\d+)?: cannot open|lib(?:cudart|cublas\w*|cudnn\w*|nvinfer\w*)\.so\S*: cannot open",
        K.TOOLCHAIN_MISSING,
        "install the driver and the CUDA build of this framework",
    ),
    (
        r"no CUDA GPUs are available|CUDA-capable device\(s\) is/are busy|no CUDA-capable device",
        K.CORE_UNAVAILABLE,
        _CORES,
    ),
    (
        r"uncorrectable ECC error|GPU has fallen off the bus|CUDA error: unspecified launch failure",
        K.HARDWARE_ERROR,
        "restart the device",
    ),
)

_HOST: Tuple[Tuple[str, K, str], ...] = (
    (
        r"std::bad_alloc|DefaultCPUAllocator: (?:can't|cannot|not enough) |cannot allocate memory|\bMemoryError\b"
        r"|failed to allocate memory for requested buffer|unable to allocate [\d.]+ [KMGT]iB|LLVM ERROR: out of memory",
        K.HOST_OOM,
        _HOST_MEMORY,
    ),
    (
        r"No space left on device|disk quota exceeded",
        K.UNKNOWN,
        "the disk is full: free some, or clean the build store",
    ),
    (
        r"(?:died with|exited with|signal) <?Signals\.SIGKILL|: killed signal terminated program",
        K.HOST_OOM,
        _HOST_MEMORY,
    ),
    (
        r"no working C\+\+ compiler found|InvalidCxxCompiler"
        r"|(?:g\+\+|gcc|clang\+\+|clang|ninja|cc1plus)'?: (?:command )?not found"
        r"|No such file or directory: '(?:\S*/)?(?:g\+\+|gcc|clang\+\+|clang|ninja)'|fatal error: Python\.h",
        K.TOOLCHAIN_MISSING,
        "install a C++ compiler and the headers of Python",
    ),
)

_FRAMEWORKS: Tuple[Tuple[str, K, str], ...] = (
    (
        r"NOT_IMPLEMENTED ?: ?Could not find an implementation|no conversion rule found for operations?"
        r"|model wasn't fully converted|exporting the operator \S+ to ONNX opset version \d+ is not supported"
        r"|ONNX export of operator \S+|no ONNX function found for|no decompositions registered for"
        r"|could not run '\w+::\S+' with arguments from the|is not a registered function/op|missing out variants"
        r"|unsupported operator\b|operator \S+ is not (?:currently )?(?:supported|implemented)"
        r"|unsupported operation of type|unknown builtin op: |no importer registered for op",
        K.UNSUPPORTED_OPERATOR,
        _OPERATOR,
    ),
    (
        r"not implemented for '(?:Half|BFloat16|Float|Double|Char|Byte|Int|Long|Bool|Float8\w*|ComplexFloat)'"
        r"|unexpected input data type|must have the same dtype|to have the same dtype"
        r"|expected scalar type \w+ but found"
        r"|input type \(.{1,60}\) and (?:weight|bias) type \(.{1,60}\) should be the same"
        r"|type '?tensor\(\w+\)'? of input parameter .{0,120} is invalid|unsupported (?:data ?type|dtype|precision)\b"
        r"|(?:data ?type|dtype|precision) \S+ is not supported",
        K.UNSUPPORTED_DTYPE,
        _DTYPE,
    ),
    (
        r"data-dependent (?:expression|operation|operator)|DataDependentOutputException|GuardOnDataDependentSymNode"
        r"|constraints violated|DynamicOutputShapeException"
        r"|(?:to_shape|get_shape) was called on a (?:descriptor with )?dynamic"
        r"|dynamic (?:input )?shapes? (?:is|are) not supported|network has dynamic (?:or shape )?inputs",
        K.DYNAMIC_SHAPE,
        _STATIC,
    ),
    (
        r"exceeds? (?:the )?maximum protobuf size|serialized model (?:is )?larger than the 2 ?GiB|larger than 2GB"
        r"|protobuf larger than 2|larger than the limit \(2147483647",
        K.MODEL_TOO_LARGE,
        "store the weights beside the model (external data)",
    ),
    (
        r"unsupported model IR version|protobuf parsing failed|INVALID_PROTOBUF"
        r"|PytorchStreamReader failed|invalid magic number"
        r"|kMaxSupportedFileFormatVersion|opset \d+ is under development and support for this is limited"
        r"|unable to (?:read the model|open file): |incorrect weights in bin file|empty weights data in bin file"
        r"|the engine plan file is (?:not compatible|generated on an incompatible)"
        r"|serialization assertion .{0,40} failed",
        K.ARTIFACT_INCOMPATIBLE,
        _REBUILD,
    ),
    (
        r"shapes cannot be multiplied|got invalid dimensions for input|invalid rank for input"
        r"|size of tensor a \(\d+\) must match"
        r"|operands could not be broadcast|shape '\[.{0,80}\]' is invalid for input of size|size mismatch for \S+"
        r"|given groups=\d+, weight of size|expected input batch_size|mismatch between (?:input|tensor) shapes?"
        r"|model input \(shape=.{1,80}\) and the tensor \(shape=.{1,80}\) are incompatible|shape mismatch"
        r"|input (?:size|shape|dimension)s? (?:must|should|does|do) |stack expects each tensor to be equal size",
        K.SHAPE_MISMATCH,
        _SHAPE,
    ),
    (
        r"function '\w+' returned nan values|\b(?:nan|inf)s? (?:values? )?(?:found|detected) in",
        K.NUMERICAL_ERROR,
        "use a higher precision",
    ),
    (
        r"CppCompileError|C\+\+ compile error|BackendCompilerFailed|LLVM ERROR:|PLEASE submit a bug report"
        r"|InductorError|internal error, please report a bug|Internal Error \(.{0,200}\bbuilder\b",
        K.COMPILER_CRASH,
        _COMPILER,
    ),
    (r"died with <Signals\.SIG(?:SEGV|ABRT|BUS|ILL|FPE)", K.COMPILER_CRASH, _COMPILER),
)

ROWS: Tuple[Tuple[str, K, str], ...] = _NEURON + _CUDA + _HOST + _FRAMEWORKS

# Numbers of the Neuron runtime (NRT_STATUS in its public header); 0 and the states that are no failure are left out
NEURON_STATUS: Dict[int, Tuple[K, str]] = {
    2: (K.ARTIFACT_INCOMPATIBLE, _REBUILD),
    4: (K.DEVICE_OOM, _DEVICE_MEMORY),
    5: (K.TIMEOUT, "raise NEURON_RT_EXEC_TIMEOUT, or use a smaller batch"),
    6: (K.HARDWARE_ERROR, "do not trust this device: restart it, or replace the host"),
    9: (K.CORE_UNAVAILABLE, _TOO_FEW),
    10: (K.ARTIFACT_INCOMPATIBLE, _REBUILD),
    11: (K.HOST_OOM, _HOST_MEMORY),
    101: (K.HARDWARE_ERROR, "do not trust this device: restart it, or replace the host"),
    1002: (K.SHAPE_MISMATCH, _SHAPE),
    1003: (K.NUMERICAL_ERROR, "a value became NaN on the device: use a higher precision"),
    1004: (K.UNKNOWN, "the device finished with an error: see the log"),
    1005: (K.CORE_UNAVAILABLE, _CORES),
    1006: (K.CRASH, "an index in the inputs lies outside of its table"),
    1200: (K.HARDWARE_ERROR, "do not trust this device: restart it, or replace the host"),
    1201: (K.HARDWARE_ERROR, "do not trust this device: restart it, or replace the host"),
    1202: (K.HARDWARE_ERROR, "do not trust this device: restart it, or replace the host"),
    1203: (K.HARDWARE_ERROR, "do not trust this device: restart it, or replace the host"),
    1204: (K.HARDWARE_ERROR, "set NEURON_RT_ENABLE_DGE_NOTIFICATIONS=0"),
    1205: (K.HARDWARE_ERROR, "do not trust this device: restart it, or replace the host"),
}
