"""What MLflow is sent, and where it is."""
