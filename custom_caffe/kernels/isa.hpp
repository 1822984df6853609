#ifndef CAFFE_KERNELS_ISA_HPP_
#define CAFFE_KERNELS_ISA_HPP_

#include <string>
#include <vector>

namespace caffe {

/**
 * @brief Instruction set that kernels are compiled for: the levels of x86-64 (SSE2, AVX2 with FMA, AVX-512), and on
 *        other processors the one that the compiler takes by itself (NEON on 64-bit ARM).
 */
enum class Isa { kBaseline, kV3, kV4 };

/// "baseline", "v3" or "v4"; where it is no x86-64, "baseline" is the only one.
const char* isa_name(Isa isa);

/// Those that kernels are compiled for and this processor has, the widest last.
const std::vector<Isa>& available_isas();

/// The one whose kernels run: that of `SetIsa`, or else CAFFE_ISA in the environment, or else the widest. Throws
/// std::invalid_argument, in one line, where the environment names another than the available ones.
Isa isa();

/// Has kernels of this instruction set run from now on, in all threads. Throws std::invalid_argument likewise.
void SetIsa(const std::string& name);

}  // namespace caffe

#endif  // CAFFE_KERNELS_ISA_HPP_
