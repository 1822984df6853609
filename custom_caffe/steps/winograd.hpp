#ifndef CAFFE_STEPS_WINOGRAD_HPP_
#define CAFFE_STEPS_WINOGRAD_HPP_

#include "caffe/steps/convolution_steps.hpp"

namespace caffe {

// Convolutions with 3x3 filters, stride 1 and no dilation, by a quarter of the products (see WinogradKernels), for
// which tiles of the outputs go to matrices and back. Threads share out blocks of tiles, small enough for their
// matrices to stay in a core's second cache, and sums over images do not depend on the number of threads. The
// largest rounding error is about four times that of a plain sum.

/// Whether that is the faster way for `num` images.
bool WinogradPays(const ConvolutionShape& shape, int num);

/// What ThreadedConvolution computes.
void WinogradConvolution(const ConvolutionShape& shape, int num, const float* bottom, const float* weight,
    const float* bias, float* top);

/// Adds to weight_diff, and to bias_diff, if it is not NULL.
void WinogradWeightGradient(const ConvolutionShape& shape, int num, const float* top_diff, const float* bottom,
    float* weight_diff, float* bias_diff);

}  // namespace caffe

#endif  // CAFFE_STEPS_WINOGRAD_HPP_
