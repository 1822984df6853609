"""68-point face alignment: data, networks, training, evaluation and inference around Caffe."""
