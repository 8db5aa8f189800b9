"""The machine: host, accelerators, instance types, telemetry, environment. Imports files, spec and isolate."""
