"""From the command line and YAML to trials and settings. Imports spec, hardware and worker (its load)."""
