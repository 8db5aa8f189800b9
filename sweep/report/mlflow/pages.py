"""Descriptions of experiments and sweeps in MLflow, with links within the UI to what a reader looks for.

Links are relative: they work wherever the UI is served, as long as they are followed inside it.
"""

from collections.abc import Mapping, Sequence

from sweep.report.mlflow.links import link_comparison, link_view
from sweep.spec.settings import Settings

PAGE = "report.html"
OURS = "python -m sweep"  # in a description that may be replaced


def describe_sweep(
    markdown: str,
    experiment_id: str,
    sweep_id: str,
    runs: Mapping[str, str],
    best: Sequence[str],
    files: Sequence[str],
) -> str:
    """The description of a sweep: the verdict, links, then the rest.

    Args:
        markdown: what `markdown.describe` returned: it begins with the verdict.
        runs: MLflow run ids under `parent`, and under `winner` if there is one.
        best: run ids of the best trials, best first.
        files: names of the artifacts of the sweep's run.
    """
    page = f"#/experiments/{experiment_id}"
    parent = f"{page}/runs/{runs['parent']}"
    entries = [f"[all trials, best first](#{link_view(experiment_id, sweep_id)})"]
    if len(best) > 1:
        entries.append(f"[the best {len(best)} side by side](#{link_comparison(experiment_id, best)})")
    if runs.get("winner"):
        entries.append(f"[the chosen trial]({page}/runs/{runs['winner']})")
    if PAGE in files:
        entries.append(f"[the report]({parent}/artifacts/{PAGE})")
    elif files:
        entries.append(f"[the files]({parent}/artifacts)")
    head, gap, rest = markdown.partition("\n\n")
    return f"{head}\n\n{' · '.join(entries)}{gap}{rest}"


def describe_experiment(experiment_id: str, sweep_id: str, settings: Settings) -> str:
    """The description of an experiment: what its runs are, and a link to the newest sweep."""
    objective = settings.objective.name.replace("_", " ")
    return (
        f"Newest: [sweep {sweep_id}, best by {objective} first](#{link_view(experiment_id, sweep_id)})\n\n"
        f"Each run called *sweep …* is one sweep (`{OURS}`): its description has the verdict, its artifacts the "
        "report. The runs below it are its trials, one setup each.\n"
    )
