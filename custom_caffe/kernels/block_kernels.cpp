#include "caffe/kernels/block_kernels.hpp"

#include "caffe/kernels/levels.hpp"

namespace caffe {

#define CAFFE_KERNELS "caffe/kernels/block_kernels.inl"
#include "caffe/kernels/kernels_by_level.inl"

const BlockKernels& block_kernels() { return CAFFE_OF_LEVEL(kKernels); }

}  // namespace caffe
