#ifndef CAFFE_STEPS_CONVOLUTION_STEPS_HPP_
#define CAFFE_STEPS_CONVOLUTION_STEPS_HPP_

namespace caffe {

/// What a Convolution layer computes of one image, channels x height x width.
struct ConvolutionShape {
  int channels, height, width, outputs, group;
  int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;

  int out_height() const { return (height + 2 * pad_h - dilation_h * (kernel_h - 1) - 1) / stride_h + 1; }
  int out_width() const { return (width + 2 * pad_w - dilation_w * (kernel_w - 1) - 1) / stride_w + 1; }
};

// Each does its work and returns true, or does nothing and returns false where the caller's own way is the better:
// for doubles, strides, groups and outputs of a few pixels, or where upstream's code alone is wanted (UpstreamOnly).
//
// Threads share out bands of rows of all the images (ForEach). No matrix of patches is written: with a copy of a
// band's rows that has the zeros around them, a filter's taps are that copy from different places on. Where a sum
// goes over images, it is added up in an order that does not depend on the number of threads.

/// top (num x outputs x out_height x out_width) = bottom (num x channels x height x width) convolved with weight
/// (outputs x channels x kernel_h x kernel_w), plus bias (outputs), if it is not NULL.
bool ThreadedConvolution(const ConvolutionShape& shape, int num, const float* bottom, const float* weight,
    const float* bias, float* top);
inline bool ThreadedConvolution(const ConvolutionShape&, int, const double*, const double*, const double*, double*) {
  return false;
}

/// Adds to weight_diff and bias_diff, and writes bottom_diff; any of them may be NULL.
bool ThreadedConvolutionGradient(const ConvolutionShape& shape, int num, const float* top_diff, const float* bottom,
    const float* weight, float* weight_diff, float* bias_diff, float* bottom_diff);
inline bool ThreadedConvolutionGradient(const ConvolutionShape&, int, const double*, const double*, const double*,
    double*, double*, double*) {
  return false;
}

}  // namespace caffe

#endif  // CAFFE_STEPS_CONVOLUTION_STEPS_HPP_
