"""Where repeats go (`effort=until_decided`): to the trials that may still be chosen, until there is a verdict.

The verdict itself and who is left out are `elimination`'s; here are the tasks, the looks and the budget of time. A look
sees whole blocks only, so a sweep that was killed comes to the same decisions when it is resumed.
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
    """Asked after every round of repeats whether there are to be more, and of which trials."""

    def __init__(self, context: Context, judge: Callable[[Candidate], Record]) -> None:
        """
        Args:
            judge: the record of a task as far as it has come.
        """
        self._context = context
        self._judge = judge
        self._looks = race.plan_looks(context.settings.effort)
        self._number = 0  # of looks so far
        self._trials = 0  # in the race when it began

    def go_on(self, tasks: Sequence[Candidate], repeats: int) -> int:
        """Look at the trials that have `repeats` whole repeats each; leave some out.

        Returns:
            How many repeats each of the rest is to have; `repeats` where it is over.
        """
        _readmit(tasks)
        racing = [task for task in tasks if task.is_open and task.origin.is_evidence]
        for task in tasks:
            task.resting = task.resting or not task.origin.is_evidence
        self._number += 1
        self._trials = self._trials or len(racing)
        found = self._look(racing, repeats)
        last = self._number == len(self._looks)
        if not last and elimination.is_hopeless(found, repeats, self._looks[-1]):
            self._give_up(found, repeats)
            last = True
        if found.decided or not last:
            self._leave_out(racing, found)
        if found.decided or last or not any(task.is_open for task in racing):
            return repeats
        upto = self._looks[self._number]
        self._tell(racing, repeats, upto)
        return upto

    def end(self, tasks: Sequence[Candidate]) -> None:
        """The budget is spent between two looks: the verdict on what there is, is one more."""
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

    def _leave_out(self, racing: Sequence[Candidate], found: elimination.Look) -> None:
        """Members of a deployment are measured together: they stop together, or not at all."""
        by_key = {task.trial.key: task for task in racing}
        for together in deployment.grouped(task.trial for task in racing).values():
            if all(trial.key in found.out or by_key[trial.key].resting for trial in together):
                for trial in together:
                    by_key[trial.key].out = found.out.get(trial.key)
        out = {task.trial.key: task.out for task in racing if task.out is not None}
        self._context.ledger.append(
            "look", number=self._number, trials=len(racing), out=to_json(out), verdict=to_json(found.verdict)
        )

    def _tell(self, racing: Sequence[Candidate], repeats: int, upto: int) -> None:
        left = [task for task in racing if task.is_open]
        one = sum(_seconds(task) for task in left)
        most = one * (self._looks[-1] - repeats)
        budget = self._context.seconds_left()
        at_most = duration(most if budget is None else min(most, budget))
        text = f"look {self._number}, after {count(repeats, 'repeat')}: {count(len(left), 'trial')} of {self._trials}"
        text += f" may still be chosen; {upto - repeats} more of each, about {duration(one * (upto - repeats))}"
        self._context.display.note(f"{text}; to the end at most {at_most}")

    def _give_up(self, found: elimination.Look, repeats: int) -> None:
        more, left = found.verdict.more_repeats, self._looks[-1] - repeats
        text = f"look {self._number}, after {count(repeats, 'repeat')}: {count(len(more), 'trial')} of {self._trials}"
        text += f" cannot be told apart: about {max(more.values()):,} more of each would be needed, and"
        self._context.display.note(f"{text} effort.repeats_max leaves {left}. It ends here")


def _readmit(tasks: Sequence[Candidate]) -> None:
    """Trials that were dominated by one that has failed since."""
    lost = {task.trial.key for task in tasks if task.failure is not None or task.resting}
    for task in tasks:
        if task.out is not None and task.out.by in lost:
            task.out = None


def _seconds(task: Candidate) -> float:
    """That a repeat of it takes."""
    return fmean([repeat.wall_seconds or repeat.window_seconds for repeat in task.done.values()])
