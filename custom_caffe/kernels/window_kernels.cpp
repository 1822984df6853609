#include "caffe/kernels/window_kernels.hpp"

#include <cfloat>

#include "caffe/kernels/levels.hpp"

namespace caffe {

#define CAFFE_KERNELS "caffe/kernels/window_kernels.inl"
#include "caffe/kernels/kernels_by_level.inl"

const WindowKernels& window_kernels() { return CAFFE_OF_LEVEL(kWindowKernels); }

}  // namespace caffe
