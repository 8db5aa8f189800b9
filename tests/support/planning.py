"""Plans of command lines without a sweep: composed, and judged by the rules of this host."""

import functools

from sweep.config import axes, compose
from sweep.config.compose import Composer
from sweep.engine import rules
from sweep.hardware.host import detect
from sweep.spec.plan import Plan


@functools.cache
def shared_composer() -> Composer:
    """One for all tests of a process: what Hydra has composed once is kept."""
    return Composer(compose.make_loader())


def plan_trials(*arguments: str) -> Plan:
    """The plan of `python -m sweep ARGUMENTS`, where every distribution is taken for installed."""
    composer = shared_composer()
    trials = composer.trials(axes.expand(list(arguments), composer))
    composer.settings([trial.overrides for trial in trials])  # what is wrong with them is refused, too
    return rules.make_plan(trials, detect(), lambda python, packages: dict.fromkeys(packages, "1"))
