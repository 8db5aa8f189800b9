"""AWS Inferentia and Trainium through the Neuron SDK's PyTorch and TensorFlow packages."""
