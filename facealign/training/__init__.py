"""Training runs in Caffe."""
