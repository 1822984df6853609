#ifndef CAFFE_KERNELS_DEPTHWISE_KERNELS_HPP_
#define CAFFE_KERNELS_DEPTHWISE_KERNELS_HPP_

namespace caffe {

/**
 * @brief Arithmetic of the ConvolutionDepthwise layer on the planes of one channel, compiled for several instruction
 *        sets; for float and double.
 */
template <typename Dtype>
struct DepthwiseKernels {
  /// to[i] = start + sum_k weights[k] * from[k][i] for i < n, k < taps
  void (*add)(const Dtype* const* from, const Dtype* weights, int taps, int n, Dtype start, Dtype* to);

  /// sums[k] += sum_i a[i] * b[k][i] for i < n, k < taps
  void (*dot)(const Dtype* a, const Dtype* const* b, int taps, int n, Dtype* sums);

  /// Copies rows x columns numbers: rows a pitch apart, columns a step apart.
  void (*copy_grid)(const Dtype* from, int from_pitch, int from_step, int rows, int columns, Dtype* to,
      int to_pitch, int to_step);
};

/// Those of the instruction set `isa`.
template <typename Dtype>
const DepthwiseKernels<Dtype>& depthwise_kernels();

}  // namespace caffe

#endif  // CAFFE_KERNELS_DEPTHWISE_KERNELS_HPP_
