#include "server/memory/allocation_counter.h"

#include <c10/core/Allocator.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace attribution::memory {
namespace {

thread_local int attention_depth = 0;

// Live bytes and their largest value.
struct Account {
  int64_t live = 0;
  int64_t peak = 0;
  int64_t recent_peak = 0;

  void Add(int64_t bytes) {
    live += bytes;
    peak = std::max(peak, live);
    recent_peak = std::max(recent_peak, live);
  }
};

}  // namespace

// Receives torch's reports. Blocks are remembered, so that freeing one is charged to the account that paid
// for it.
class AllocationCounter::Recorder final : public c10::MemoryReportingInfoBase {
 public:
  explicit Recorder(Ledger* ledger) : ledger_(ledger) {}

  // Ends what is told to the ledger: it may not outlive the counter, as this may.
  void Close() {
    const std::scoped_lock lock(mutex_);
    if (ledger_ != nullptr) ledger_->Add(-total_.live);
    ledger_ = nullptr;
  }

  void reportMemoryUsage(void* block, int64_t bytes, size_t, size_t, c10::Device) override {
    const std::scoped_lock lock(mutex_);
    Forget(block);  // freed; or, if it is allocated again, freed earlier on a thread that was not watched
    if (bytes <= 0) return;
    const bool attention = attention_depth > 0;
    blocks_.emplace(block, Block{bytes, attention});
    AddToTotal(bytes);
    if (attention) attention_.Add(bytes);
  }

  void reportOutOfMemory(int64_t, size_t, size_t, c10::Device) override {
    const std::scoped_lock lock(mutex_);
    ++failed_;
  }

  bool memoryProfilingEnabled() const override { return true; }

  void AddExternal(int64_t bytes) {
    const std::scoped_lock lock(mutex_);
    AddToTotal(bytes);
  }

  void SetLimit(int64_t bytes) {
    const std::scoped_lock lock(mutex_);
    limit_ = bytes;
  }

  void Check(int64_t bytes) {
    const std::scoped_lock lock(mutex_);
    if (total_.live <= limit_ - bytes) return;
    ++failed_;
    refused_bytes_ = std::max(refused_bytes_, total_.live + std::min(bytes, kUnlimited - total_.live));
    TORCH_CHECK_WITH(OutOfMemoryError, false, "The request needs more memory than it may use: ", bytes,
                     " bytes more than ", total_.live, ", the limit is ", limit_, ".");
  }

  void CheckLimit() {
    const std::scoped_lock lock(mutex_);
    if (total_.peak <= limit_) return;
    ++failed_;
    refused_bytes_ = std::max(refused_bytes_, total_.peak);
    TORCH_CHECK_WITH(OutOfMemoryError, false, "The request took more memory than it may use: ", total_.peak,
                     " bytes at once, the limit is ", limit_, ".");
  }

  bool exceeded_limit() const {
    const std::scoped_lock lock(mutex_);
    return total_.peak > limit_;
  }

  int64_t refused_bytes() const {
    const std::scoped_lock lock(mutex_);
    return refused_bytes_;
  }

  int64_t failed() const {
    const std::scoped_lock lock(mutex_);
    return failed_;
  }

  int64_t TakeRecentPeak() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(total_.recent_peak, total_.live);
  }

  Account total() const {
    const std::scoped_lock lock(mutex_);
    return total_;
  }

  Account attention() const {
    const std::scoped_lock lock(mutex_);
    return attention_;
  }

 private:
  struct Block {
    int64_t bytes = 0;
    bool attention = false;
  };

  void AddToTotal(int64_t bytes) {
    total_.Add(bytes);
    if (ledger_ != nullptr) ledger_->Add(bytes);
  }

  // Does nothing for a block that was allocated before the scope: it is not this job's.
  void Forget(void* block) {
    const auto found = blocks_.find(block);
    if (found == blocks_.end()) return;
    AddToTotal(-found->second.bytes);
    if (found->second.attention) attention_.Add(-found->second.bytes);
    blocks_.erase(found);
  }

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  Ledger* ledger_;
  Account total_;
  Account attention_;
  int64_t limit_ = kUnlimited;
  int64_t failed_ = 0;
  int64_t refused_bytes_ = 0;
  std::unordered_map<void*, Block> blocks_;
};

void Ledger::Add(int64_t bytes) {
  const int64_t live = live_ += bytes;
  int64_t peak = peak_;
  while (live > peak && !peak_.compare_exchange_weak(peak, live)) {
  }
}

AllocationCounter::AllocationCounter(Ledger* ledger) : recorder_(std::make_shared<Recorder>(ledger)) {}
AllocationCounter::~AllocationCounter() { recorder_->Close(); }

int64_t AllocationCounter::live_bytes() const { return recorder_->total().live; }
int64_t AllocationCounter::peak_bytes() const { return recorder_->total().peak; }
int64_t AllocationCounter::TakeRecentPeak() { return recorder_->TakeRecentPeak(); }
int64_t AllocationCounter::attention_peak_bytes() const { return recorder_->attention().peak; }
void AllocationCounter::AddExternal(int64_t bytes) { recorder_->AddExternal(bytes); }

void AllocationCounter::SetLimit(int64_t bytes) { recorder_->SetLimit(bytes); }
int64_t AllocationCounter::refused_bytes() const { return recorder_->refused_bytes(); }
bool AllocationCounter::exceeded_limit() const { return recorder_->exceeded_limit(); }
int64_t AllocationCounter::failed_allocations() const { return recorder_->failed(); }

AllocationCounter::Recorder* AllocationCounter::Current() {
  // A profiler of torch's own may stand there too.
  return dynamic_cast<Recorder*>(c10::ThreadLocalDebugInfo::get(c10::DebugInfoKind::PROFILER_STATE));
}

AllocationScope::AllocationScope(AllocationCounter& counter)
    : guard_(c10::DebugInfoKind::PROFILER_STATE, counter.recorder_) {}

AttentionScope::AttentionScope() { ++attention_depth; }
AttentionScope::~AttentionScope() { --attention_depth; }

void CheckAllocation(int64_t bytes) {
  if (auto* recorder = AllocationCounter::Current()) recorder->Check(bytes);
}

void CheckLimit() {
  if (auto* recorder = AllocationCounter::Current()) recorder->CheckLimit();
}

int64_t FailedAllocations() {
  const auto* recorder = AllocationCounter::Current();
  return recorder == nullptr ? 0 : recorder->failed();
}

}  // namespace attribution::memory
