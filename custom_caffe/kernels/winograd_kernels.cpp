#include "caffe/kernels/winograd_kernels.hpp"

#include <algorithm>

#include "caffe/kernels/levels.hpp"

namespace caffe {

#define CAFFE_KERNELS "caffe/kernels/winograd_kernels.inl"
#include "caffe/kernels/kernels_by_level.inl"

const WinogradKernels& winograd_kernels() { return CAFFE_OF_LEVEL(kWinograd); }

}  // namespace caffe
