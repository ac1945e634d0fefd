#include "server/memory/allocation_counter.h"

#include <c10/core/Allocator.h>

#include <algorithm>
#include <unordered_map>

namespace attribution::memory {
namespace {

thread_local int attention_depth = 0;

// Live bytes and their largest value.
struct Account {
  int64_t live = 0;
  int64_t peak = 0;

  void Add(int64_t bytes) {
    live += bytes;
    peak = std::max(peak, live);
  }
};

}  // namespace

// Receives torch's reports. Blocks are remembered, so that freeing one is charged to the account that paid
// for it.
class AllocationCounter::Recorder : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void* block, int64_t bytes, size_t, size_t, c10::Device) override {
    if (bytes > 0) {
      const bool attention = attention_depth > 0;
      blocks_[block] = {bytes, attention};
      total.Add(bytes);
      if (attention) attention_only.Add(bytes);
      return;
    }
    const auto found = blocks_.find(block);
    if (found == blocks_.end()) return;  // allocated before the scope: not this job's
    total.Add(-found->second.bytes);
    if (found->second.attention) attention_only.Add(-found->second.bytes);
    blocks_.erase(found);
  }

  bool memoryProfilingEnabled() const override { return true; }

  Account total;
  Account attention_only;

 private:
  struct Block {
    int64_t bytes = 0;
    bool attention = false;
  };
  std::unordered_map<void*, Block> blocks_;
};

AllocationCounter::AllocationCounter() : recorder_(std::make_shared<Recorder>()) {}
AllocationCounter::~AllocationCounter() = default;

int64_t AllocationCounter::live_bytes() const { return recorder_->total.live; }
int64_t AllocationCounter::peak_bytes() const { return recorder_->total.peak; }
int64_t AllocationCounter::attention_peak_bytes() const { return recorder_->attention_only.peak; }
void AllocationCounter::AddExternal(int64_t bytes) { recorder_->total.Add(bytes); }

AllocationScope::AllocationScope(AllocationCounter& counter)
    : guard_(c10::DebugInfoKind::PROFILER_STATE, counter.recorder_) {}

AttentionScope::AttentionScope() { ++attention_depth; }
AttentionScope::~AttentionScope() { --attention_depth; }

}  // namespace attribution::memory
