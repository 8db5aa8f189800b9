"""Descriptions for MLflow's pages."""

import re
from pathlib import Path

from sweep.report.mlflow import markdown
from tests.support.records import make_records, make_settings

# MLflow's pages take lines for a table only where each cell of the delimiter has two dashes or more.
DELIMITER = re.compile(r"\|(:?--+:?\|)+")


def test_tables_have_the_delimiter_that_mlflow_needs(tmp_path: Path) -> None:
    records = make_records()
    sweep = markdown.describe(make_settings(tmp_path), None, records, None)
    trial = markdown.describe_trial(records[0], len(records), None)
    for text in (sweep, trial):
        (delimiter,) = (line for line in text.splitlines() if set(line) <= set("|:-") and line)
        assert DELIMITER.fullmatch(delimiter)
