#include "caffe/fusion/chain_run.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "caffe/fusion/inner_blobs.hpp"
#include "caffe/fusion/seen_blobs.hpp"
#include "caffe/kernels/window_kernels.hpp"
#include "caffe/threads/for_each.hpp"
#include "caffe/threads/scratch.hpp"

namespace caffe {

namespace {

using std::string;
using std::vector;

// Inner products read their weights once for as many images.
const int kMostInGroup = 8;
// Images, or bands of rows, for each thread: the more, the better they are shared out.
const int kPerThread = 4;
// Weights of a chain's largest convolution: with more they do not stay in a core's cache beside the maps, and layers
// that go through a whole batch at once are the better (see WinogradPays).
const int kMostWeights = 1 << 16;
// Of a thread's memory: turns of an image's maps, rows that wait for pooling, a row of results, inner products' input.
enum Part { kMaps, kOtherMaps, kRing, kRow, kFeatures };

// An image with the channels of a pixel side by side and zeros around it.
struct Map {
  int channels = 0, height = 0, width = 0, pad = 0;
  int pitch() const { return (width + 2 * pad) * channels; }
  // Kernels read a little further than the last pixel.
  size_t size() const { return static_cast<size_t>(height + 2 * pad) * pitch() + kPanel; }
  float* row(float* map, int y) const { return map + static_cast<size_t>(y + pad) * pitch() + pad * channels; }
  // The zeros beside row y, and those above the first or below the last.
  void Surround(float* map, int y) const {
    if (pad == 0) { return; }
    float* first = row(map, y) - pad * channels;
    std::fill(first, first + pad * channels, 0.f);
    std::fill(first + pitch() - pad * channels, first + pitch(), 0.f);
    if (y == 0) { std::fill(map, first, 0.f); }
    if (y == height - 1) { std::fill(first + pitch(), first + (1 + pad) * pitch(), 0.f); }
  }
};

// A link of the chain with the shapes of its maps and its weights as the kernels read them.
struct Stage {
  vector<int> weights;  // layers whose outputs lie side by side: several at the end of a chain
  int activation = -1;
  bool product = false;  // inner product: a kernel as large as the map
  Map in, out;
  int kernel_h = 0, kernel_w = 0, conv_height = 0, conv_width = 0, pool = 1, pool_stride = 1;
  Floats packed, start, slopes;

  int taps() const { return kernel_w * in.channels; }
  int outputs() const { return out.channels; }
  int slot() const { return conv_width * outputs() + kPanel; }

  WindowRow Row(const float* from, float* to) const {
    WindowRow row;
    row.rows = product ? 1 : kernel_h;
    row.taps = product ? kernel_h * taps() : taps();
    row.from_row = in.pitch();
    row.from_pixel = product ? row.taps : in.channels;
    row.outputs = outputs();
    row.from = from;
    row.weights = packed.data();
    row.start = start.data();
    row.slopes = slopes.data();
    row.to = to;
    return row;
  }
};

void Softmax(const float* from, int step, int count, float* to) {
  float most = from[0], sum = 0;
  for (int c = 1; c < count; ++c) { most = std::max(most, from[c]); }
  for (int c = 0; c < count; ++c) { sum += to[c * step] = std::exp(from[c] - most); }
  for (int c = 0; c < count; ++c) { to[c * step] /= sum; }
}

class ChainRun : public FusedRun {
 public:
  ChainRun(const Net<float>& net, int first, int last, const vector<ChainLink>& links, const vector<int>& heads,
      const vector<ChainOutput>& outputs, const std::set<Blob<float>*>& written)
      : net_(net),
        first_(first),
        last_(last),
        bottom_(net.bottom_vecs()[first][0]),
        links_(links),
        outputs_(outputs),
        inner_(net, first, last, written) {
    for (const ChainLink& link : links) {
      stages_.push_back(Stage());
      stages_.back().weights.push_back(link.weights);
      stages_.back().activation = link.activation;
    }
    if (!heads.empty()) {
      links_.push_back(ChainLink());
      stages_.push_back(Stage());
      stages_.back().weights = heads;
    }
    for (Stage& stage : stages_) { stage.product = Type(stage.weights[0]) == "InnerProduct"; }
    while (products_ < stages_.size() && !stages_[products_].product) { ++products_; }
  }

  int first() const override { return first_; }
  int last() const override { return last_; }
  bool CanBackward() const override { return false; }
  void Backward() override { LOG(FATAL) << "has no backward pass"; }
  void HandOver() override {
    if (ran_) { inner_.RunLayers(); }
    ran_ = false;
  }

  void Forward() override {
    inner_.Disarm();
    ran_ = false;
    if (bottom_->shape() != shape_) {
      inner_.Reshape();
      Measure();
      shape_ = bottom_->shape();
    }
    if (!seen_.Same(PackedBlobs())) { Pack(); }
    scratch_.resize(std::max<size_t>(scratch_.size(), thread_count()));
    from_ = bottom_->cpu_data();
    to_.clear();
    for (const ChainOutput& output : outputs_) { to_.push_back(output.top->mutable_cpu_data()); }
    if (shape_[0] > 0) { Run(shape_[0]); }
    ran_ = true;
    inner_.ArmData();
  }

 private:
  void Run(int num) {
    const int parts = kPerThread * thread_count();
    const bool alone = num >= parts;  // whether a thread has images to itself
    if (!alone) { RunBands(num); }
    if (alone || products_ < stages_.size()) {
      const int group = std::min(kMostInGroup, Parts(num, parts));
      ForEach(Parts(num, group), [&](int i, int thread) {
        RunGroup(i * group, std::min(num, (i + 1) * group), alone, &scratch_[thread]);
      });
    }
  }

  string Type(int layer) const { return net_.layers()[layer]->type(); }
  const Blob<float>& Weights(int layer) const { return *net_.layers()[layer]->blobs()[0]; }
  const Blob<float>& Top(int layer) const { return *net_.top_vecs()[layer][0]; }

  // The shapes of all maps, from the layers' own.
  void Measure() {
    for (size_t i = 0; i < stages_.size(); ++i) {
      Stage& stage = stages_[i];
      const int layer = stage.weights[0];
      if (i == 0) {
        stage.in.channels = bottom_->shape(1);
        stage.in.height = bottom_->shape(2);
        stage.in.width = bottom_->shape(3);
      } else {
        stage.in = stages_[i - 1].out;
      }
      const int kernel_h = stage.kernel_h, kernel_w = stage.kernel_w;
      if (stage.product) {
        stage.kernel_h = stage.in.height;
        stage.kernel_w = stage.in.width;
        stage.conv_height = stage.conv_width = 1;
      } else {
        const ConvolutionParameter& convolution = net_.layers()[layer]->layer_param().convolution_param();
        stage.kernel_h = Weights(layer).shape(2);
        stage.kernel_w = Weights(layer).shape(3);
        stage.conv_height = Top(layer).shape(2);
        stage.conv_width = Top(layer).shape(3);
        stage.in.pad = convolution.pad_size() > 0 ? convolution.pad(0) : 0;
      }
      if (kernel_h != stage.kernel_h || kernel_w != stage.kernel_w) { seen_.Forget(); }
      if (i > 0) { stages_[i - 1].out.pad = stage.in.pad; }
      stage.out = Map();
      for (int one : stage.weights) { stage.out.channels += Top(one).shape(1); }
      stage.out.height = stage.conv_height;
      stage.out.width = stage.conv_width;
      const int pooling = links_[i].pooling;
      if (pooling >= 0) {
        stage.pool = net_.layers()[pooling]->layer_param().pooling_param().kernel_size();
        stage.pool_stride = net_.layers()[pooling]->layer_param().pooling_param().stride();
        stage.out.height = Top(pooling).shape(2);
        stage.out.width = Top(pooling).shape(3);
      }
    }
  }

  // The blobs that Pack reads.
  vector<const Blob<float>*> PackedBlobs() const {
    vector<const Blob<float>*> all;
    for (const Stage& stage : stages_) {
      vector<int> layers = stage.weights;
      if (stage.activation >= 0) { layers.push_back(stage.activation); }
      for (int layer : layers) {
        for (const shared_ptr<Blob<float> >& blob : net_.layers()[layer]->blobs()) { all.push_back(blob.get()); }
      }
    }
    return all;
  }

  void Pack() {
    for (Stage& stage : stages_) {
      const int padded = RoundUp(stage.outputs(), kPanel);
      const int channels = stage.in.channels, taps = stage.kernel_h * stage.kernel_w, products = taps * channels;
      stage.packed.assign(static_cast<size_t>(padded) * products, 0.f);
      stage.start.assign(padded, 0.f);
      stage.slopes.assign(padded, 1.f);
      int at = 0;
      for (int layer : stage.weights) {
        const vector<shared_ptr<Blob<float> > >& blobs = net_.layers()[layer]->blobs();
        const float* from = blobs[0]->cpu_data();
        const int outputs = blobs[0]->shape(0);
        for (int o = at; o < at + outputs; ++o) {
          float* panel = &stage.packed[static_cast<size_t>(o / kPanel) * products * kPanel + o % kPanel];
          for (int c = 0; c < channels; ++c) {
            for (int tap = 0; tap < taps; ++tap) { panel[(tap * channels + c) * kPanel] = *from++; }
          }
        }
        if (blobs.size() > 1) { std::copy(blobs[1]->cpu_data(), blobs[1]->cpu_data() + outputs, &stage.start[at]); }
        at += outputs;
      }
      if (stage.activation < 0) { continue; }
      const vector<shared_ptr<Blob<float> > >& blobs = net_.layers()[stage.activation]->blobs();
      for (int o = 0; o < stage.outputs(); ++o) {
        stage.slopes[o] = blobs.empty()
            ? net_.layers()[stage.activation]->layer_param().relu_param().negative_slope()
            : blobs[0]->cpu_data()[blobs[0]->count() == 1 ? 0 : o];
      }
    }
  }

  // Rows from begin to end of an image of the bottom, with their channels side by side.
  void TurnRows(int n, int begin, int end, float* map) const {
    const Map& in = stages_[0].in;
    const int plane = in.height * in.width;
    for (int y = begin; y < end; ++y) {
      const float* from = from_ + (static_cast<size_t>(n) * in.channels * in.height + y) * in.width;
      float* to = in.row(map, y);
      for (int c = 0; c < in.channels; ++c, from += plane) {
        for (int x = 0; x < in.width; ++x) { to[x * in.channels + c] = from[x]; }
      }
      in.Surround(map, y);
    }
  }

  // Rows from begin to end of what a stage with a convolution makes of image n; the last stage writes the tops.
  void RunRows(size_t i, int n, float* map, int begin, int end, float* to, Scratch* scratch) const {
    const Stage& stage = stages_[i];
    const bool last = i + 1 == stages_.size();
    float* ring = scratch->Get(kRing, static_cast<size_t>(stage.pool) * stage.slot());
    int done = 0;
    vector<const float*> rows(stage.pool);
    for (int y = begin; y < end; ++y) {
      const int top = y * stage.pool_stride, bottom = std::min(top + stage.pool, stage.conv_height);
      for (int row = std::max(done, top); row < bottom; ++row) {
        const float* from = map + static_cast<size_t>(row) * stage.in.pitch();
        window_kernels().convolve(stage.Row(from, ring + row % stage.pool * stage.slot()), stage.conv_width);
      }
      done = std::max(done, bottom);
      for (int row = top; row < bottom; ++row) { rows[row - top] = ring + row % stage.pool * stage.slot(); }
      const size_t size = static_cast<size_t>(stage.out.width) * stage.outputs();
      float* written = last ? scratch->Get(kRow, size) : stage.out.row(to, y);
      if (links_[i].pooling >= 0) {
        window_kernels().pool(rows.data(), bottom - top, stage.conv_width, stage.outputs(), stage.pool,
            stage.pool_stride, stage.out.width, written);
      } else {
        std::copy(rows[0], rows[0] + size, written);
      }
      if (last) {
        Write(n, y, written);
      } else {
        stage.out.Surround(to, y);
      }
    }
  }

  // Row y of image n, outputs side by side, to the tops.
  void Write(int n, int y, const float* row) const {
    const Map& out = stages_.back().out;
    const size_t plane = static_cast<size_t>(out.height) * out.width;
    for (size_t i = 0; i < outputs_.size(); ++i) {
      const ChainOutput& output = outputs_[i];
      float* to = to_[i] + n * output.count * plane + y * out.width;
      const float* from = row + output.begin;
      if (output.softmax) {
        for (int x = 0; x < out.width; ++x) { Softmax(from + x * out.channels, plane, output.count, to + x); }
        continue;
      }
      for (int c = 0; c < output.count; ++c, to += plane) {
        for (int x = 0; x < out.width; ++x) { to[x] = from[x * out.channels + c]; }
      }
    }
  }

  // All images through one convolution after the other, in bands of rows.
  void RunBands(int num) {
    const Map& in = stages_[0].in;
    size_t size = in.size();
    for (size_t i = 0; i < products_; ++i) { size = std::max(size, stages_[i].out.size()); }
    for (Floats& maps : maps_) { maps.resize(std::max(maps.size(), size * num)); }
    features_.resize(std::max(features_.size(), num * FeatureSize() + kPanel));
    InBands(num, in.height, [&](int n, int begin, int end, Scratch*) { TurnRows(n, begin, end, &maps_[0][n * size]); });
    for (size_t i = 0; i < products_; ++i) {
      InBands(num, stages_[i].out.height, [&](int n, int begin, int end, Scratch* scratch) {
        float* to = i + 1 == products_ ? &features_[n * FeatureSize()] : &maps_[(i + 1) % 2][n * size];
        RunRows(i, n, &maps_[i % 2][n * size], begin, end, to, scratch);
      });
    }
  }

  template <typename Work>
  void InBands(int num, int height, Work work) {
    const int rows = Parts(height, Parts(kPerThread * thread_count(), num)), bands = Parts(height, rows);
    ForEach(num * bands, [&](int i, int thread) {
      const int begin = i % bands * rows;
      work(i / bands, begin, std::min(height, begin + rows), &scratch_[thread]);
    });
  }

  // What the first inner product reads of an image.
  size_t FeatureSize() const {
    const Map& out = stages_[products_ - 1].out;
    return products_ == stages_.size() ? 0 : static_cast<size_t>(out.height) * out.pitch();
  }

  // Images from begin to end: their convolutions, if these are still to be done, and their inner products.
  void RunGroup(int begin, int end, bool convolutions, Scratch* scratch) const {
    const int count = end - begin;
    const float* from;
    if (convolutions) {
      size_t size = stages_[0].in.size();
      for (size_t i = 0; i < products_; ++i) { size = std::max(size, stages_[i].out.size()); }
      float* features = scratch->Get(kFeatures, count * FeatureSize() + kPanel);
      for (int n = begin; n < end; ++n) {
        float* map = scratch->Get(kMaps, size);
        float* other = scratch->Get(kOtherMaps, size);
        TurnRows(n, 0, stages_[0].in.height, map);
        for (size_t i = 0; i < products_; ++i) {
          float* to = i + 1 == products_ ? features + (n - begin) * FeatureSize() : other;
          RunRows(i, n, map, 0, stages_[i].out.height, to, scratch);
          std::swap(map, other);
        }
      }
      from = features;
    } else {
      from = &features_[begin * FeatureSize()];
    }
    for (size_t i = products_; i < stages_.size(); ++i) {
      const Stage& stage = stages_[i];
      float* to = scratch->Get((i - products_) % 2 == 0 ? kMaps : kOtherMaps, count * stage.outputs() + kPanel);
      window_kernels().convolve(stage.Row(from, to), count);
      from = to;
    }
    if (products_ < stages_.size()) {
      for (int n = begin; n < end; ++n) { Write(n, 0, from + (n - begin) * stages_.back().outputs()); }
    }
  }

  const Net<float>& net_;
  const int first_, last_;
  Blob<float>* const bottom_;
  vector<ChainLink> links_;
  const vector<ChainOutput> outputs_;
  InnerBlobs inner_;
  vector<Stage> stages_;
  size_t products_ = 0;  // the first stage that is an inner product
  bool ran_ = false;
  vector<int> shape_;
  SeenBlobs seen_;
  const float* from_ = nullptr;
  vector<float*> to_;
  Floats maps_[2], features_;
  vector<Scratch> scratch_;
};

}  // namespace

// A convolution or inner product that a chain can have.
bool ChainFinder::IsWeights(int i) const {
  if (i >= Layers() || !Plain(i)) { return false; }
  if (Is(i, "InnerProduct")) {
    const InnerProductParameter& product = Param(i).inner_product_param();
    return product.axis() == 1 && !product.transpose();
  }
  if (!Is(i, "Convolution") || net_.bottom_vecs()[i][0]->num_axes() != 4) { return false; }
  const ConvolutionParameter& convolution = Param(i).convolution_param();
  int kernel, stride, pad;
  return Geometry(convolution, &kernel, &stride, &pad) && stride == 1 && convolution.group() == 1 &&
         convolution.axis() == 1 && Square(convolution.dilation(), 1) == 1 &&
         convolution.engine() != ConvolutionParameter_Engine_CAFFE;
}

int ChainFinder::FindLink(int i, Blob<float>** blob, ChainLink* link) const {
  if (!IsWeights(i)) { return i; }
  if (*blob == nullptr) {
    if (!Is(i, "Convolution")) { return i; }
  } else if (net_.bottom_vecs()[i][0] != *blob || !OnlyReadBy(*blob, i)) {
    return i;
  }
  *link = ChainLink();
  link->weights = i;
  *blob = net_.top_vecs()[i][0];
  int next = i + 1;
  if (next < Layers() && Plain(next)) {
    const bool relu = Is(next, "ReLU") && Param(next).relu_param().engine() != ReLUParameter_Engine_CAFFE;
    if ((relu && Step(next, "ReLU", blob)) || Step(next, "PReLU", blob)) { link->activation = next++; }
  }
  if (Is(i, "Convolution") && Is(next, "Pooling") && Plain(next)) {
    const PoolingParameter& pooling = Param(next).pooling_param();
    const bool square = pooling.has_kernel_size() && !pooling.has_stride_h() && !pooling.has_pad_h();
    if (square && pooling.pool() == PoolingParameter_PoolMethod_MAX && pooling.pad() == 0 &&
        pooling.engine() != PoolingParameter_Engine_CAFFE && Step(next, "Pooling", blob)) {
      link->pooling = next++;
    }
  }
  return next;
}

// From a Split of `blob` on: layers alike that read it, each one of its tops.
int ChainFinder::FindHeads(int i, const Blob<float>* blob, vector<int>* heads) const {
  if (!Is(i, "Split") || net_.bottom_vecs()[i][0] != blob || !OnlyReadBy(blob, i)) { return i; }
  const vector<Blob<float>*>& tops = net_.top_vecs()[i];
  std::set<const Blob<float>*> read;
  int next = i + 1;
  for (; next <= i + static_cast<int>(tops.size()); ++next) {
    if (!IsWeights(next) || string(net_.layers()[next]->type()) != net_.layers()[i + 1]->type()) { return i; }
    const Blob<float>* bottom = net_.bottom_vecs()[next][0];
    if (std::find(tops.begin(), tops.end(), bottom) == tops.end() || !read.insert(bottom).second ||
        Readers(bottom).size() != 1) {
      return i;
    }
    int kernel, stride, pad, first_kernel, first_pad;
    if (Is(next, "Convolution")) {
      Geometry(Param(next).convolution_param(), &kernel, &stride, &pad);
      Geometry(Param(i + 1).convolution_param(), &first_kernel, &stride, &first_pad);
      if (kernel != first_kernel || pad != first_pad) { return i; }
    }
    heads->push_back(next);
  }
  return next;
}

int ChainFinder::Find(int i, vector<shared_ptr<FusedRun> >* runs) const {
  if (net_.phase() != TEST) { return i; }
  vector<ChainLink> links;
  Blob<float>* blob = nullptr;
  ChainLink link;
  int next = i;
  for (int end; (end = FindLink(next, &blob, &link)) != next; next = end) { links.push_back(link); }
  // One layer alone is as fast by itself.
  if (links.size() < 2) { return i; }
  for (const ChainLink& one : links) {
    if (Is(one.weights, "Convolution") && net_.layers()[one.weights]->blobs()[0]->count() > kMostWeights) { return i; }
  }
  vector<int> heads;
  const int end = FindHeads(next, blob, &heads);
  if (end == next) { heads.clear(); }
  next = end;
  vector<ChainOutput> outputs;
  int count = 0;
  for (size_t k = 0; k < std::max<size_t>(1, heads.size()); ++k) {
    ChainOutput output;
    output.top = heads.empty() ? blob : net_.top_vecs()[heads[k]][0];
    output.begin = count;
    output.count = output.top->shape(1);
    count += output.count;
    outputs.push_back(output);
  }
  for (; Is(next, "Softmax") && Plain(next) && Param(next).softmax_param().axis() == 1; ++next) {
    Blob<float>* read = net_.bottom_vecs()[next][0];
    Blob<float>* made = net_.top_vecs()[next][0];
    size_t k = 0;
    while (k < outputs.size() && (outputs[k].top != read || outputs[k].softmax)) { ++k; }
    if (k == outputs.size() || made == read || Readers(read).size() != 1) { break; }
    outputs[k].top = made;
    outputs[k].softmax = true;
  }
  std::set<Blob<float>*> written;
  for (const ChainOutput& output : outputs) { written.insert(output.top); }
  LOG_IF(INFO, Caffe::root_solver()) << "Layers " << net_.layer_names()[i] << " to " << net_.layer_names()[next - 1]
                                     << " are computed as one";
  runs->push_back(shared_ptr<FusedRun>(new ChainRun(net_, i, next - 1, links, heads, outputs, written)));
  return next;
}

}  // namespace caffe
