"""What the doubles of tensorflow-neuron and tensorflow-neuronx share: cutting graphs up, compiling, the operator.

- `log`: TensorFlow's log lines
- `partition`: which operators the device takes, and a graph with them fused
- `compilers`: neuron-cc and neuronx-cc as child processes, as TensorFlow 1 and 2 start them
- `nrt`: what the runtime's statuses become in TensorFlow
- `placer`, `operator`: the operator that runs a compiled program: on which cores, with which batch
- `tracing`: `trace`, `analyze_model`, `auto_multicore` of TensorFlow 2
"""
