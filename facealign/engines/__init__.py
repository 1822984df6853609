"""Engines that run a network: pycaffe, or OpenCV for ONNX."""
