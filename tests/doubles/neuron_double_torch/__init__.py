"""What the doubles of torch_neuronx and torch_neuron share. Uses the real torch of the interpreter.

- `program`: the original model as TorchScript, and what there is to know about it
- `precision`: computing on the CPU with the rounding that a compiler was asked for
- `artifact`: the custom operator, the compiled model's bytes, torch.jit.load
- `execution`: a model on its cores: shapes, dynamic batch, replicas
- `parallel`: DataParallel
"""
