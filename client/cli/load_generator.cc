#include "client/cli/load_generator.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace attribution::cli {
namespace {

int64_t SequencesOf(const AttributionInput& input) {
  if (const auto* tokens = std::get_if<TokenBatch>(&input))
    return static_cast<int64_t>(tokens->sequences.size());
  if (const auto* texts = std::get_if<TextBatch>(&input)) return static_cast<int64_t>(texts->texts.size());
  return 0;
}

// One run. Thread-safe but for Run().
class Generator {
 public:
  Generator(Client& client, const LoadPlan& plan) : client_(client), plan_(plan) {
    report_.model = plan.request.model;
    for (const LoadShape& shape : plan.shapes) report_.shapes.emplace_back(shape.Name(), LoadTotals());
    if (plan.shapes.empty()) report_.shapes.emplace_back("text", LoadTotals());
  }

  LoadReport Run() {
    const absl::Time start = absl::Now();
    measure_from_ = start + plan_.warm_up;
    end_ = measure_from_ + plan_.duration;
    plan_.clients > 0 ? RunClosed() : RunOpen(start);
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::hours(1), [this] { return running_ == 0; })) {
    }
    report_.seconds = absl::ToDoubleSeconds(plan_.duration);
    report_.all_seconds = absl::ToDoubleSeconds(std::max(last_end_, end_) - measure_from_);
    return report_;
  }

 private:
  // What becomes of one request while it runs.
  struct Pending {
    absl::Time due;
    LoadSample sample;
    int64_t estimated_bytes = 0;
    int64_t measured_bytes = 0;
  };

  void RunClosed() {
    report_.loop = absl::StrCat("closed, ", plan_.clients, " client(s)");
    {
      const std::lock_guard lock(mutex_);
      running_ = plan_.clients;
    }
    for (int32_t i = 0; i < plan_.clients; ++i) {
      Continue(std::make_shared<LoadChance>(plan_.seed + static_cast<uint64_t>(i)));
    }
  }

  // Sends the next request of one client of the closed loop, or lets it end.
  void Continue(const std::shared_ptr<LoadChance>& chance) {
    const absl::Time now = absl::Now();
    if (now >= end_) return OneEnded();
    Send(now, *chance, [this, chance] { Continue(chance); });
  }

  void RunOpen(absl::Time start) {
    report_.loop = absl::StrCat("open, ", plan_.rate, "/s");
    LoadChance chance(plan_.seed);
    for (absl::Time due = start + chance.Gap(plan_.rate); due < end_; due += chance.Gap(plan_.rate)) {
      absl::SleepFor(due - absl::Now());
      {
        const std::lock_guard lock(mutex_);
        ++running_;
      }
      Send(due, chance, [this] { OneEnded(); });
    }
  }

  // Sends one request; `then` follows its end.
  void Send(absl::Time due, LoadChance& chance, std::function<void()> then) {
    auto pending = std::make_shared<Pending>();
    pending->due = due;
    AttributionRequest request = plan_.request;
    if (!plan_.shapes.empty()) {
      pending->sample.shape = chance.Shape(plan_.shapes);
      request.input = chance.Tokens(plan_.shapes[pending->sample.shape], plan_.vocabulary);
    }
    pending->sample.sequences = SequencesOf(request.input);
    client_.StartAttribute(
        request, [pending](const Event& event) { Note(event, *pending); },
        [this, pending, then = std::move(then)](const CallEnd& end) {
          Record(*pending, end);
          then();
        });
  }

  static void Note(const Event& event, Pending& pending) {
    if (!pending.sample.first_event.has_value()) pending.sample.first_event = absl::Now() - pending.due;
    if (const auto* admitted = std::get_if<Admitted>(&event)) {
      pending.estimated_bytes = admitted->estimated_peak_bytes;
    } else if (const auto* result = std::get_if<AttributionResult>(&event)) {
      pending.measured_bytes = result->measured_peak_bytes;
    }
  }

  void Record(Pending& pending, const CallEnd& end) {
    const absl::Time now = absl::Now();
    LoadSample& sample = pending.sample;
    sample.latency = now - pending.due;
    sample.status = end.status;
    sample.received_bytes = end.received_bytes;
    if (pending.estimated_bytes > 0 && pending.measured_bytes > 0) {
      sample.memory_ratio =
          static_cast<double>(pending.measured_bytes) / static_cast<double>(pending.estimated_bytes);
    }
    sample.due_in_time = pending.due >= measure_from_;
    sample.ended_in_time = now >= measure_from_ && now < end_;
    const std::lock_guard lock(mutex_);
    last_end_ = std::max(last_end_, now);
    report_.Add(sample);
  }

  void OneEnded() {
    const std::lock_guard lock(mutex_);
    --running_;
    changed_.notify_all();
  }

  Client& client_;
  const LoadPlan& plan_;
  absl::Time measure_from_;  // set before the first request
  absl::Time end_;

  std::mutex mutex_;
  std::condition_variable changed_;              // something has ended
  int32_t running_ ABSL_GUARDED_BY(mutex_) = 0;  // clients, or requests of an open loop
  absl::Time last_end_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  LoadReport report_;  // guarded by mutex_ while requests run
};

}  // namespace

LoadReport RunLoad(Client& client, const LoadPlan& plan) { return Generator(client, plan).Run(); }

}  // namespace attribution::cli
