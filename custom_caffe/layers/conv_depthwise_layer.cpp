#include <unistd.h>

#include <algorithm>
#include <vector>

#include "caffe/errors/empty_blobs.hpp"
#include "caffe/filler.hpp"
#include "caffe/kernels/depthwise_kernels.hpp"
#include "caffe/layers/conv_depthwise_layer.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

namespace {

// Floating-point values of one buffer that stay in a core's first cache.
const int kBlockValues = 4096;
// Below this many multiply-adds a thread costs more than it saves.
const double kParallelWork = 2e5;

// Whether this much work is worth threads, and threads can be had: in a process forked after the first of
// them had started, OpenMP would wait for threads that only the parent has.
bool RunParallel(double multiply_adds) {
  static const pid_t owner = getpid();
  return multiply_adds > kParallelWork && getpid() == owner;
}

// The value of a repeated field that may be given never, once or once per axis.
int AxisValue(const google::protobuf::RepeatedField<google::protobuf::uint32>&
    values, int axis, int otherwise, const char* name) {
  CHECK_LE(values.size(), 2) << name << " may be given once, or once for the "
      "height and once for the width";
  return values.size() == 0 ? otherwise : values.Get(values.size() == 1 ? 0 : axis);
}

}  // namespace

template <typename Dtype>
void ConvolutionDepthwiseLayer<Dtype>::LayerSetUp(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const ConvolutionParameter& param = this->layer_param_.convolution_param();
  CHECK_EQ(bottom[0]->num_axes(), 4) << "ConvolutionDepthwise takes "
      "(samples, channels, height, width), not " << bottom[0]->shape_string();
  CHECK_EQ(bottom[0]->CanonicalAxisIndex(param.axis()), 1)
      << "ConvolutionDepthwise needs the channels on axis 1";
  channels_ = bottom[0]->channels();
  CHECK_EQ(param.num_output(), channels_) << "num_output of a "
      "ConvolutionDepthwise layer must equal the channels of its bottom";
  CHECK(param.group() == 1 || param.group() == channels_) << "group of a "
      "ConvolutionDepthwise layer can only be its number of channels";
  for (int i = 0; i < 2; ++i) {
    Axis& axis = axis_[i];
    axis.kernel = AxisValue(param.kernel_size(), i, 0, "kernel_size");
    axis.stride = AxisValue(param.stride(), i, 1, "stride");
    axis.pad = AxisValue(param.pad(), i, 0, "pad");
    axis.dilation = AxisValue(param.dilation(), i, 1, "dilation");
  }
  if (param.has_kernel_h() || param.has_kernel_w()) {
    CHECK_EQ(param.kernel_size_size(), 0)
        << "give kernel_size or kernel_h and kernel_w, not both";
    axis_[0].kernel = param.kernel_h();
    axis_[1].kernel = param.kernel_w();
  }
  if (param.has_stride_h() || param.has_stride_w()) {
    CHECK_EQ(param.stride_size(), 0)
        << "give stride or stride_h and stride_w, not both";
    axis_[0].stride = param.stride_h();
    axis_[1].stride = param.stride_w();
  }
  if (param.has_pad_h() || param.has_pad_w()) {
    CHECK_EQ(param.pad_size(), 0) << "give pad or pad_h and pad_w, not both";
    axis_[0].pad = param.pad_h();
    axis_[1].pad = param.pad_w();
  }
  for (int i = 0; i < 2; ++i) {
    CHECK_GT(axis_[i].kernel, 0) << "kernel_size must be given, and positive";
    CHECK_GT(axis_[i].stride, 0) << "stride must be positive";
    CHECK_GT(axis_[i].dilation, 0) << "dilation must be positive";
  }

  bias_term_ = param.bias_term();
  vector<int> weight_shape(4, 1);
  weight_shape[0] = channels_;
  weight_shape[2] = axis_[0].kernel;
  weight_shape[3] = axis_[1].kernel;
  const vector<int> bias_shape(1, channels_);
  if (this->blobs_.size() > 0) {
    CHECK_EQ(1 + bias_term_, this->blobs_.size()) << "wrong number of blobs";
    CHECK(this->blobs_[0]->shape() == weight_shape)
        << "wrong shape of weights: " << this->blobs_[0]->shape_string();
    CHECK(!bias_term_ || this->blobs_[1]->shape() == bias_shape)
        << "wrong shape of biases: " << this->blobs_[1]->shape_string();
  } else {
    this->blobs_.resize(1 + bias_term_);
    this->blobs_[0].reset(new Blob<Dtype>(weight_shape));
    shared_ptr<Filler<Dtype> >(GetFiller<Dtype>(param.weight_filler()))->Fill(
        this->blobs_[0].get());
    if (bias_term_) {
      this->blobs_[1].reset(new Blob<Dtype>(bias_shape));
      shared_ptr<Filler<Dtype> >(GetFiller<Dtype>(param.bias_filler()))->Fill(
          this->blobs_[1].get());
    }
  }
  this->param_propagate_down_.resize(this->blobs_.size(), true);
}

template <typename Dtype>
void ConvolutionDepthwiseLayer<Dtype>::Reshape(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  CHECK_EQ(bottom[0]->num_axes(), 4) << "ConvolutionDepthwise takes "
      "(samples, channels, height, width), not " << bottom[0]->shape_string();
  CheckNotEmpty(this->layer_param_, bottom, 1);
  CHECK_EQ(bottom[0]->channels(), channels_)
      << "the number of channels may not change";
  num_ = bottom[0]->num();
  for (int i = 0; i < 2; ++i) {
    Axis& axis = axis_[i];
    axis.in = bottom[0]->shape(2 + i);
    const int extent = axis.dilation * (axis.kernel - 1) + 1;
    CHECK_GE(axis.in + 2 * axis.pad, extent) << "the filter is larger than "
        "the padded input " << bottom[0]->shape_string();
    axis.out = (axis.in + 2 * axis.pad - extent) / axis.stride + 1;
    axis.reach = (extent - 1) / axis.stride;
    axis.length = axis.out + axis.reach;
  }
  const int pitch = axis_[1].length;
  phases_ = axis_[0].stride * axis_[1].stride;
  plane_ = axis_[0].length * pitch;
  margin_ = axis_[0].reach * pitch + axis_[1].reach;
  block_ = std::min(num_, std::max(1, kBlockValues / (plane_ * phases_)));
  taps_.clear();
  patches_.assign(phases_, Patch());
  for (int y = 0; y < axis_[0].kernel; ++y) {
    for (int x = 0; x < axis_[1].kernel; ++x) {
      const int at[] = {y * axis_[0].dilation, x * axis_[1].dilation};
      int phase[2], shift[2];
      for (int i = 0; i < 2; ++i) {
        phase[i] = at[i] % axis_[i].stride;
        shift[i] = at[i] / axis_[i].stride;
      }
      Tap tap;
      tap.phase = phase[0] * axis_[1].stride + phase[1];
      tap.shift = shift[0] * pitch + shift[1];
      taps_.push_back(tap);
      // Padded coordinate c of an axis is position c / stride of phase c % stride; the input starts at c = pad.
      int skip[2], first[2], size[2];
      for (int i = 0; i < 2; ++i) {
        const Axis& axis = axis_[i];
        skip[i] = std::max(0, axis.pad - phase[i] + axis.stride - 1) / axis.stride;
        first[i] = skip[i] * axis.stride + phase[i] - axis.pad;
        const int left = std::max(0, axis.in - first[i] + axis.stride - 1) / axis.stride;
        size[i] = std::max(0, std::min(axis.length - skip[i], left));
      }
      Patch& patch = patches_[tap.phase];
      patch.input = first[0] * axis_[1].in + first[1];
      patch.phase = tap.phase * block_ * plane_ + skip[0] * pitch + skip[1];
      patch.rows = size[0];
      patch.columns = size[1];
    }
  }
  int positions = 0;
  for (int phase = 0; phase < phases_; ++phase) {
    positions += patches_[phase].rows * patches_[phase].columns;
  }
  covered_ = positions == axis_[0].in * axis_[1].in;
  vector<int> top_shape = bottom[0]->shape();
  top_shape[2] = axis_[0].out;
  top_shape[3] = axis_[1].out;
  for (int i = 0; i < bottom.size(); ++i) {
    CHECK(bottom[i]->shape() == bottom[0]->shape())
        << "all bottoms must have the same shape";
    top[i]->Reshape(top_shape);
  }
}

template <typename Dtype>
int ConvolutionDepthwiseLayer<Dtype>::Run(int count) const {
  return (count - 1) * plane_ + (axis_[0].out - 1) * axis_[1].length + axis_[1].out;
}

template <typename Dtype>
size_t ConvolutionDepthwiseLayer<Dtype>::InputPlane(int n, int channel) const {
  return (static_cast<size_t>(n) * channels_ + channel) * axis_[0].in * axis_[1].in;
}

template <typename Dtype>
size_t ConvolutionDepthwiseLayer<Dtype>::OutputPlane(int n, int channel) const {
  return (static_cast<size_t>(n) * channels_ + channel) * axis_[0].out * axis_[1].out;
}

template <typename Dtype>
void ConvolutionDepthwiseLayer<Dtype>::Spread(const Dtype* data, int channel,
    int first, int count, Dtype* padded) const {
  const int stride = axis_[1].stride;
  for (int n = 0; n < count; ++n) {
    const Dtype* plane = data + InputPlane(first + n, channel);
    for (int phase = 0; phase < phases_; ++phase) {
      const Patch& patch = patches_[phase];
      depthwise_kernels<Dtype>().copy_grid(plane + patch.input, axis_[0].stride * axis_[1].in, stride,
          patch.rows, patch.columns, padded + patch.phase + n * plane_, axis_[1].length, 1);
    }
  }
}

template <typename Dtype>
void ConvolutionDepthwiseLayer<Dtype>::Gather(const Dtype* padded,
    int channel, int first, int count, Dtype* data) const {
  const int stride = axis_[1].stride;
  for (int n = 0; n < count; ++n) {
    Dtype* plane = data + InputPlane(first + n, channel);
    if (!covered_) { std::fill(plane, plane + axis_[0].in * axis_[1].in, Dtype(0)); }
    for (int phase = 0; phase < phases_; ++phase) {
      const Patch& patch = patches_[phase];
      depthwise_kernels<Dtype>().copy_grid(padded + patch.phase + n * plane_, axis_[1].length, 1, patch.rows,
          patch.columns, plane + patch.input, axis_[0].stride * axis_[1].in, stride);
    }
  }
}

template <typename Dtype>
void ConvolutionDepthwiseLayer<Dtype>::ForwardChannel(const Dtype* bottom,
    const Dtype* weight, Dtype bias, int channel, Dtype* top) const {
  const int phase_size = block_ * plane_;
  vector<Dtype> padded(phases_ * phase_size), output(phase_size);
  vector<const Dtype*> from(taps_.size());
  for (int k = 0; k < taps_.size(); ++k) {
    from[k] = &padded[taps_[k].phase * phase_size + taps_[k].shift];
  }
  for (int first = 0; first < num_; first += block_) {
    const int count = std::min(block_, num_ - first);
    Spread(bottom, channel, first, count, &padded[0]);
    depthwise_kernels<Dtype>().add(&from[0], weight, taps_.size(), Run(count), bias, &output[0]);
    for (int n = 0; n < count; ++n) {
      depthwise_kernels<Dtype>().copy_grid(&output[n * plane_], axis_[1].length, 1, axis_[0].out,
          axis_[1].out, top + OutputPlane(first + n, channel), axis_[1].out, 1);
    }
  }
}

template <typename Dtype>
void ConvolutionDepthwiseLayer<Dtype>::BackwardChannel(const Dtype* top_diff,
    const Dtype* bottom, const Dtype* weight, int channel, Dtype* weight_diff,
    Dtype* bias_diff, Dtype* bottom_diff) const {
  const int phase_size = block_ * plane_;
  // The output's rows at the common pitch: zeros between them, and enough of them at both ends for any shift.
  vector<Dtype> output(2 * margin_ + phase_size);
  Dtype* const diff = &output[margin_];
  vector<Dtype> padded(weight_diff ? phases_ * phase_size : 0);
  vector<Dtype> padded_diff(bottom_diff ? phases_ * phase_size : 0);
  vector<const Dtype*> from(taps_.size());
  vector<Dtype> tap_weight(taps_.size());
  for (int first = 0; first < num_; first += block_) {
    const int count = std::min(block_, num_ - first);
    if (count < block_) {
      std::fill(diff + count * plane_, diff + phase_size, Dtype(0));
    }
    for (int n = 0; n < count; ++n) {
      depthwise_kernels<Dtype>().copy_grid(top_diff + OutputPlane(first + n, channel), axis_[1].out, 1,
          axis_[0].out, axis_[1].out, diff + n * plane_, axis_[1].length, 1);
    }
    if (bias_diff) {
      Dtype sum = 0;
      for (int i = 0; i < Run(count); ++i) { sum += diff[i]; }
      *bias_diff += sum;
    }
    if (weight_diff) {
      Spread(bottom, channel, first, count, &padded[0]);
      for (int k = 0; k < taps_.size(); ++k) {
        from[k] = &padded[taps_[k].phase * phase_size + taps_[k].shift];
      }
      depthwise_kernels<Dtype>().dot(diff, &from[0], taps_.size(), Run(count), weight_diff);
    }
    if (bottom_diff) {
      for (int phase = 0; phase < phases_; ++phase) {
        int taps = 0;
        for (int k = 0; k < taps_.size(); ++k) {
          if (taps_[k].phase == phase) {
            from[taps] = diff - taps_[k].shift;
            tap_weight[taps++] = weight[k];
          }
        }
        depthwise_kernels<Dtype>().add(&from[0], &tap_weight[0], taps, count * plane_, Dtype(0),
            &padded_diff[phase * phase_size]);
      }
      Gather(&padded_diff[0], channel, first, count, bottom_diff);
    }
  }
}

template <typename Dtype>
void ConvolutionDepthwiseLayer<Dtype>::Forward_cpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const Dtype* weight = this->blobs_[0]->cpu_data();
  const Dtype* bias = bias_term_ ? this->blobs_[1]->cpu_data() : NULL;
  for (int i = 0; i < bottom.size(); ++i) {
    const Dtype* bottom_data = bottom[i]->cpu_data();
    Dtype* top_data = top[i]->mutable_cpu_data();
    const bool parallel = RunParallel(1. * top[i]->count() * taps_.size());
#pragma omp parallel for schedule(static) if (parallel)
    for (int channel = 0; channel < channels_; ++channel) {
      ForwardChannel(bottom_data, weight + channel * taps_.size(),
          bias ? bias[channel] : Dtype(0), channel, top_data);
    }
  }
}

template <typename Dtype>
void ConvolutionDepthwiseLayer<Dtype>::Backward_cpu(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  const Dtype* weight = this->blobs_[0]->cpu_data();
  Dtype* weight_diff = this->param_propagate_down_[0] ?
      this->blobs_[0]->mutable_cpu_diff() : NULL;
  Dtype* bias_diff = bias_term_ && this->param_propagate_down_[1] ?
      this->blobs_[1]->mutable_cpu_diff() : NULL;
  for (int i = 0; i < top.size(); ++i) {
    const Dtype* top_diff = top[i]->cpu_diff();
    const Dtype* bottom_data = bottom[i]->cpu_data();
    Dtype* bottom_diff = propagate_down[i] ? bottom[i]->mutable_cpu_diff() : NULL;
    if (!weight_diff && !bias_diff && !bottom_diff) { continue; }
    const bool parallel = RunParallel(1. * top[i]->count() * taps_.size());
#pragma omp parallel for schedule(static) if (parallel)
    for (int channel = 0; channel < channels_; ++channel) {
      const int offset = channel * taps_.size();
      BackwardChannel(top_diff, bottom_data, weight + offset, channel,
          weight_diff ? weight_diff + offset : NULL,
          bias_diff ? bias_diff + channel : NULL, bottom_diff);
    }
  }
}

#ifdef CPU_ONLY
STUB_GPU(ConvolutionDepthwiseLayer);
#else
template <typename Dtype>
void ConvolutionDepthwiseLayer<Dtype>::Forward_gpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  Forward_cpu(bottom, top);
}

template <typename Dtype>
void ConvolutionDepthwiseLayer<Dtype>::Backward_gpu(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  Backward_cpu(top, propagate_down, bottom);
}
#endif

INSTANTIATE_CLASS(ConvolutionDepthwiseLayer);
REGISTER_LAYER_CLASS(ConvolutionDepthwise);

}  // namespace caffe
