"""When a build fails, try the same model with other compiler options, one set after the other.

Compilers for accelerators refuse combinations for reasons that nobody can foresee, and often accept them with another
option. A backend's config lists such options (`backend.ladder`). Every attempt is a build of its own, with its own log
and its own place in the store; the first that works is used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sweep.engine.tasks import BuildTask, Built
from sweep.spec import BuildSpec, Trial

Key = tuple[str, str]  # of a build: its spec's key and the model's digest


def list_variants(trial: Trial, spec: BuildSpec) -> list[BuildSpec]:
    """The build as declared, then with each rung's options in turn."""
    rungs = trial.backend.get("ladder") or ()
    return [spec, *(replace(spec, options={**spec.options, **rung}) for rung in rungs)]


def build_key(task: BuildTask) -> Key:
    return task.spec.key, task.reference.model


def climb(
    variants: Sequence[Sequence[BuildTask]],
    known: dict[Key, Built],
    build: Callable[[Sequence[BuildTask]], Mapping[Key, Built]],
    whatever_fails: bool = False,
) -> list[Built]:
    """For every list of variants, the first that builds; if none does, the first failure.

    Args:
        variants: one list for every build that a trial needs, in the order to try.
        known: the results of this sweep so far; new results are added.
        build: builds several tasks at once.
        whatever_fails: try the next variant even after a failure that no option helps against.
    """
    for rung in range(max(map(len, variants), default=0)):
        level = [tasks for tasks in variants if len(tasks) > rung and _is_open(tasks[:rung], known, whatever_fails)]
        needed = {build_key(tasks[rung]): tasks[rung] for tasks in level if build_key(tasks[rung]) not in known}
        if needed:
            known |= build(list(needed.values()))
    return [
        _merge_attempts([known[build_key(task)] for task in tasks if build_key(task) in known]) for tasks in variants
    ]


def _is_open(tried: Sequence[BuildTask], known: Mapping[Key, Built], whatever_fails: bool) -> bool:
    """Whether all of these failed, and in a way that another set of options may cure."""
    for built in (known.get(build_key(task)) for task in tried):
        if built is None or built.failure is None or built.user_error:
            return False
        if built.failure.kind.is_hopeless and not whatever_fails:
            return False
    return True


def _merge_attempts(tried: Sequence[Built]) -> Built:
    """One result out of all attempts. Attempts after the first success belong to other trials."""
    for number, built in enumerate(tried):
        if built.failure is None:
            return replace(built, attempts=tuple(tried[:number]))
    first, others = tried[0], len(tried) - 1
    if not others or first.failure is None:
        return first
    also = f"{first.failure.summary} (and so with {others} other {'set' if others == 1 else 'sets'} of options)"
    return replace(first, failure=replace(first.failure, summary=also), attempts=tuple(tried[1:]))
