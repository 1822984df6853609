#ifndef CAFFE_STEPS_UPSTREAM_ONLY_HPP_
#define CAFFE_STEPS_UPSTREAM_ONLY_HPP_

#include <cstdlib>
#include <cstring>

namespace caffe {

/// Whether upstream's layers are to be computed by upstream's code alone: if the environment has CAFFE_FUSE=0.
inline bool UpstreamOnly() {
  const char* setting = std::getenv("CAFFE_FUSE");
  return setting != nullptr && std::strcmp(setting, "0") == 0;
}

}  // namespace caffe

#endif  // CAFFE_STEPS_UPSTREAM_ONLY_HPP_
