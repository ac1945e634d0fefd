// For each sequence and each block of n query rows:
//
//   C                = the columns that a row of it sees, S at most
//   scores [H, n, C] = scale · Q_block · K[:, :C]       one batched product
//   probabilities    = softmax(scores, …)               in place
//   observer        <- probabilities                    fuses heads, measures, folds
//   output block     = probabilities · V[:C]            written into [B, S, H, V], the layout the model reads
//   next
//
// On the CPU the blocks of a sequence are shared out over the threads: every step of a block runs on one
// core, while its scores are in that core's cache, and no step waits for the others. A thread that is done
// takes the next block, from the last one on: under a causal mask the last blocks are the widest.
#include "server/capture/blocked_attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/ThreadLocalState.h>

#include <algorithm>
#include <atomic>

#include "server/memory/allocation_counter.h"

namespace attribution::capture {
namespace {

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How the rows of a sequence are cut: into blocks of `rows`, `threads` of which are in work at once.
struct Blocks {
  int64_t threads = 1;
  int64_t rows = 1;
  int64_t count = 1;

  Blocks(int64_t length, c10::Device device) {
    if (length == 0) {  // what a stride leaves of a short input
      count = 0;
      return;
    }
    const int64_t available = device.is_cpu() && !at::in_parallel_region() ? at::get_num_threads() : 1;
    const int64_t most = RowsInWork(available) / available;
    threads = std::min(available, DivideUp(length, most));
    rows = DivideUp(length, DivideUp(DivideUp(length, most), threads) * threads);  // as many for each thread
    count = DivideUp(length, rows);
  }
};

// Keys or values of one sequence for every query head: [H, …].
at::Tensor HeadsOf(const at::Tensor& tensor, int64_t sequence, int64_t heads) {
  const at::Tensor own = tensor.select(0, sequence);
  return own.size(0) == heads ? own : own.repeat_interleave(heads / own.size(0), 0);
}

}  // namespace

int64_t RowsAtOnce(int64_t length, c10::Device device) {
  const Blocks blocks(length, device);
  return blocks.threads * blocks.rows;
}

at::ScalarType ComputeType(at::ScalarType model_dtype) {
  return model_dtype == at::kHalf || model_dtype == at::kBFloat16 ? at::kFloat : model_dtype;
}

void ComputeInBlocks(const AttentionProducts& products,
                     const std::function<SequenceSoftmax(int64_t sequence)>& softmax_of,
                     const at::Tensor& output, AttentionObserver* observer) {
  const at::Tensor& query = products.query;
  const int64_t batch = query.size(0);
  const int64_t heads = query.size(1);
  const int64_t length = query.size(2);
  const at::ScalarType dtype = ComputeType(query.scalar_type());
  memory::AttentionScope scope;  // all that is allocated from here on serves the attention alone
  const Blocks blocks(length, query.device());
  const at::Tensor scratch =
      at::empty({blocks.threads, heads * blocks.rows * length}, query.options().dtype(dtype));
  const bool wants_visible = observer != nullptr && observer->WantsVisible();
  const bool whole_rows = observer != nullptr && observer->NeedsWholeRows();
  for (int64_t sequence = 0; sequence < batch; ++sequence) {
    const at::Tensor queries = query.select(0, sequence).to(dtype);
    const at::Tensor keys = HeadsOf(products.key, sequence, heads).to(dtype);  // [H, D, S]
    const at::Tensor values =
        output.defined() ? HeadsOf(products.value, sequence, heads).to(dtype) : at::Tensor();
    const SequenceSoftmax softmax = softmax_of(sequence);

    const auto compute_block = [&](int64_t index, const at::Tensor& memory) {
      const int64_t first = index * blocks.rows;
      const int64_t n = std::min(blocks.rows, length - first);
      const int64_t columns = whole_rows || !softmax.columns ? length : softmax.columns(first, n);
      at::Tensor block = memory.narrow(0, 0, heads * n * columns).view({heads, n, columns});
      at::baddbmm_out(block, block, queries.narrow(1, first, n), keys.narrow(2, 0, columns), /*beta=*/0,
                      /*alpha=*/products.scale);
      softmax.apply(first, block);
      if (wants_visible && softmax.visible) observer->AddVisible(sequence, first, softmax.visible(first, n));
      if (observer != nullptr) observer->AddRows(sequence, first, block);
      if (!output.defined()) return;
      at::Tensor output_block = output.select(0, sequence).narrow(1, first, n);
      if (dtype == query.scalar_type()) {
        at::bmm_out(output_block, block, values.narrow(1, 0, columns));
      } else {
        output_block.copy_(at::bmm(block, values.narrow(1, 0, columns)));
      }
    };
    const at::ThreadLocalState state;  // inference mode, and who counts the memory
    std::atomic<int64_t> left = blocks.count;
    at::parallel_for(0, blocks.threads, /*grain_size=*/1, [&](int64_t, int64_t) {
      const at::ThreadLocalStateGuard guard(state);
      const memory::AttentionScope thread_scope;
      const at::Tensor memory = scratch.select(0, blocks.threads == 1 ? 0 : at::get_thread_num());
      for (int64_t index = --left; index >= 0; index = --left) compute_block(index, memory);
    });
    if (observer != nullptr) observer->EndSequence(sequence);
  }
}

}  // namespace attribution::capture
