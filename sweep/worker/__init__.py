"""What runs inside a worker: build, reference, repeat. Imports files, spec, isolate, workloads and backends; Python 3.8."""
