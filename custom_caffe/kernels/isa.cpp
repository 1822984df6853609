#include "caffe/kernels/isa.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "caffe/kernels/levels.hpp"

namespace caffe {

namespace {

using std::string;

// -1 before it is known.
std::atomic<int> chosen(-1);

Isa Named(const string& name, const char* source) {
  string names;
  for (Isa one : available_isas()) {
    if (name == isa_name(one)) { return one; }
    names += string(names.empty() ? "" : ", ") + isa_name(one);
  }
  throw std::invalid_argument(
      string(source) + name + ": expected an instruction set that this processor has: " + names);
}

}  // namespace

const char* isa_name(Isa isa) { return isa == Isa::kV4 ? "v4" : isa == Isa::kV3 ? "v3" : "baseline"; }

const std::vector<Isa>& available_isas() {
  static const std::vector<Isa> available = [] {
    std::vector<Isa> found(1, Isa::kBaseline);
#ifdef CAFFE_X86_LEVELS
    if (__builtin_cpu_supports("x86-64-v3")) { found.push_back(Isa::kV3); }
    if (__builtin_cpu_supports("x86-64-v4")) { found.push_back(Isa::kV4); }
#endif
    return found;
  }();
  return available;
}

Isa isa() {
  int found = chosen;
  if (found < 0) {
    const char* setting = std::getenv("CAFFE_ISA");
    const Isa first = setting == nullptr ? available_isas().back() : Named(setting, "CAFFE_ISA=");
    // Not over what another thread has set meanwhile.
    if (chosen.compare_exchange_strong(found, static_cast<int>(first))) { found = static_cast<int>(first); }
  }
  return static_cast<Isa>(found);
}

void SetIsa(const string& name) { chosen = static_cast<int>(Named(name, "")); }

}  // namespace caffe
