// Tests what becomes of a request, or of a model that is being loaded, when memory runs out at any point:
// that one fails or recovers alone, and nothing of it stays behind.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "attribution/status_details.h"
#include "server/capture/model_runner.h"
#include "tests/engine/oracle_example.h"
#include "tests/engine/test_engine.h"
#include "tests/memory/failing_allocator.h"
#include "tests/memory/virtual_bytes.h"

namespace attribution::engine {
namespace {

constexpr int64_t kMib = int64_t{1} << 20;

EngineOptions OneThread() {
  EngineOptions options = SmallOptions();
  options.workers = 1;  // so that allocation k is the same one every time
  return options;
}

// Two chunks, with all that can be sent.
AttributionRequest RequestOf(const OracleExample& example, Preset preset) {
  AttributionRequest request = example.Request(preset);
  request.options.max_chunk_size = 2;
  request.output.layer_matrices = true;
  request.output.top_k = 5;
  return request;
}

struct Case {
  const char* model;
  Preset preset;
};

class EngineMemoryTest : public testing::TestWithParam<Case> {
 protected:
  EngineMemoryTest()
      : example_(LoadExample(GetParam().model)),
        request_(RequestOf(example_, GetParam().preset)),
        engine_({GetParam().model}, OneThread()) {
    first_ = engine_.Run(request_);
  }

  // Runs the request and fails its allocation `k`. Returns whether it recovered.
  bool RunFailing(int64_t k) {
    memory_->FailAllocation(k);
    const TestEngine::Outcome outcome = engine_.Run(request_);
    memory_->FailAllocation(0);
    EXPECT_EQ(engine_.ReservedBytes(), 0);
    if (outcome.status.ok()) {
      ExpectRecovered(outcome);
      return true;
    }
    EXPECT_EQ(outcome.status.code(), absl::StatusCode::kResourceExhausted) << outcome.status;
    EXPECT_EQ(ReasonOf(outcome.status), "OUT_OF_MEMORY");
    return false;
  }

  // Expects one retry in smaller chunks, told, and the right answer after it.
  void ExpectRecovered(const TestEngine::Outcome& outcome) const {
    EXPECT_EQ(outcome.result.oom_retries, 1);
    std::vector<Event> valid;
    int replanned = 0;
    for (const Event& event : outcome.events) {
      if (const auto* again = std::get_if<Replanned>(&event)) {
        EXPECT_EQ(*again, (Replanned{0, 1, 3, 1}));
        valid.clear();  // everything told so far was of sequences that are done again
        ++replanned;
      } else {
        valid.push_back(event);
      }
    }
    EXPECT_EQ(replanned, 1);
    ExpectAsOracle(valid, example_, GetParam().preset, 0.5, 1e-5);
    ExpectNear(outcome.result.metrics, first_.result.metrics, 1e-5);
  }

  // Expects the answer of the first run, to the last bit.
  void ExpectSame(const TestEngine::Outcome& outcome) const {
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    for (size_t i = 0; i < example_.sequences.size(); ++i) {
      const auto sequence = static_cast<int32_t>(i);
      EXPECT_EQ(RolloutOf(outcome.events, sequence), RolloutOf(first_.events, sequence));
      ExpectNear(outcome.result.sequences[i], first_.result.sequences[i], 0);
    }
    ExpectNear(outcome.result.metrics, first_.result.metrics, 0);
    EXPECT_EQ(outcome.result.measured_peak_bytes, first_.result.measured_peak_bytes);
    EXPECT_EQ(outcome.result.measured_attention_bytes, first_.result.measured_attention_bytes);
  }

  // Fails each allocation of the request in turn, with an undisturbed request after each. Returns how many
  // failed.
  int64_t FailEachInTurn(int64_t allocations) {
    int64_t failed = 0;
    for (int64_t k = 1; k <= allocations && !HasFailure(); ++k) {
      SCOPED_TRACE(k);
      if (!RunFailing(k)) ++failed;
      ExpectSame(engine_.Run(request_));
    }
    return failed;
  }

  OracleExample example_;
  AttributionRequest request_;
  TestEngine engine_;
  memory::FailingMemory memory_;
  TestEngine::Outcome first_;
};

TEST_P(EngineMemoryTest, EveryAllocationFailsOrRecoversAlone) {
  ExpectAsOracle(first_.events, example_, GetParam().preset, 0.5, 1e-5);
  memory_->FailAllocation(0);
  ExpectSame(engine_.Run(request_));
  const int64_t allocations = memory_->count();
  ASSERT_GT(allocations, 50);
  // The first chunk, of two sequences, is done again in halves; the second, of one, is given up.
  const int64_t failed = FailEachInTurn(allocations);
  EXPECT_GT(failed, allocations / 4);
  EXPECT_LT(failed, allocations * 3 / 4);

  const int64_t before = memory::VirtualBytes();
  FailEachInTurn(allocations);
  if (memory::kOwnMalloc) {
    EXPECT_LT(memory::VirtualBytes() - before, 4 * kMib);
  }
}

TEST_P(EngineMemoryTest, OneFailureIsCountedAndSoIsItsRecovery) {
  const std::string labels = "{device=\"cpu\",model=\"" + std::string(GetParam().model) + "\",version=\"1\"}";
  EXPECT_EQ(engine_.Value("attribution_oom_total" + labels), 0);
  EXPECT_EQ(engine_.Value("attribution_oom_recovered_total" + labels), 0);
  EXPECT_TRUE(RunFailing(20));
  EXPECT_EQ(engine_.Value("attribution_oom_total" + labels), 1);
  EXPECT_EQ(engine_.Value("attribution_oom_recovered_total" + labels), 1);
}

// Nothing of a chunk is left when the next one begins.
TEST_P(EngineMemoryTest, PeakIsThatOfTheLargestChunk) {
  const OracleExample one = example_.Pick({0});
  const OracleExample four = example_.Pick({0, 0, 0, 0});
  const auto peak = [&](const OracleExample& example) {
    AttributionRequest request = example.Request(GetParam().preset);
    request.options.max_chunk_size = 1;
    request.output.rollout_matrix = false;
    return engine_.Run(request).result;
  };
  const AttributionResult alone = peak(one);
  const AttributionResult together = peak(four);
  EXPECT_EQ(together.num_chunks, 4);
  EXPECT_EQ(together.measured_peak_bytes, alone.measured_peak_bytes);
  EXPECT_EQ(together.measured_attention_bytes, alone.measured_attention_bytes);
  EXPECT_LT(alone.measured_attention_bytes, alone.measured_peak_bytes);
}

INSTANTIATE_TEST_SUITE_P(Models, EngineMemoryTest,
                         testing::Values(Case{"tiny-bert-sdpa", Preset::kAbnar2020},
                                         Case{"tiny-bert-eager", Preset::kIclrMetrics},
                                         Case{"bare-gated", Preset::kVitExplain}),
                         [](const auto& info) {
                           std::string name = info.param.model;
                           std::erase(name, '-');
                           return name;
                         });

class LoadMemoryTest : public testing::TestWithParam<const char*> {
 protected:
  // Loads the model and fails allocation `k`.
  absl::Status Load(int64_t k) {
    memory_->FailAllocation(k);
    const std::string path = std::string(ATTRIBUTION_FIXTURES) + "/" + GetParam() + "/1/model.pt";
    return capture::LoadTorchScript(path, {}).status();
  }

  memory::FailingMemory memory_;
};

TEST_P(LoadMemoryTest, EveryAllocationIsALoadErrorAlone) {
  ASSERT_TRUE(Load(0).ok());
  const int64_t allocations = memory_->count();
  ASSERT_GT(allocations, 100);
  int64_t before = 0;
  for (int64_t k = 1; k <= allocations && !HasFailure(); k += k < 50 ? 1 : 7) {
    SCOPED_TRACE(k);
    const absl::Status status = Load(k);
    EXPECT_TRUE(status.ok() || ReasonOf(status) == "OUT_OF_MEMORY") << status;
    if (k == 50) before = memory::VirtualBytes();
  }
  EXPECT_TRUE(Load(0).ok());
  EXPECT_EQ(memory_->count(), allocations);
  if (memory::kOwnMalloc) {
    EXPECT_LT(memory::VirtualBytes() - before, 16 * kMib);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, LoadMemoryTest,
                         testing::Values("tiny-bert-sdpa", "bare-eager", "bare-gated"));

}  // namespace
}  // namespace attribution::engine
