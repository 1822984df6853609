#include "caffe/kernels/random_kernels.hpp"

#include <cstring>

#include "caffe/kernels/levels.hpp"

namespace caffe {

#define CAFFE_KERNELS "caffe/kernels/random_kernels.inl"
#include "caffe/kernels/kernels_by_level.inl"

const RandomKernels& random_kernels() { return CAFFE_OF_LEVEL(kKernels); }

}  // namespace caffe
