"""Where the code that measures changes, its version is thought of: an old result must not pass for a new one."""

from sweep.engine.judging import CODE
from tests.house import measuring_code
from tests.house.measuring_code import compute_digest


def test_version_of_the_measuring_code_was_thought_of() -> None:
    version, stored = measuring_code.read_stored()
    now = measuring_code.list_digests()
    changed = sorted(name for name in {*stored, *now} if stored.get(name) != now.get(name))
    advice = (
        "if numbers of a trial change by it, raise CODE in sweep/engine/judging.py by one (once between two releases); "
        f"then, in any case: {measuring_code.COMMAND}"
    )
    assert not changed, f"code that decides numbers has changed in {', '.join(changed)}: {advice}"
    assert version == CODE, f"CODE is {CODE}, the digests are of {version}: {measuring_code.COMMAND}"


def test_only_what_code_does_counts() -> None:
    source = 'def half(x):\n    """Half of it."""\n    return x / 2\n'
    same = 'def half(x):  # of it\n    "Another text."\n\n    return (x / 2)\n'
    assert compute_digest(source) == compute_digest(same)
    assert compute_digest(source) != compute_digest(source.replace("/ 2", "/ 3"))
    assert compute_digest(source) != compute_digest(source.replace("x / 2", '"Half of it."'))


def test_timed_loop_and_runners_are_among_the_modules() -> None:
    names = measuring_code.list_digests()
    assert {"sweep/worker/window.py", "sweep/worker/load/generator.py", "sweep/verdict/repeats.py"} <= names.keys()
    assert {"sweep/backends/onnxruntime.py", "sweep/backends/pytorch/eager.py"} <= names.keys()
