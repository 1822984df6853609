"""Caffe's files: prototxt and weights, read, checked and written without Caffe."""
