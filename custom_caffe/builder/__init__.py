"""Builds our Caffe: fetch and verify the source, patch it, compile it, pack it as a wheel."""
