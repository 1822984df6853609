#include <cmath>
#include <vector>

#include "caffe/layers/noise_layer.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

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
  Dtype* noise = noise_.mutable_cpu_data();
  // Caffe's generators refuse a spread of zero.
  caffe_set(count, bias, noise);
  if (param.uniform_range() > 0) {
    caffe_rng_uniform<Dtype>(count, bias - param.uniform_range(),
        bias + param.uniform_range(), noise);
  } else if (param.gaussian_std() > 0) {
    const Dtype squares = caffe_cpu_dot(count, bottom_data, bottom_data);
    const Dtype deviation = param.gaussian_std() * std::sqrt(squares / count);
    if (deviation > 0) {
      caffe_rng_gaussian<Dtype>(count, bias, deviation, noise);
    }
  }
  caffe_add(count, bottom_data, noise, top_data);
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
