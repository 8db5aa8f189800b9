"""MLflow's client, set to give up quickly on a server that is away, and to print nothing.

Importing this module imports MLflow, which takes seconds and reads the environment: import it only to send or
read runs.
"""

import logging
import os
import warnings

from sweep.report.mlflow.address import CLIENT

for name, value in CLIENT.items():  # what MLflow reads when it is imported; what the user has set stays
    os.environ.setdefault(name, value)
for name in ("alembic", "mlflow"):
    logging.getLogger(name).setLevel(logging.WARNING)
with warnings.catch_warnings():  # of MLflow's own dependencies; nothing that a user could act on
    warnings.simplefilter("ignore")
    from mlflow.tracking import MlflowClient

__all__ = ["MlflowClient"]
