// Just enough of CUDA's execution model to run a kernel's own source on a CPU: the threads of a block are
// coroutines that run in a random order from one __syncthreads to the next, the blocks follow each other. A
// thread that reads what another has yet to write, for want of a __syncthreads, gets a wrong number.
#include <ucontext.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

struct Index {
  int x;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __device__
#define __shared__ static
#define CUDA_KERNEL_LOOP(i, n) \
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += blockDim.x * gridDim.x)

namespace on_cpu {

const size_t kStack = 64 * 1024;

struct Thread {
  ucontext_t context;
  std::vector<char> stack;
  bool ended;
};

static ucontext_t scheduler;
static Thread* running;
static std::function<void()> body;

static void Run() {
  body();
  running->ended = true;
  swapcontext(&running->context, &scheduler);
}

static void RunBlock(std::vector<Thread>* threads, std::mt19937* random) {
  std::vector<int> order;
  for (int i = 0; i < threads->size(); ++i) {
    Thread& thread = (*threads)[i];
    thread.ended = false;
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = &thread.stack[0];
    thread.context.uc_stack.ss_size = kStack;
    thread.context.uc_link = nullptr;
    makecontext(&thread.context, Run, 0);
    order.push_back(i);
  }
  while (!order.empty()) {
    std::shuffle(order.begin(), order.end(), *random);
    for (int i : order) {
      threadIdx.x = i;
      running = &(*threads)[i];
      swapcontext(&scheduler, &running->context);
    }
    const size_t before = order.size();
    order.erase(std::remove_if(order.begin(), order.end(), [&](int i) { return (*threads)[i].ended; }),
        order.end());
    if (!order.empty() && order.size() != before) {
      std::fprintf(stderr, "some threads of a block ended while others wait in __syncthreads\n");
      std::abort();
    }
  }
}

template <typename Kernel, typename... Arguments>
void Launch(Kernel kernel, int blocks, int threads, Arguments... arguments) {
  static std::mt19937 random(0);
  std::vector<Thread> all(threads);
  for (Thread& thread : all) { thread.stack.resize(kStack); }
  gridDim.x = blocks;
  blockDim.x = threads;
  body = [&] { kernel(arguments...); };
  for (int block = 0; block < blocks; ++block) {
    blockIdx.x = block;
    RunBlock(&all, &random);
  }
}

}  // namespace on_cpu

inline void __syncthreads() { swapcontext(&on_cpu::running->context, &on_cpu::scheduler); }
