"""What runs in a worker: build, reference, repeat, load. Imports files, spec, isolate, workloads and backends."""
