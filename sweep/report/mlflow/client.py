"""MLflow's client, told to be quick about a server that is away, and to keep quiet.

Importing this module imports MLflow, which takes seconds and reads the environment: only who sends or reads runs does.
"""

import warnings

from sweep.report.mlflow.address import prepare_client

prepare_client()
with warnings.catch_warnings():  # of MLflow's own dependencies; nothing that a user could act on
    warnings.simplefilter("ignore")
    from mlflow.tracking import MlflowClient

__all__ = ["MlflowClient"]
