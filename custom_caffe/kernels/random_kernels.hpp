#ifndef CAFFE_KERNELS_RANDOM_KERNELS_HPP_
#define CAFFE_KERNELS_RANDOM_KERNELS_HPP_

#include <cstdint>

namespace caffe {

/// Random numbers by their place: number i of a seed's stream is a function of the three, so that many are drawn at
/// once, in any order. The same at every instruction set within rounding.
struct RandomKernels {
  /// Normally distributed, mean 0, deviation 1, at most 5.8 from 0 (Box and Muller, 1958, of 24 random bits each).
  void (*normal)(int count, uint32_t seed, uint32_t stream, float* to);
};

/// Those of the instruction set `isa`.
const RandomKernels& random_kernels();

}  // namespace caffe

#endif  // CAFFE_KERNELS_RANDOM_KERNELS_HPP_
