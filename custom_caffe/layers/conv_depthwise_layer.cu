#include <vector>

#include "caffe/layers/conv_depthwise_layer.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

namespace {

const int kThreads = 256;

// One axis of the convolution, as the kernels need it.
struct Side {
  int in, out, kernel, stride, pad, dilation;
};

// A thread for each output; channels: how many there are.
template <typename Dtype>
__global__ void ForwardTop(const int n, const Dtype* bottom, const Dtype* weight,
    const Dtype* bias, const int channels, const Side h, const Side w, Dtype* top) {
  CUDA_KERNEL_LOOP(index, n) {
    const int x = index % w.out;
    const int y = index / w.out % h.out;
    const int plane = index / w.out / h.out;
    const int channel = plane % channels;
    const Dtype* from = bottom + plane * h.in * w.in;
    const Dtype* taps = weight + channel * h.kernel * w.kernel;
    Dtype sum = bias == NULL ? Dtype(0) : bias[channel];
    for (int ky = 0; ky < h.kernel; ++ky) {
      const int row = y * h.stride - h.pad + ky * h.dilation;
      if (row < 0 || row >= h.in) { continue; }
      for (int kx = 0; kx < w.kernel; ++kx) {
        const int column = x * w.stride - w.pad + kx * w.dilation;
        if (column < 0 || column >= w.in) { continue; }
        sum += taps[ky * w.kernel + kx] * from[row * w.in + column];
      }
    }
    top[index] = sum;
  }
}

// A thread for each input: gathers from the outputs that used it, so no two threads write to one place.
template <typename Dtype>
__global__ void BackwardBottom(const int n, const Dtype* top_diff,
    const Dtype* weight, const int channels, const Side h, const Side w,
    Dtype* bottom_diff) {
  CUDA_KERNEL_LOOP(index, n) {
    const int column = index % w.in;
    const int row = index / w.in % h.in;
    const int plane = index / w.in / h.in;
    const Dtype* diff = top_diff + plane * h.out * w.out;
    const Dtype* taps = weight + plane % channels * h.kernel * w.kernel;
    Dtype sum = 0;
    for (int ky = 0; ky < h.kernel; ++ky) {
      const int down = row + h.pad - ky * h.dilation;
      if (down < 0 || down % h.stride != 0 || down / h.stride >= h.out) { continue; }
      for (int kx = 0; kx < w.kernel; ++kx) {
        const int across = column + w.pad - kx * w.dilation;
        if (across < 0 || across % w.stride != 0 || across / w.stride >= w.out) { continue; }
        sum += taps[ky * w.kernel + kx] * diff[down / h.stride * w.out + across / w.stride];
      }
    }
    bottom_diff[index] = sum;
  }
}

// A block of kThreads threads for each weight: adds up the batch in a fixed order, and adds to weight_diff.
template <typename Dtype>
__global__ void BackwardWeight(const int num, const Dtype* top_diff,
    const Dtype* bottom, const int channels, const Side h, const Side w,
    Dtype* weight_diff) {
  __shared__ Dtype sums[kThreads];
  const int taps = h.kernel * w.kernel;
  const int channel = blockIdx.x / taps;
  const int ky = blockIdx.x % taps / w.kernel;
  const int kx = blockIdx.x % w.kernel;
  const int area = h.out * w.out;
  Dtype sum = 0;
  for (int i = threadIdx.x; i < num * area; i += kThreads) {
    const int plane = i / area * channels + channel;
    const int row = i % area / w.out * h.stride - h.pad + ky * h.dilation;
    const int column = i % w.out * w.stride - w.pad + kx * w.dilation;
    if (row >= 0 && row < h.in && column >= 0 && column < w.in) {
      sum += top_diff[plane * area + i % area] * bottom[(plane * h.in + row) * w.in + column];
    }
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) { sums[threadIdx.x] += sums[threadIdx.x + half]; }
    __syncthreads();
  }
  if (threadIdx.x == 0) { weight_diff[blockIdx.x] += sums[0]; }
}

// A block of kThreads threads for each channel.
template <typename Dtype>
__global__ void BackwardBias(const int num, const Dtype* top_diff,
    const int channels, const int area, Dtype* bias_diff) {
  __shared__ Dtype sums[kThreads];
  Dtype sum = 0;
  for (int i = threadIdx.x; i < num * area; i += kThreads) {
    sum += top_diff[(i / area * channels + blockIdx.x) * area + i % area];
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) { sums[threadIdx.x] += sums[threadIdx.x + half]; }
    __syncthreads();
  }
  if (threadIdx.x == 0) { bias_diff[blockIdx.x] += sums[0]; }
}

template <typename Axis>
Side SideOf(const Axis& axis) {
  return Side{axis.in, axis.out, axis.kernel, axis.stride, axis.pad, axis.dilation};
}

}  // namespace

template <typename Dtype>
void ConvolutionDepthwiseLayer<Dtype>::Forward_gpu(
    const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) {
  const Dtype* weight = this->blobs_[0]->gpu_data();
  const Dtype* bias = bias_term_ ? this->blobs_[1]->gpu_data() : NULL;
  const Side h = SideOf(axis_[0]), w = SideOf(axis_[1]);
  for (int i = 0; i < bottom.size(); ++i) {
    const int count = top[i]->count();
    ForwardTop<Dtype><<<CAFFE_GET_BLOCKS(count), CAFFE_CUDA_NUM_THREADS>>>(count,
        bottom[i]->gpu_data(), weight, bias, channels_, h, w,
        top[i]->mutable_gpu_data());
  }
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void ConvolutionDepthwiseLayer<Dtype>::Backward_gpu(
    const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
    const vector<Blob<Dtype>*>& bottom) {
  const Dtype* weight = this->blobs_[0]->gpu_data();
  const Side h = SideOf(axis_[0]), w = SideOf(axis_[1]);
  for (int i = 0; i < top.size(); ++i) {
    const Dtype* top_diff = top[i]->gpu_diff();
    if (this->param_propagate_down_[0]) {
      BackwardWeight<Dtype><<<this->blobs_[0]->count(), kThreads>>>(num_,
          top_diff, bottom[i]->gpu_data(), channels_, h, w,
          this->blobs_[0]->mutable_gpu_diff());
    }
    if (bias_term_ && this->param_propagate_down_[1]) {
      BackwardBias<Dtype><<<channels_, kThreads>>>(num_, top_diff, channels_,
          h.out * w.out, this->blobs_[1]->mutable_gpu_diff());
    }
    if (propagate_down[i]) {
      const int count = bottom[i]->count();
      BackwardBottom<Dtype><<<CAFFE_GET_BLOCKS(count), CAFFE_CUDA_NUM_THREADS>>>(
          count, top_diff, weight, channels_, h, w, bottom[i]->mutable_gpu_diff());
    }
  }
  CUDA_POST_KERNEL_CHECK;
}

INSTANTIATE_LAYER_GPU_FUNCS(ConvolutionDepthwiseLayer);

}  // namespace caffe
