"""The exit statuses of `python -m sweep`, of every verb: docs/reference/statuses.md has the table."""

OK = 0
USER_ERROR = 1  # one line on standard error says what would work
NOTHING_MEASURED = 2  # no trial could be measured, or built where that was all
NO = 3  # everything was measured and the answer is no: no trial meets the limits, a regression, not reproduced
CANNOT_SAY = 4  # nothing to compare, or too noisy to tell
INTERRUPTED = 130
