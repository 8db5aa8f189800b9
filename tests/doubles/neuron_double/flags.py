"""The documented flags of the two compilers, as data, and their command line's refusals."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

NO_CAST_SINCE = (2, 22)  # neuronx-cc, of SDK 2.27: the number is inferred from those of later releases
TARGETS = ("inf2", "trn1", "trn1n", "trn2")


class Flag(NamedTuple):
    values: Optional[Tuple[str, ...]]  # that it takes; None: any; (): it takes none
    default: Optional[str] = None
    several: bool = False  # takes one or more


_ANY: Optional[Tuple[str, ...]] = None
_COMMON = {
    "--output": Flag(_ANY),
    "--logfile": Flag(_ANY),
    "--verbose": Flag(("info", "warning", "error", "critical", "debug"), "warning"),
    "--enable-saturate-infinity": Flag(()),
    "--enable-fast-context-switch": Flag(()),
    "--enable-fast-loading-neuron-binaries": Flag(()),
}
NEURONX_CC: Dict[str, Flag] = {
    **_COMMON,
    "--framework": Flag(("XLA",)),
    "--target": Flag(TARGETS),
    "--model-type": Flag(("generic", "transformer", "unet-inference"), "generic"),
    "--auto-cast": Flag(("none", "matmult", "all"), "none"),
    "--auto-cast-type": Flag(("bf16", "fp16", "tf32", "fp8_e4m3"), "bf16"),
    "--optlevel": Flag(("1", "2", "3"), "2"),
    "--logical-nc-config": Flag(("1", "2")),
    "--enable-mixed-precision-accumulation": Flag(()),
    "--disable-mixed-precision-accumulation": Flag(()),
    "--native-int64": Flag(("default", "enabled", "disabled"), "default"),
    "--implicit-integer-downcast": Flag(
        ("default", "all", "none", "dot", "scatter", "all_reduce", "reduce_scatter", "pow"), "default", several=True
    ),
    "--distribution-strategy": Flag(("llm-training",)),
}
_CASTS = ("all", "matmult", "matmult-fp16", "matmult-bf16", "all-fp16")
NEURON_CC: Dict[str, Flag] = {
    **_COMMON,
    "--verbose": Flag(_ANY),  # the archived page shows numbers as well as names
    "--framework": Flag(("TENSORFLOW", "MXNET", "XLA")),
    "--io-config": Flag(_ANY),
    # Of 2020, for convolutional networks with a batch; the archived page has none of them
    **{name: Flag(()) for name in ("--static-weights", "--batching_en", "--rematerialization_en", "--spill_dis")},
    "--sb_size": Flag(_ANY),
    "--enable-replication": Flag(("True", "False")),
    "-O": Flag(("1", "2")),
    "--neuroncore-pipeline-cores": Flag(tuple(map(str, range(1, 65))), "1"),
    "--fp32-cast": Flag(_CASTS, "all"),
    "--fast-math": Flag(
        ("all", "none", "fast-relayout", "no-fast-relayout", *("fp32-cast-%s" % cast for cast in _CASTS)),
        "all",
        several=True,
    ),
}
ALIASES = {"-O": "--optlevel", "-lnc": "--logical-nc-config"}
# Read as public material of 2020 has them; a compiler of the archived documentation still took them.
ALIASES_V1 = {"--num-neuroncores": "--neuroncore-pipeline-cores"}


class FlagError(Exception):
    """The compiler's refusal of its command line; `rule` says which part of it."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(text)
        self.rule = rule


def parse(compiler: str, arguments: Sequence[str], version: str = "") -> Dict[str, Any]:
    """Flag -> value (a list where it takes several, True where it takes none), defaults included; the rightmost wins.

    `version` is the compiler's own: old ones have other defaults.

    Raises:
        FlagError: with the text of the compiler's refusal.
    """
    table, aliases = (NEURONX_CC, ALIASES) if compiler == "neuronx-cc" else (NEURON_CC, ALIASES_V1)
    found: Dict[str, Any] = {name: [flag.default] if flag.several else flag.default for name, flag in table.items()}
    found = {name: value for name, value in found.items() if value not in (None, [None])}
    if compiler == "neuronx-cc" and version and tuple(map(int, version.split(".")[:2])) < NO_CAST_SINCE:
        found["--auto-cast"] = "matmult"
    rest = _separated(arguments)
    while rest:
        given = rest.pop(0)
        name = aliases.get(given, given)
        if name not in table:
            raise FlagError(compiler + "-flag", "%s: error: unrecognized arguments: %s" % (compiler, given))
        found[name] = _value(compiler, name, table[name], rest)
    if compiler == "neuronx-cc" and "--logical-nc-config" in found and found.get("--target") != "trn2":
        raise FlagError("neuronx-cc-lnc", "[NCC_EARG001] --logical-nc-config is not supported for this target")
    return found


def _separated(arguments: Sequence[str]) -> List[str]:
    """`--flag=value` and `-O2` as two words, `--fast-math "a b"` as several."""
    words: List[str] = []
    for argument in arguments:
        if argument.startswith("--") and "=" in argument:
            name, _, value = argument.partition("=")
            words += [name, *value.split()]
        elif argument[:2] == "-O" and argument != "-O":
            words += ["-O", argument[2:]]
        elif argument.startswith("-"):
            words.append(argument)
        else:
            words += argument.split() or [argument]
    return words


def _value(compiler: str, name: str, flag: Flag, rest: List[str]) -> Any:
    if flag.values == ():
        return True
    taken: List[str] = []
    while rest and not rest[0].startswith("--") and (flag.several or not taken):
        taken.append(rest.pop(0))
    if not taken:
        raise FlagError(compiler + "-value", "%s: error: argument %s: expected one argument" % (compiler, name))
    for value in taken:
        if flag.values is not None and value not in flag.values:
            choices = ", ".join(map(repr, flag.values))
            message = "%s: error: argument %s: invalid choice: %r (choose from %s)" % (compiler, name, value, choices)
            raise FlagError(compiler + "-value", message)
    return taken if flag.several else taken[0]


def cast(compiler: str, given: Dict[str, Any]) -> Tuple[str, str]:
    """What a compiler rounds (none, matmult, all) and to which type, of parsed flags."""
    if compiler == "neuronx-cc":
        return given["--auto-cast"], given["--auto-cast-type"]
    words = list(given["--fast-math"])
    if given.get("--fp32-cast", "all") == "all-fp16":  # deprecated, but it overrides
        words = ["fp32-cast-all-fp16"]
    elif words == ["all"] and given.get("--fp32-cast", "all") != "all":
        words = ["fp32-cast-" + given["--fp32-cast"]]
    named = [word for word in words if word.startswith("fp32-cast")]
    if not named:
        return ("matmult", "bf16") if "none" in words else ("all", "bf16")
    return ("all" if "-all" in named[-1] else "matmult"), ("fp16" if named[-1].endswith("fp16") else "bf16")
