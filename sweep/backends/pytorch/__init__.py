"""PyTorch as a runtime: eager, TorchScript, inductor."""
