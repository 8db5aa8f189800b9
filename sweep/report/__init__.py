"""Show results: terminal, plots, page, MLflow. Imports files, text, spec, store, worker and verdict."""
