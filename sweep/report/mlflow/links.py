"""Links into the MLflow UI that open a view that is sorted, filtered, and has the right columns.

Without such a link the UI shows a sweep as one folded row without metrics. A *shared view* (a tag of the experiment,
which the UI itself writes when one presses Share) has the filter, the order and the columns.
"""

import json
import urllib.parse
from collections.abc import Collection, Sequence

from sweep.spec import Json, metrics
from sweep.spec.settings import Objective

PORT = 5000
VIEW_TAG = "mlflow.sharedViewState."
COLUMNS = tuple(metric.name for metric in metrics.COLUMNS)
_ALL = 'tags.`sweep.kind` = "trial"'


def make_links(
    base: str,
    experiment_id: str,
    objective: Objective,
    *,
    parent: str | None = None,
    sweep_id: str | None = None,
    top: Sequence[str] = (),
) -> dict[str, str]:
    """Links by name: `trials` (of all sweeps, best first), `sweep` (its trials, best first), `parent`, `compare`.

    Args:
        base: address of the UI.
        parent: MLflow run id of the sweep.
        sweep_id: for `sweep`.
        top: MLflow run ids of the best trials, for `compare`.
    """
    root = f"{base}/#"
    page = f"{root}/experiments/{experiment_id}"
    urls = {"trials": f"{page}/runs?{_query(_ALL, objective)}"}
    if sweep_id:
        urls["sweep"] = root + link_view(experiment_id, sweep_id)
    if parent:
        urls["parent"] = f"{page}/runs/{parent}"
    if len(top) > 1:
        urls["compare"] = root + link_comparison(experiment_id, top)
    return urls


def link_view(experiment_id: str, sweep_id: str) -> str:
    """The address within the UI of a sweep's trials, sorted, with the columns of `make_shared_view`."""
    return f"/experiments/{experiment_id}/runs?viewStateShareKey={urllib.parse.quote(sweep_id)}"


def link_comparison(experiment_id: str, run_ids: Sequence[str]) -> str:
    """The address within the UI of a page that compares runs."""
    lists = {"runs": list(run_ids), "experiments": [str(experiment_id)]}
    texts = {name: json.dumps(value, separators=(",", ":")) for name, value in lists.items()}
    return f"/compare-runs?{urllib.parse.urlencode(texts, quote_via=urllib.parse.quote)}"


def _query(filter_text: str, objective: Objective) -> str:
    values = {
        "searchFilter": filter_text,
        "orderByKey": f"metrics.`{objective.metric}`",
        "orderByAsc": "false" if objective.maximize else "true",
        "compareRunsMode": "TABLE",
    }
    return urllib.parse.urlencode(values, quote_via=urllib.parse.quote)


def make_shared_view(
    objective: Objective, sweep_id: str, params: Sequence[str], known: Collection[str] = COLUMNS
) -> tuple[str, str]:
    """The tag of the experiment behind the `sweep` link: its name and its value.

    Args:
        params: the axes that vary; each gets a column.
        known: metrics that any of the trials has; the others get no column.
    """
    names = dict.fromkeys((objective.metric, *(name for name in COLUMNS if name in known)))
    columns = {f"params.`{name}`": 90 for name in params} | {f"metrics.`{name}`": 120 for name in names}
    state: Json = {
        "searchFilter": f'{_ALL} and tags.`sweep.id` = "{sweep_id}"',
        "orderByKey": f"metrics.`{objective.metric}`",
        "orderByAsc": not objective.maximize,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": list(columns),
        "columnOrder": list(columns),
        "columnWidths": columns,
    }
    return VIEW_TAG + sweep_id, json.dumps(state)
