#include <algorithm>
#include <boost/random/taus88.hpp>
#include <boost/random/uniform_real_distribution.hpp>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "caffe/kernels/random_kernels.hpp"
#include "caffe/layers/noise_layer.hpp"
#include "caffe/threads/for_each.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

namespace {

// Numbers that a thread draws, and of one stream.
const int kPart = 1 << 14, kStream = 512;

// Seeds that have nothing in common, of numbers that follow each other (the finaliser of MurmurHash3).
uint32_t Scattered(uint32_t number) {
  number = (number ^ (number >> 16)) * 0x85ebca6bu;
  number = (number ^ (number >> 13)) * 0xc2b2ae35u;
  return number ^ (number >> 16);
}

}  // namespace

template <typename Dtype>
void NoiseLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  NeuronLayer<Dtype>::LayerSetUp(bottom, top);
  const NoiseParameter& param = this->layer_param_.noise_param();
  CHECK(!param.has_gaussian_std() || !param.has_uniform_range())
      << "noise_param: give gaussian_std or uniform_range, not both";
  CHECK_GE(param.gaussian_std(), 0) << "noise_param: gaussian_std is negative";
  CHECK_GE(param.uniform_range(), 0) << "noise_param: uniform_range is negative";
}

template <typename Dtype>
void NoiseLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  NeuronLayer<Dtype>::Reshape(bottom, top);
  if (this->phase_ == TEST) { return; }
  // An even number, which cuRAND needs.
  noise_.Reshape(vector<int>{bottom[0]->count() + bottom[0]->count() % 2});
  partial_.Reshape(vector<int>{kPartialSums});
}

template <typename Dtype>
void NoiseLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
    const vector<Blob<Dtype>*>& top) {
  const int count = bottom[0]->count();
  const Dtype* bottom_data = bottom[0]->cpu_data();
  Dtype* top_data = top[0]->mutable_cpu_data();
  if (this->phase_ == TEST) {
    if (top_data != bottom_data) { caffe_copy(count, bottom_data, top_data); }
    return;
  }
  const NoiseParameter& param = this->layer_param_.noise_param();
  const Dtype bias = param.bias();
  Dtype deviation = 0;
  if (param.uniform_range() <= 0 && param.gaussian_std() > 0) {
    const int parts = (count + kPart - 1) / kPart;
    std::vector<double> squares(parts);
    ForEach(parts, [&](int part, int) {
      const int end = std::min(count, (part + 1) * kPart);
      double sum = 0;
      for (int i = part * kPart; i < end; ++i) { sum += bottom_data[i] * bottom_data[i]; }
      squares[part] = sum;
    });
    const double total = std::accumulate(squares.begin(), squares.end(), 0.);
    deviation = param.gaussian_std() * std::sqrt(total / count);
  }
  // Each part has numbers of its own: the result is the same whatever the number of threads.
  const uint32_t seed = caffe_rng_rand();
  ForEach((count + kPart - 1) / kPart, [&](int part, int) {
    const int begin = part * kPart, end = std::min(count, begin + kPart);
    if (param.uniform_range() > 0) {
      boost::random::taus88 generator(Scattered(seed + part));
      boost::random::uniform_real_distribution<Dtype> draw(bias - param.uniform_range(),
          bias + param.uniform_range());
      for (int i = begin; i < end; ++i) { top_data[i] = bottom_data[i] + draw(generator); }
    } else {
      float normal[kStream] = {};
      for (int first = begin; first < end; first += kStream) {
        const int drawn = std::min(kStream, end - first);
        if (deviation > 0) { random_kernels().normal(drawn, seed, first / kStream, normal); }
        for (int i = 0; i < drawn; ++i) { top_data[first + i] = bottom_data[first + i] + (bias + deviation * normal[i]); }
      }
    }
  });
}

template <typename Dtype>
void NoiseLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
    const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
  if (!propagate_down[0] || bottom[0] == top[0]) { return; }
  caffe_copy(top[0]->count(), top[0]->cpu_diff(), bottom[0]->mutable_cpu_diff());
}

#ifdef CPU_ONLY
STUB_GPU(NoiseLayer);
#endif

INSTANTIATE_CLASS(NoiseLayer);
REGISTER_LAYER_CLASS(Noise);

}  // namespace caffe
