"""What runs a network: pycaffe or ONNX."""
