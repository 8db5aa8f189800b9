"""What the doubles of the Neuron packages and tools share: one pretended machine, kept in one folder.

The environment variable NEURON_DOUBLE names that folder. Without it there is no Neuron device on this host.

- `state`: the folder: what the machine is, what was called, which documented rules were broken
- `rules`: the documented rules, as data
- `fault_table`, `faults`: what can go wrong, as data, and how it strikes
- `cores`: the runtime of one process: cores that it owns alone, models that it holds
- `flags`, `compiler`, `compiling`: the compilers' flags, the compiler's process, the caller's side
- `tool_ls`, `tool_monitor`: neuron-ls and neuron-monitor

Written from public documentation and public error texts only. Runs on Python 3.8, imports no framework.
"""
