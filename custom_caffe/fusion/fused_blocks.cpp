#include "caffe/fusion/fused_blocks.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "caffe/threads/for_each.hpp"

namespace caffe {

namespace {

using std::vector;

// Images whose sums of gradients are added up together: as many parts whatever the number of threads, so that the
// result does not depend on it.
const int kChunks = 16;
// Floats of an expanded image that are worked on at a time, for them to stay in a core's second cache.
const int kGroupFloats = 50000;
// Channels a group comes in steps of: the widest register's.
const int kGroupStep = 16;

// Pixels of an image that go through all steps of a pass at a time: wide ones too stay in a core's first cache.
const int kTilePixels = 32;

template <typename F>
void ForEachTile(int pixels, F work) {
  for (int first = 0; first < pixels; first += kTilePixels) { work(first, std::min(kTilePixels, pixels - first)); }
}

int chunk_count(int num) { return std::min(kChunks, num); }

template <typename F>
void ForEachInChunk(int chunk, int num, F work) {
  const int chunks = chunk_count(num);
  for (int n = chunk * num / chunks; n < (chunk + 1) * num / chunks; ++n) { work(n); }
}

// Sum over parts of size floats each.
vector<double> SumParts(const Floats& parts, size_t size) {
  vector<double> sums(size, 0.);
  for (size_t begin = 0; begin + size <= parts.size(); begin += size) {
    for (size_t i = 0; i < size; ++i) { sums[i] += parts[begin + i]; }
  }
  return sums;
}

// The mean and variance of all from each image's mean and sum of squared distances from it.
void Merge(const Floats& means, const Floats& squares, int num, int pixels, int channels, vector<double>* mean,
    vector<double>* variance) {
  *mean = SumParts(means, channels);
  for (double& value : *mean) { value /= num; }
  *variance = SumParts(squares, channels);
  for (int n = 0; n < num; ++n) {
    for (int c = 0; c < channels; ++c) {
      const double distance = means[n * channels + c] - (*mean)[c];
      (*variance)[c] += pixels * distance * distance;
    }
  }
  for (double& value : *variance) { value /= static_cast<double>(num) * pixels; }
}

void Transposed(const float* from, int rows, int columns, float* to) {
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) { to[j * rows + i] = from[i * columns + j]; }
  }
}

void AddGradient(const Parameter& parameter, const vector<double>& gradient) {
  if (!parameter.learned) { return; }
  float* diff = parameter.blob->mutable_cpu_diff();
  for (size_t i = 0; i < gradient.size(); ++i) { diff[i] += gradient[i]; }
}

// Blobs of parameters and normalisations, in this order.
vector<const Blob<float>*> Blobs(const vector<const Parameter*>& parameters,
    const vector<const Normalisation*>& normalisations) {
  vector<const Blob<float>*> all;
  for (const Parameter* parameter : parameters) {
    if (parameter->blob != nullptr) { all.push_back(parameter->blob); }
  }
  for (const Normalisation* normalisation : normalisations) {
    const vector<const Blob<float>*> blobs = normalisation->blobs();
    all.insert(all.end(), blobs.begin(), blobs.end());
  }
  return all;
}

}  // namespace

void Normalisation::Set(const vector<double>& means, const vector<double>& variances) {
  const size_t channels = means.size();
  mean.assign(means.begin(), means.end());
  inverse.resize(channels);
  scale.resize(channels);
  shift.resize(channels);
  for (size_t c = 0; c < channels; ++c) {
    const double inverse_deviation = 1 / std::sqrt(std::max(variances[c], 0.) + epsilon);
    inverse[c] = inverse_deviation;
    scale[c] = gamma.data()[c] * inverse_deviation;
    shift[c] = beta.data()[c] - gamma.data()[c] * inverse_deviation * means[c];
  }
}

void Normalisation::SetBatch(const vector<double>& batch_mean, const vector<double>& variance, double count) {
  float* weight = weight_sum->mutable_cpu_data();
  *weight = *weight * fraction + 1;
  const double unbiased = count > 1 ? count / (count - 1) : 1;
  for (size_t c = 0; c < batch_mean.size(); ++c) {
    float& mean_total = mean_sum->mutable_cpu_data()[c];
    float& variance_total = variance_sum->mutable_cpu_data()[c];
    mean_total = batch_mean[c] + fraction * mean_total;
    variance_total = unbiased * variance[c] + fraction * variance_total;
  }
  Set(batch_mean, variance);
}

void Normalisation::SetGlobal() {
  const float weight = weight_sum->cpu_data()[0];
  const double factor = weight == 0 ? 0 : 1. / weight;
  const int channels = mean_sum->count();
  vector<double> means(channels), variances(channels);
  for (int c = 0; c < channels; ++c) {
    means[c] = mean_sum->cpu_data()[c] * factor;
    variances[c] = variance_sum->cpu_data()[c] * factor;
  }
  Set(means, variances);
}

void Normalisation::Backward(const vector<double>& sums, const vector<double>& products, double count,
    Floats* z_scale, Floats* z_shift) const {
  const size_t channels = sums.size();
  vector<double> gamma_gradient(channels);
  z_scale->resize(channels);
  z_shift->resize(channels);
  for (size_t c = 0; c < channels; ++c) {
    gamma_gradient[c] = products[c] * inverse[c];
    const double slope = static_cast<double>(scale[c]) * inverse[c] * gamma_gradient[c] / count;
    (*z_scale)[c] = -slope;
    (*z_shift)[c] = slope * mean[c] - scale[c] * sums[c] / count;
  }
  AddGradient(gamma, gamma_gradient);
  AddGradient(beta, sums);
}

FilterPhase::FilterPhase(const FilterAxis& axis, int phase) {
  const int stride = axis.stride;
  first = ((phase - axis.pad) % stride + stride) % stride;
  count = std::max(0, (axis.in - first + stride - 1) / stride);
  taps = std::max(0, (axis.taps - phase + stride - 1) / stride);
  last_tap = phase + stride * (taps - 1);
  source = (first + axis.pad) / stride + axis.lead() - (taps - 1);
}

FusedStem::FusedStem(const Shape& shape, const Parameter& weights, const Parameter& bias,
    const Normalisation& normalisation, float slope)
    : shape_(shape), weights_(weights), bias_(bias), normalisation_(normalisation), slope_(slope) {
  const int plane = (shape.height + 2 * shape.pad) * padded_width();
  for (int c = 0; c < shape.channels; ++c) {
    for (int y = 0; y < shape.kernel; ++y) {
      for (int x = 0; x < shape.kernel; ++x) { offsets_.push_back(c * plane + y * padded_width() + x); }
    }
  }
  while (offsets_.size() % 4 != 0) { offsets_.push_back(0); }
}

void FusedStem::Resize(int num) {
  num_ = num;
  const size_t size = static_cast<size_t>(num) * pixels() * shape_.outputs;
  raw_.resize(size);
  out_.resize(size);
}

const float* FusedStem::Padded(const float* image, Scratch* scratch) const {
  const int pad = shape_.pad, plane = (shape_.height + 2 * pad) * padded_width();
  float* padded = scratch->Get(own_part_, shape_.channels * plane);
  for (int c = 0; c < shape_.channels; ++c) {
    float* row = padded + c * plane + pad * padded_width() + pad;
    for (int y = 0; y < shape_.height; ++y, image += shape_.width, row += padded_width()) {
      std::copy(image, image + shape_.width, row);
    }
  }
  return padded;
}

void FusedStem::Convolve(const float* image, const Floats& start, float slope, Scratch* scratch, float* to) const {
  const float* padded = Padded(image, scratch);
  const int width = shape_.out_width, outputs = shape_.outputs, stride = shape_.stride;
  for (int y = 0; y < shape_.out_height; ++y) {
    block_kernels().multiply_patches(width, outputs, taps(), padded + y * stride * padded_width(), stride,
        offsets_.data(), transposed_.data(), outputs, start.data(), slope, to + y * width * outputs, outputs);
  }
}

const float* FusedStem::Forward(const float* from, vector<Scratch>* scratch) {
  const BlockKernels& kernels = block_kernels();
  const int outputs = shape_.outputs, size = pixels() * outputs;
  transposed_.resize(taps() * outputs);
  Transposed(weights_.data(), outputs, taps(), transposed_.data());
  start_.assign(outputs, 0.f);
  if (bias_.blob != nullptr) { start_.assign(bias_.data(), bias_.data() + outputs); }
  Floats means(num_ * outputs), squares(num_ * outputs);
  ForEach(num_, [&](int n, int thread) {
    float* raw = &raw_[n * size];
    Convolve(from + n * shape_.channels * shape_.height * shape_.width, start_, 1, &(*scratch)[thread], raw);
    kernels.moments(pixels(), outputs, raw, &means[n * outputs], &squares[n * outputs]);
  });
  vector<double> mean, variance;
  Merge(means, squares, num_, pixels(), outputs, &mean, &variance);
  normalisation_.SetBatch(mean, variance, static_cast<double>(num_) * pixels());
  ForEach(num_, [&](int n, int) {
    kernels.affine(pixels(), outputs, &raw_[n * size], normalisation_.scale.data(), normalisation_.shift.data(),
        slope_, &out_[n * size]);
  });
  return out_.data();
}

float* FusedStem::Backward(const float* from, float* gradient, vector<Scratch>* scratch) {
  const BlockKernels& kernels = block_kernels();
  const int outputs = shape_.outputs, size = pixels() * outputs, chunks = chunk_count(num_);
  Floats sums(num_ * outputs), products(num_ * outputs);
  ForEach(num_, [&](int n, int) {
    kernels.mask_moments(pixels(), outputs, &raw_[n * size], normalisation_.scale.data(),
        normalisation_.shift.data(), normalisation_.mean.data(), slope_, gradient + n * size, &sums[n * outputs],
        &products[n * outputs]);
  });
  Floats z_scale, z_shift;
  normalisation_.Backward(SumParts(sums, outputs), SumParts(products, outputs),
      static_cast<double>(num_) * pixels(), &z_scale, &z_shift);
  const int rows = offsets_.size();
  Floats weight_sums(chunks * rows * outputs), bias_sums(chunks * outputs);
  ForEach(chunks, [&](int chunk, int thread) {
    Scratch& own = (*scratch)[thread];
    const int width = shape_.out_width;
    float* raw_gradient = own.Get(0, width * outputs);
    ForEachInChunk(chunk, num_, [&](int n) {
      const float* padded = Padded(from + n * shape_.channels * shape_.height * shape_.width, &own);
      for (int y = 0; y < shape_.out_height; ++y) {
        const int at = n * size + y * width * outputs;
        kernels.combine(width, outputs, gradient + at, &raw_[at], outputs, normalisation_.scale.data(),
            z_scale.data(), z_shift.data(), raw_gradient, outputs);
        kernels.add_patches(rows, outputs, width, padded + y * shape_.stride * padded_width(), offsets_.data(),
            shape_.stride, raw_gradient, outputs, &weight_sums[chunk * rows * outputs], outputs);
        for (int p = 0; p < width; ++p) {
          for (int c = 0; c < outputs; ++c) { bias_sums[chunk * outputs + c] += raw_gradient[p * outputs + c]; }
        }
      }
    });
  });
  const vector<double> summed = SumParts(weight_sums, rows * outputs);
  vector<double> weight_gradient(taps() * outputs);
  for (int t = 0; t < taps(); ++t) {
    for (int c = 0; c < outputs; ++c) { weight_gradient[c * taps() + t] = summed[t * outputs + c]; }
  }
  AddGradient(weights_, weight_gradient);
  if (bias_.blob != nullptr) { AddGradient(bias_, SumParts(bias_sums, outputs)); }
  return nullptr;
}

void FusedStem::Fold() {
  if (seen_.Same(Blobs({&weights_, &bias_}, {&normalisation_}))) { return; }
  normalisation_.SetGlobal();
  transposed_.resize(taps() * shape_.outputs);
  start_.resize(shape_.outputs);
  for (int c = 0; c < shape_.outputs; ++c) {
    const float scale = normalisation_.scale[c];
    for (int t = 0; t < taps(); ++t) {
      transposed_[t * shape_.outputs + c] = scale * weights_.data()[c * taps() + t];
    }
    start_[c] = normalisation_.shift[c] + (bias_.blob != nullptr ? scale * bias_.data()[c] : 0);
  }
}

void FusedStem::Infer(const float* from, float* to, Scratch* scratch) const {
  Convolve(from, start_, slope_, scratch, to);
}

FusedBlock::FusedBlock(const Shape& shape, const Parameter& expand, const Parameter& depthwise,
    const Parameter& project, const Normalisation& expanded, const Normalisation& filtered,
    const Normalisation& projected, float expanded_slope, float filtered_slope)
    : shape_(shape),
      expand_(expand),
      depthwise_(depthwise),
      project_(project),
      expanded_(expanded),
      filtered_(filtered),
      projected_(projected),
      expanded_slope_(expanded_slope),
      filtered_slope_(filtered_slope),
      rows_{shape.height, shape.out_height, shape.kernel, shape.stride, shape.pad},
      columns_{shape.width, shape.out_width, shape.kernel, shape.stride, shape.pad} {
  group_ = std::max(kGroupStep, kGroupFloats / in_pixels() / kGroupStep * kGroupStep);
  group_ = std::min(group_, shape.wide);
  ones_.assign(std::max(shape.channels, shape.wide), 1.f);
  zeros_.assign(shape.channels, 0.f);
}

void FusedBlock::Resize(int num) {
  num_ = num;
  filtered_raw_.resize(static_cast<size_t>(num) * pixels() * shape_.wide);
  projected_raw_.resize(static_cast<size_t>(num) * pixels() * shape_.outputs);
  out_.resize(projected_raw_.size());
}

// The mean and the covariance of the input's channels.
void FusedBlock::InputMoments(const float* from, vector<Scratch>* scratch) {
  const BlockKernels& kernels = block_kernels();
  const int channels = shape_.channels, area = channels * channels, size = in_pixels() * channels;
  Floats means(num_ * channels), squares(num_ * channels), products(num_ * area);
  ForEach(num_, [&](int n, int thread) {
    float* mean = &means[n * channels];
    kernels.moments(in_pixels(), channels, from + n * size, mean, &squares[n * channels]);
    Floats minus(channels);
    for (int c = 0; c < channels; ++c) { minus[c] = -mean[c]; }
    float* centred = (*scratch)[thread].Get(0, kTilePixels * channels);
    ForEachTile(in_pixels(), [&](int first, int count) {
      kernels.affine_add(count, channels, from + n * size + first * channels, ones_.data(), minus.data(), nullptr,
          centred);
      kernels.multiply(channels, channels, count, centred, 1, channels, centred, channels, &products[n * area],
          channels, true);
    });
  });
  vector<double> variance;
  Merge(means, squares, num_, in_pixels(), channels, &mean_, &variance);
  covariance_ = SumParts(products, area);
  for (int n = 0; n < num_; ++n) {
    for (int i = 0; i < channels; ++i) {
      const double left = in_pixels() * (means[n * channels + i] - mean_[i]);
      for (int j = 0; j < channels; ++j) { covariance_[i * channels + j] += left * (means[n * channels + j] - mean_[j]); }
    }
  }
  for (double& value : covariance_) { value /= static_cast<double>(num_) * in_pixels(); }
}

// The channels `first` to first + group of an image after the first convolution, its normalisation and activation, as
// an image with zeros around it, of which only what is inside is written.
void FusedBlock::Expand(const float* image, int first, int group, float* expanded) const {
  const int width = shape_.width, channels = shape_.channels, pad = shape_.pad;
  for (int y = 0; y < shape_.height; ++y) {
    block_kernels().multiply_activate(width, group, channels, image + y * width * channels, channels, 1,
        &scaled_transposed_[first], shape_.wide, &expanded_.shift[first], expanded_slope_,
        expanded + ((y + pad) * columns_.padded() + pad) * group_, group_);
  }
}

// The taps on such an image.
TapGrid FusedBlock::ForwardTaps() const {
  return TapGrid{shape_.kernel, shape_.kernel, 0, shape_.kernel * shape_.wide, shape_.wide,
      columns_.padded() * group_, group_};
}

// An image after the depthwise convolution, channels group by group.
void FusedBlock::ExpandAndFilter(const float* image, Scratch* scratch, float* to) const {
  const int wide = shape_.wide, stride = shape_.stride;
  float* expanded = scratch->Get(own_part_, rows_.padded() * columns_.padded() * group_);
  for (int g = 0; g < wide; g += group_) {
    const int group = std::min(group_, wide - g);
    Expand(image, g, group, expanded);
    block_kernels().correlate(shape_.out_height, shape_.out_width, group, ForwardTaps(), &filters_[g],
        ConstGrid{expanded, stride * columns_.padded() * group_, stride * group_},
        Grid{to + g, shape_.out_width * wide, wide});
  }
}

// The weights in the layouts the kernels want.
void FusedBlock::Transpose() {
  const int channels = shape_.channels, wide = shape_.wide, taps = shape_.kernel * shape_.kernel;
  scaled_.resize(wide * channels);
  scaled_transposed_.resize(wide * channels);
  for (int c = 0; c < wide; ++c) {
    for (int k = 0; k < channels; ++k) {
      scaled_[c * channels + k] = expanded_.scale[c] * expand_.data()[c * channels + k];
    }
  }
  Transposed(scaled_.data(), wide, channels, scaled_transposed_.data());
  filters_.resize(taps * wide);
  Transposed(depthwise_.data(), wide, taps, filters_.data());
  project_transposed_.resize(wide * shape_.outputs);
  Transposed(project_.data(), shape_.outputs, wide, project_transposed_.data());
}

const float* FusedBlock::Forward(const float* from, vector<Scratch>* scratch) {
  const BlockKernels& kernels = block_kernels();
  const int channels = shape_.channels, wide = shape_.wide, outputs = shape_.outputs;
  const int in_size = in_pixels() * channels, wide_size = pixels() * wide, out_size = pixels() * outputs;
  const double in_count = static_cast<double>(num_) * in_pixels(), out_count = static_cast<double>(num_) * pixels();

  InputMoments(from, scratch);
  vector<double> mean(wide), variance(wide);
  spread_.resize(wide * channels);
  ForEach(wide, [&](int c, int) {
    const float* weights = expand_.data() + c * channels;
    for (int i = 0; i < channels; ++i) {
      double row = 0;
      for (int j = 0; j < channels; ++j) { row += covariance_[i * channels + j] * weights[j]; }
      spread_[c * channels + i] = row;
      mean[c] += weights[i] * mean_[i];
      variance[c] += weights[i] * row;
    }
  });
  expanded_.SetBatch(mean, variance, in_count);
  Transpose();

  Floats means(num_ * wide), squares(num_ * wide);
  ForEach(num_, [&](int n, int thread) {
    float* raw = &filtered_raw_[n * wide_size];
    ExpandAndFilter(from + n * in_size, &(*scratch)[thread], raw);
    kernels.moments(pixels(), wide, raw, &means[n * wide], &squares[n * wide]);
  });
  Merge(means, squares, num_, pixels(), wide, &mean, &variance);
  filtered_.SetBatch(mean, variance, out_count);

  means.assign(num_ * outputs, 0.f);
  squares.assign(num_ * outputs, 0.f);
  ForEach(num_, [&](int n, int thread) {
    float* filtered = (*scratch)[thread].Get(0, kTilePixels * wide);
    float* raw = &projected_raw_[n * out_size];
    ForEachTile(pixels(), [&](int first, int count) {
      kernels.affine(count, wide, &filtered_raw_[n * wide_size + first * wide], filtered_.scale.data(),
          filtered_.shift.data(), filtered_slope_, filtered);
      kernels.multiply(count, outputs, wide, filtered, wide, 1, project_transposed_.data(), outputs,
          raw + first * outputs, outputs, false);
    });
    kernels.moments(pixels(), outputs, raw, &means[n * outputs], &squares[n * outputs]);
  });
  Merge(means, squares, num_, pixels(), outputs, &mean, &variance);
  projected_.SetBatch(mean, variance, out_count);
  ForEach(num_, [&](int n, int) {
    kernels.affine_add(pixels(), outputs, &projected_raw_[n * out_size], projected_.scale.data(),
        projected_.shift.data(), shape_.residual ? from + n * out_size : nullptr, &out_[n * out_size]);
  });
  return out_.data();
}

float* FusedBlock::Backward(const float* from, float* gradient, vector<Scratch>* scratch) {
  const BlockKernels& kernels = block_kernels();
  const int channels = shape_.channels, wide = shape_.wide, outputs = shape_.outputs;
  const int taps = shape_.kernel * shape_.kernel, chunks = chunk_count(num_);
  const int in_size = in_pixels() * channels, wide_size = pixels() * wide, out_size = pixels() * outputs;
  const double in_count = static_cast<double>(num_) * in_pixels(), out_count = static_cast<double>(num_) * pixels();
  filtered_gradient_.resize(static_cast<size_t>(num_) * wide_size);
  in_gradient_.resize(static_cast<size_t>(num_) * in_size);

  Floats sums(num_ * outputs), products(num_ * outputs), z_scale, z_shift;
  ForEach(num_, [&](int n, int) {
    kernels.sum_moments(pixels(), outputs, gradient + n * out_size, &projected_raw_[n * out_size],
        projected_.mean.data(), &sums[n * outputs], &products[n * outputs]);
  });
  projected_.Backward(SumParts(sums, outputs), SumParts(products, outputs), out_count, &z_scale, &z_shift);

  Floats project_sums(static_cast<size_t>(chunks) * outputs * wide);
  sums.assign(num_ * wide, 0.f);
  products.assign(num_ * wide, 0.f);
  ForEach(chunks, [&](int chunk, int thread) {
    Scratch& own = (*scratch)[thread];
    float* raw_gradient = own.Get(0, kTilePixels * outputs);
    float* filtered = own.Get(1, kTilePixels * wide);
    ForEachInChunk(chunk, num_, [&](int n) {
      ForEachTile(pixels(), [&](int first, int count) {
        const float* raw = &filtered_raw_[n * wide_size + first * wide];
        float* wide_gradient = &filtered_gradient_[n * wide_size + first * wide];
        const int at = n * out_size + first * outputs;
        kernels.combine(count, outputs, gradient + at, &projected_raw_[at], outputs, projected_.scale.data(),
            z_scale.data(), z_shift.data(), raw_gradient, outputs);
        kernels.affine(count, wide, raw, filtered_.scale.data(), filtered_.shift.data(), filtered_slope_, filtered);
        kernels.multiply(outputs, wide, count, raw_gradient, 1, outputs, filtered, wide,
            &project_sums[static_cast<size_t>(chunk) * outputs * wide], wide, true);
        kernels.multiply(count, wide, outputs, raw_gradient, outputs, 1, project_.data(), wide, wide_gradient, wide,
            false);
        kernels.mask_moments(count, wide, raw, filtered_.scale.data(), filtered_.shift.data(), filtered_.mean.data(),
            filtered_slope_, wide_gradient, &sums[n * wide], &products[n * wide]);
      });
    });
  });
  AddGradient(project_, SumParts(project_sums, outputs * wide));
  filtered_.Backward(SumParts(sums, wide), SumParts(products, wide), out_count, &z_scale, &z_shift);

  // With a the gradient of the expanded values after their normalisation and x the input: sums of a and of x a^T, and
  // x's gradient as if the normalisation's mean and variance were constants.
  Floats expand_sums(static_cast<size_t>(chunks) * channels * wide), filter_sums(chunks * taps * wide);
  sums.assign(chunks * wide, 0.f);
  ForEach(chunks, [&](int chunk, int thread) {
    Scratch& own = (*scratch)[thread];
    const int stride = shape_.stride, width = shape_.width, out_width = shape_.out_width;
    const int padded = columns_.padded() * group_, padded_out = columns_.padded_out() * group_;
    float* expanded = own.Get(own_part_, rows_.padded() * padded);
    float* raw_gradient = own.Get(own_part_ + 1, rows_.padded_out() * padded_out);
    float* inner_gradient = raw_gradient + rows_.lead() * padded_out + columns_.lead() * group_;
    float* expanded_gradient = own.Get(0, in_pixels() * group_);
    ForEachInChunk(chunk, num_, [&](int n) {
      for (int g = 0; g < wide; g += group_) {
        const int group = std::min(group_, wide - g);
        Expand(from + n * in_size, g, group, expanded);
        for (int y = 0; y < shape_.out_height; ++y) {
          const size_t at = n * wide_size + y * out_width * wide + g;
          kernels.combine(out_width, group, &filtered_gradient_[at], &filtered_raw_[at], wide, &filtered_.scale[g],
              &z_scale[g], &z_shift[g], inner_gradient + y * padded_out, group_);
        }
        kernels.correlate_gradient(shape_.out_height, out_width, group, ForwardTaps(),
            ConstGrid{expanded, stride * padded, stride * group_}, ConstGrid{inner_gradient, padded_out, group_},
            &filter_sums[chunk * taps * wide + g]);
        for (int phase = 0; phase < stride * stride; ++phase) {
          const FilterPhase y(rows_, phase / stride), x(columns_, phase % stride);
          const int kernel = shape_.kernel;
          const TapGrid met = {y.taps, x.taps, (y.last_tap * kernel + x.last_tap) * wide, -stride * kernel * wide,
              -stride * wide, padded_out, group_};
          kernels.correlate_masked(y.count, x.count, group, met, &filters_[g],
              ConstGrid{raw_gradient + y.source * padded_out + x.source * group_, padded_out, group_},
              ConstGrid{expanded + (y.first + shape_.pad) * padded + (x.first + shape_.pad) * group_,
                  stride * padded, stride * group_},
              expanded_slope_,
              Grid{expanded_gradient + (y.first * width + x.first) * group, stride * width * group, stride * group},
              &sums[chunk * wide + g]);
        }
        kernels.multiply(channels, group, in_pixels(), from + n * in_size, 1, channels, expanded_gradient, group,
            &expand_sums[static_cast<size_t>(chunk) * channels * wide + g], wide, true);
        kernels.multiply(in_pixels(), channels, group, expanded_gradient, group, 1, &scaled_[g * channels], channels,
            &in_gradient_[n * in_size], channels, g > 0);
      }
    });
  });
  const vector<double> filters = SumParts(filter_sums, taps * wide);
  vector<double> filter_gradient(filters.size());
  for (int t = 0; t < taps; ++t) {
    for (int c = 0; c < wide; ++c) { filter_gradient[c * taps + t] = filters[t * wide + c]; }
  }
  AddGradient(depthwise_, filter_gradient);

  // Now the normalisation's part. e = (w x) / deviation is the normalised value, and a's true gradient
  // scale (a - mean a - e mean(a e)).
  const vector<double> gradient_sums = SumParts(sums, wide);
  vector<double> cross = SumParts(expand_sums, channels * wide);  // made that of the centred input
  for (int k = 0; k < channels; ++k) {
    for (int c = 0; c < wide; ++c) { cross[k * wide + c] -= mean_[k] * gradient_sums[c]; }
  }
  vector<double> gradient_products(wide), expand_gradient(wide * channels);
  for (int c = 0; c < wide; ++c) {
    for (int k = 0; k < channels; ++k) {
      gradient_products[c] += cross[k * wide + c] * expand_.data()[c * channels + k];
    }
  }
  Floats e_scale, e_shift;
  expanded_.Backward(gradient_sums, gradient_products, in_count, &e_scale, &e_shift);
  vector<double> constant(channels);
  Floats weighted(wide * channels), correction(channels * channels);
  for (int c = 0; c < wide; ++c) {
    const float* weights = expand_.data() + c * channels;
    for (int k = 0; k < channels; ++k) {
      // The sum over pixels of x_k (w x) is in_count times their covariance.
      expand_gradient[c * channels + k] =
          expanded_.scale[c] * cross[k * wide + c] + e_scale[c] * spread_[c * channels + k] * in_count;
      constant[k] -= scaled_[c * channels + k] * gradient_sums[c] / in_count;
      weighted[c * channels + k] = e_scale[c] * weights[k];
    }
  }
  AddGradient(expand_, expand_gradient);
  kernels.multiply(channels, channels, wide, weighted.data(), 1, channels, expand_.data(), channels,
      correction.data(), channels, false);
  for (int j = 0; j < channels; ++j) {
    for (int k = 0; k < channels; ++k) { constant[k] -= mean_[j] * correction[j * channels + k]; }
  }
  const Floats start(constant.begin(), constant.end());
  ForEach(num_, [&](int n, int) {
    ForEachTile(in_pixels(), [&](int first, int count) {
      const int at = n * in_size + first * channels;
      float* to = &in_gradient_[at];
      kernels.affine_add(count, channels, to, ones_.data(), start.data(), shape_.residual ? gradient + at : nullptr,
          to);
      kernels.multiply(count, channels, channels, from + at, channels, 1, correction.data(), channels, to, channels,
          true);
    });
  });
  return in_gradient_.data();
}

void FusedBlock::Fold() {
  if (seen_.Same(Blobs({&expand_, &depthwise_, &project_}, {&expanded_, &filtered_, &projected_}))) { return; }
  expanded_.SetGlobal();
  filtered_.SetGlobal();
  projected_.SetGlobal();
  Transpose();
  const int taps = shape_.kernel * shape_.kernel;
  for (int t = 0; t < taps; ++t) {
    for (int c = 0; c < shape_.wide; ++c) { filters_[t * shape_.wide + c] *= filtered_.scale[c]; }
  }
  for (int c = 0; c < shape_.wide; ++c) {
    for (int k = 0; k < shape_.outputs; ++k) { project_transposed_[c * shape_.outputs + k] *= projected_.scale[k]; }
  }
}

void FusedBlock::Infer(const float* from, float* to, Scratch* scratch) const {
  const BlockKernels& kernels = block_kernels();
  const int wide = shape_.wide, outputs = shape_.outputs;
  float* filtered = scratch->Get(1, pixels() * wide);
  ExpandAndFilter(from, scratch, filtered);
  ForEachTile(pixels(), [&](int first, int count) {
    float* tile = filtered + first * wide;
    float* result = to + first * outputs;
    kernels.affine(count, wide, tile, ones_.data(), filtered_.shift.data(), filtered_slope_, tile);
    kernels.multiply_activate(count, outputs, wide, tile, wide, 1, project_transposed_.data(), outputs,
        projected_.shift.data(), 1, result, outputs);
    if (shape_.residual) {
      kernels.affine_add(count, outputs, result, ones_.data(), zeros_.data(), from + first * outputs, result);
    }
  });
}

}  // namespace caffe
