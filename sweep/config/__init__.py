"""From the command line and YAML to trials and settings. Imports files, spec, hardware and worker."""
