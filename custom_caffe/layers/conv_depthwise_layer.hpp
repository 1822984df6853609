#ifndef CAFFE_CONV_DEPTHWISE_LAYER_HPP_
#define CAFFE_CONV_DEPTHWISE_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief Convolves each channel with a filter of its own: the same numbers as a Convolution whose group equals
 *        its channels, but without its matrix products of a single row.
 *
 * Parameters: convolution_param; num_output must equal the channels of the bottom.
 * Blobs: weights (channels, 1, kernel_h, kernel_w) and, with bias_term, biases (channels).
 *
 * How it is computed. The planes of one channel, of several samples at a time, are copied into a zero-padded
 * buffer, split by their coordinates modulo the stride. In it every filter tap is one fixed shift, for any
 * stride, dilation and padding, and all outputs (with a few unused ones between rows) are one long run
 * without borders, which compiles to vector instructions. Channels are distributed over threads, so the results
 * do not depend on the number of threads.
 */
template <typename Dtype>
class ConvolutionDepthwiseLayer : public Layer<Dtype> {
 public:
  explicit ConvolutionDepthwiseLayer(const LayerParameter& param)
      : Layer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  virtual inline const char* type() const { return "ConvolutionDepthwise"; }
  virtual inline int MinBottomBlobs() const { return 1; }
  virtual inline int MinTopBlobs() const { return 1; }
  virtual inline bool EqualNumBottomTopBlobs() const { return true; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

  // A spatial axis: 0 is the height, 1 the width.
  struct Axis {
    int kernel, stride, pad, dilation, in, out;
    int reach;    // the furthest shift of a tap within its phase
    int length;   // extent of a phase: out + reach
  };
  // Where a filter tap reads: a phase (coordinates modulo the stride) and a shift in it.
  struct Tap {
    int phase, shift;
  };

  // The part of a phase that is not padding: a grid of it, and of the input with the stride as step.
  struct Patch {
    int input, phase;   // where the grid starts in an input plane and in the buffer
    int rows, columns;  // its size; nothing if no tap reads the phase
  };

  // Copies the planes `first` to `first + count` of a channel into their places in `padded`, and back.
  void Spread(const Dtype* data, int channel, int first, int count,
      Dtype* padded) const;
  void Gather(const Dtype* padded, int channel, int first, int count,
      Dtype* data) const;
  // Where a plane starts.
  size_t InputPlane(int n, int channel) const;
  size_t OutputPlane(int n, int channel) const;
  // Number of positions from the first to the last output of `count` samples.
  int Run(int count) const;

  void ForwardChannel(const Dtype* bottom, const Dtype* weight, Dtype bias,
      int channel, Dtype* top) const;
  void BackwardChannel(const Dtype* top_diff, const Dtype* bottom,
      const Dtype* weight, int channel, Dtype* weight_diff, Dtype* bias_diff,
      Dtype* bottom_diff) const;

  Axis axis_[2];
  int num_, channels_;
  bool bias_term_;
  vector<Tap> taps_;
  vector<Patch> patches_;  // by phase
  int phases_;
  bool covered_;  // whether the patches hold every input position
  int plane_;   // positions of one sample in one phase
  int block_;   // samples handled at a time
  int margin_;  // the largest shift
};

}  // namespace caffe

#endif  // CAFFE_CONV_DEPTHWISE_LAYER_HPP_
