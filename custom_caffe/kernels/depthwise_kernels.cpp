#include "caffe/kernels/depthwise_kernels.hpp"

#include <cstring>

#include "caffe/kernels/levels.hpp"

namespace caffe {

#define CAFFE_KERNELS "caffe/kernels/depthwise_kernels.inl"
#include "caffe/kernels/kernels_by_level.inl"

template <>
const DepthwiseKernels<float>& depthwise_kernels() {
  return CAFFE_OF_LEVEL(kFloats);
}

template <>
const DepthwiseKernels<double>& depthwise_kernels() {
  return CAFFE_OF_LEVEL(kDoubles);
}

}  // namespace caffe
