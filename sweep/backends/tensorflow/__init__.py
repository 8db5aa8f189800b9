"""What every TensorFlow backend shares."""
