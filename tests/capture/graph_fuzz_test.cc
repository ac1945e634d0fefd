// Rewrites random models and holds them against themselves and against attention by its definition.
//
// GRAPH_FUZZ_MODELS: how many, 200 unless given. A failure names its seed, which is all that is needed to
// see it again: GRAPH_FUZZ_FIRST=seed GRAPH_FUZZ_MODELS=1.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "server/capture/attention_discovery.h"
#include "server/capture/fuse_gelu.h"
#include "server/capture/graph_plan.h"
#include "server/capture/rewrite_attention.h"
#include "server/capture/self_check.h"
#include "tests/capture/collecting_observer.h"
#include "tests/capture/random_model.h"
#include "tests/capture/tiny_model.h"

namespace attribution::capture {
namespace {

using torch::jit::Stack;

const std::vector<RunnerInput> kInputs = {{"input_ids", InputRole::kInputIds},
                                          {"attention_mask", InputRole::kAttentionMask}};

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

Stack StackOf(const torch::jit::Module& module, const WarmUpBatch& batch) {
  Stack stack{module._ivalue()};
  stack.insert(stack.end(), batch.inputs.begin(), batch.inputs.end());
  return stack;
}

// The models compute in float32, the oracle in float64, and sharp attention multiplies rounding: of ten
// thousand models one was off by 3.8e-5. Mistakes are of another size.
constexpr double kTolerance = 2e-4;

// Rows of valid positions of what was observed equal the oracle's.
void ExpectAttention(const CollectingObserver& observer, torch::jit::Module module,
                     const WarmUpBatch& batch) {
  const c10::List<at::Tensor> expected =
      module.get_method("oracle")({batch.inputs[0], batch.inputs[1]}).toTensorList();
  ASSERT_EQ(observer.layers().size(), expected.size());
  const at::Tensor rows = batch.valid.to(at::kDouble).unsqueeze(1).unsqueeze(3);
  for (size_t layer = 0; layer < expected.size(); ++layer) {
    const at::Tensor truth = expected.get(layer);
    EXPECT_LE(LargestDifference(observer.layers()[layer].probabilities * rows, truth * rows), kTolerance)
        << "layer " << layer;
  }
}

void Try(uint64_t seed) {
  const RandomModel model = MakeRandomModel(seed);
  const torch::jit::Module module = ModuleOf(model.source);
  const InlinedGraph inlined = InlineForward(module);
  std::vector<WarmUpBatch> batches;
  for (const auto& [sequences, length] : {std::pair{1, 8}, std::pair{2, 13}}) {
    batches.push_back(MakeWarmUpBatch(kInputs, sequences, length, kTinyVocabulary, seed, at::kCPU));
  }
  const auto attention = DiscoverAttention(module, inlined, batches, "");
  ASSERT_TRUE(attention.ok()) << attention.status();
  const auto rewritten = inlined.graph->copy();
  RewriteAttention(*rewritten, attention->site_of, inlined.EagerInBlocks(), attention->folded_heads);
  FuseGelu(*rewritten);
  const auto cut = rewritten->copy();
  CutAfterLastSite(*cut);
  const GraphPlan original(inlined.as_written, "original");
  const GraphPlan whole(rewritten, "whole");
  const GraphPlan plan(cut, "cut");
  for (size_t i = 0; i < batches.size(); ++i) {
    const auto outputs = original.Run(StackOf(module, batches[i]), nullptr);
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    const auto checked =
        CheckRewrittenGraph(module, whole, plan, attention->sites, attention->runs[i], batches[i], *outputs);
    ASSERT_TRUE(checked.ok()) << checked.status();
  }
  // Another shape than those that were tried.
  if (!model.depends_on_input) {
    batches.push_back(MakeWarmUpBatch(kInputs, 3, 11, kTinyVocabulary, seed + 1, at::kCPU));
  }
  for (const WarmUpBatch& batch : batches) {
    CollectingObserver observer;
    ASSERT_TRUE(plan.Run(StackOf(module, batch), &observer).ok());
    ExpectAttention(observer, module, batch);
  }
}

TEST(GraphFuzzTest, RandomModelsShowTheirAttentionAndComputeWhatTheyDid) {
  const uint64_t first = FromEnvironment("GRAPH_FUZZ_FIRST", 1);
  const uint64_t models = FromEnvironment("GRAPH_FUZZ_MODELS", 200);
  for (uint64_t seed = first; seed < first + models; ++seed) {
    Try(seed);
    if (!testing::Test::HasFailure()) continue;
    FAIL() << "GRAPH_FUZZ_FIRST=" << seed << "\n" << MakeRandomModel(seed).source;
  }
}

}  // namespace
}  // namespace attribution::capture
