"""`effort=until_decided`: repeat the trials that may still be chosen, until there is a verdict.

`elimination` gives the verdict and says who is left out; this module has the tasks, the looks and the budget of time.
A look sees whole blocks only, so a killed sweep comes to the same decisions when it is resumed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

from sweep.engine.context import Context
from sweep.engine.tasks import Candidate
from sweep.spec import Record, Status, deployment, to_json
from sweep.text import count, duration
from sweep.verdict import elimination, race


class Decider:
    """Says after every round of repeats whether there will be more, and of which trials."""

    def __init__(self, context: Context, judge: Callable[[Candidate], Record]) -> None:
        """
        Args:
            judge: gives the record of a task as it is now.
        """
        self._context = context
        self._judge = judge
        self._looks = race.plan_looks(context.settings.effort)
        self._number = 0  # of looks so far
        self._trials = 0  # in the race when it began

    def go_on(self, tasks: Sequence[Candidate], repeats: int) -> int:
        """Look at the trials, which have `repeats` whole repeats each, and leave some out.

        Returns:
            How many repeats each of the others will have; `repeats` if the race is over.
        """
        _readmit(tasks)
        racing = [task for task in tasks if task.is_open and task.origin.is_evidence]
        for task in tasks:
            task.resting = task.resting or not task.origin.is_evidence
        self._number += 1
        self._trials = self._trials or len(racing)
        look = self._look(racing, repeats)
        last = self._number == len(self._looks)
        if not last and elimination.is_hopeless(look, repeats, self._looks[-1]):
            self._give_up(look, repeats)
            last = True
        if look.decided or not last:
            self._leave_out(racing, look)
        if look.decided or last or not any(task.is_open for task in racing):
            return repeats
        upto = self._looks[self._number]
        self._tell(racing, repeats, upto)
        return upto

    def end(self, tasks: Sequence[Candidate]) -> None:
        """End a race whose budget is spent between two looks: the final verdict counts as one more look."""
        for task in tasks:
            if task.is_open:
                task.look = self._number + 1

    def _look(self, racing: Sequence[Candidate], repeats: int) -> elimination.Look:
        records = []
        for task in racing:
            task.look = self._number
            done = {index: repeat for index, repeat in task.done.items() if index < repeats}
            record = self._judge(replace(task, done=done))
            task.resting = record.status is not Status.OK  # it cannot be believed: more of the same does not help
            records.append(record)
        objective = self._context.settings.objective
        return elimination.look(records, objective, self._number, self._trials)

    def _leave_out(self, racing: Sequence[Candidate], look: elimination.Look) -> None:
        """Stop the trials that are out. Members of a deployment stop together or not at all."""
        by_key = {task.trial.key: task for task in racing}
        for together in deployment.group_trials(task.trial for task in racing).values():
            if all(trial.key in look.out or by_key[trial.key].resting for trial in together):
                for trial in together:
                    by_key[trial.key].out = look.out.get(trial.key)
        out = {task.trial.key: task.out for task in racing if task.out is not None}
        self._context.ledger.append(
            "look", number=self._number, trials=len(racing), out=to_json(out), verdict=to_json(look.verdict)
        )

    def _tell(self, racing: Sequence[Candidate], repeats: int, upto: int) -> None:
        left = [task for task in racing if task.is_open]
        round_seconds = sum(_seconds(task) for task in left)
        most = round_seconds * (self._looks[-1] - repeats)
        budget = self._context.seconds_left()
        at_most = duration(most if budget is None else min(most, budget))
        text = f"look {self._number}, after {count(repeats, 'repeat')}: {count(len(left), 'trial')} of {self._trials}"
        text += (
            f" may still be chosen; {upto - repeats} more of each, about {duration(round_seconds * (upto - repeats))}"
        )
        self._context.display.note(f"{text}; to the end at most {at_most}")

    def _give_up(self, look: elimination.Look, repeats: int) -> None:
        more, left = look.verdict.more_repeats, self._looks[-1] - repeats
        text = f"look {self._number}, after {count(repeats, 'repeat')}: {count(len(more), 'trial')} of {self._trials}"
        text += f" cannot be told apart: about {max(more.values()):,} more of each would be needed, and"
        self._context.display.note(f"{text} effort.repeats_max leaves {left}. It ends here")


def _readmit(tasks: Sequence[Candidate]) -> None:
    """Take back the trials that were dominated by a trial that has failed since."""
    lost = {task.trial.key for task in tasks if task.failure is not None or task.resting}
    for task in tasks:
        if task.out is not None and task.out.by in lost:
            task.out = None


def _seconds(task: Candidate) -> float:
    """Mean seconds of a task's repeats."""
    return fmean([repeat.wall_seconds or repeat.window_seconds for repeat in task.done.values()])
