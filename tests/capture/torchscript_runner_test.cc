#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/passes/freeze_module.h>

#include <array>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/capture/blocked_attention.h"
#include "server/capture/model_runner.h"
#include "server/capture/scaled_dot_product_attention.h"
#include "server/capture/warm_up.h"
#include "server/memory/allocation_counter.h"
#include "tests/capture/collecting_observer.h"
#include "tests/capture/tiny_model.h"

namespace attribution::capture {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::unique_ptr<ModelRunner> Load(const torch::jit::Module& module, const LoadOptions& options = {}) {
  auto runner = LoadTorchScript(Save(module), options);
  EXPECT_TRUE(runner.ok()) << runner.status();
  return runner.ok() ? *std::move(runner) : nullptr;
}

// [B, S]: the second sequence is padded, the third has a gap.
at::Tensor RaggedMask(int64_t batch, int64_t length) {
  at::Tensor mask = at::ones({batch, length}, at::kLong);
  if (batch > 1) mask.select(0, 1).narrow(0, length - length / 3, length / 3).zero_();
  if (batch > 2) mask.select(0, 2).narrow(0, 1, 2).zero_();
  return mask;
}

void ExpectTrueAttention(const ModelRunner& runner, const TinyModel& model, int64_t batch, int64_t length) {
  const at::Tensor ids = TinyIds(batch, length);
  const at::Tensor mask = RaggedMask(batch, length);
  CollectingObserver observer;
  const absl::Status status = runner.Run({ids, mask}, observer);
  ASSERT_TRUE(status.ok()) << status;
  const std::vector<at::Tensor> expected = model.Attentions(ids, mask);
  ASSERT_EQ(observer.layers().size(), expected.size());
  for (size_t layer = 0; layer < expected.size(); ++layer) {
    EXPECT_LE(LargestDifference(observer.layers()[layer].probabilities, expected[layer]), 2e-5)
        << "layer " << layer;
  }
}

TEST(TorchScriptRunnerTest, ShowsTheTrueAttentionOfFusedLayers) {
  const TinyModel model = MakeTinyModel(3, /*fused=*/true);
  const auto runner = Load(model.module);
  ASSERT_NE(runner, nullptr);
  ExpectTrueAttention(*runner, model, 3, 11);
  ExpectTrueAttention(*runner, model, 1, 1);
  ExpectTrueAttention(*runner, model, 2, 140);
}

TEST(TorchScriptRunnerTest, ShowsTheTrueAttentionOfEagerLayers) {
  const TinyModel model = MakeTinyModel(3, /*fused=*/false);
  const auto runner = Load(model.module);
  ASSERT_NE(runner, nullptr);
  ExpectTrueAttention(*runner, model, 3, 11);
  ExpectTrueAttention(*runner, model, 2, 140);
}

TEST(TorchScriptRunnerTest, RunsALoopInOrderOfExecution) {
  for (const bool fused : {true, false}) {
    const TinyModel model = MakeLoopingModel(4, fused);
    const auto runner = Load(model.module);
    ASSERT_NE(runner, nullptr);
    EXPECT_THAT(runner->description().execution_order, ElementsAre(0, 0, 0, 0));
    ExpectTrueAttention(*runner, model, 3, 11);
  }
}

TEST(TorchScriptRunnerTest, FrozenModelIsTheSame) {
  const TinyModel model = MakeTinyModel(2, /*fused=*/true);
  const auto runner = Load(torch::jit::freeze_module(model.module));
  ASSERT_NE(runner, nullptr);
  EXPECT_EQ(runner->description().sites.at(1).module_path, "site.1");
  ExpectTrueAttention(*runner, model, 3, 11);
}

TEST(TorchScriptRunnerTest, FrozenModelIsDescribedAsIfItWereNot) {
  const TinyModel model = MakeTinyModel(2, /*fused=*/true);
  const auto runner = Load(model.module);
  const auto frozen = Load(torch::jit::freeze_module(model.module));
  ASSERT_NE(runner, nullptr);
  ASSERT_NE(frozen, nullptr);
  EXPECT_EQ(frozen->description().vocabulary_size, kTinyVocabulary);
  EXPECT_EQ(frozen->description().max_sequence_length, kTinyPositions);
  EXPECT_EQ(frozen->description().resident_bytes, runner->description().resident_bytes);
}

TEST(TorchScriptRunnerTest, WeightsThatAreSharedAreResidentOnce) {
  torch::jit::Module module("__torch__.Tied");
  const at::Tensor table = at::ones({100, 8});
  const auto bytes = static_cast<int64_t>(table.nbytes());
  module.register_parameter("tokens", table, /*is_buffer=*/false);
  module.register_parameter("head", table, /*is_buffer=*/false);
  module.define(
      "def forward(self, input_ids):\n"
      "    return torch.matmul(torch.embedding(self.tokens, input_ids), self.head.t())\n");
  for (const torch::jit::Module& tied : {module, torch::jit::freeze_module(module)}) {
    const auto runner = Load(tied);
    ASSERT_NE(runner, nullptr);
    EXPECT_EQ(runner->description().resident_bytes, bytes);
  }
}

TEST(TorchScriptRunnerTest, DescribesWhatItFound) {
  const TinyModel model = MakeTinyModel(2, /*fused=*/true);
  const auto runner = Load(model.module);
  ASSERT_NE(runner, nullptr);
  const ModelDescription& description = runner->description();
  ASSERT_EQ(description.inputs.size(), 2);
  EXPECT_TRUE(description.has_mask());
  EXPECT_THAT(description.execution_order, ElementsAre(0, 1));
  EXPECT_EQ(description.num_heads, kTinyHeads);
  EXPECT_EQ(description.vocabulary_size, kTinyVocabulary);
  EXPECT_EQ(description.max_sequence_length, kTinyPositions);
  const int64_t cells = kTinyWidth * (kTinyVocabulary + kTinyPositions + 2 * 3 * kTinyWidth);
  EXPECT_EQ(description.resident_bytes, cells * static_cast<int64_t>(sizeof(float)));
  ASSERT_FALSE(description.activation_cost.ranges.empty());
  EXPECT_GT(description.activation_cost.ranges[0].forward.bytes_per_token, 0);
}

TEST(TorchScriptRunnerTest, ManifestGoesBeforeTheTables) {
  LoadOptions options;
  options.vocabulary_size = 20;
  options.max_sequence_length = 30;
  options.attention_layer_pattern = "layers.1";
  const auto runner = Load(MakeTinyModel(2, /*fused=*/true).module, options);
  ASSERT_NE(runner, nullptr);
  EXPECT_EQ(runner->description().vocabulary_size, 20);
  EXPECT_EQ(runner->description().max_sequence_length, 30);
  ASSERT_EQ(runner->description().sites.size(), 1);
  EXPECT_EQ(runner->description().sites[0].module_path, "layers.1");
}

// A model whose attention is over the features [B, n, 4] that `slice` keeps.
std::unique_ptr<ModelRunner> LoadFeatures(const std::string& slice, int64_t max_length) {
  LoadOptions options;
  options.input_names = {"features"};
  options.declared_inputs = {{"features", TensorDtype::kFloat32, {-1, -1, 4}}};
  options.max_sequence_length = max_length;
  return Load(ModuleOf("def forward(self, features):\n    y = features" + slice +
                       ".unsqueeze(1)\n    return torch.scaled_dot_product_attention(y, y, y)\n"),
              options);
}

TEST(TorchScriptRunnerTest, LengthBehindAStrideIsForeseenHoweverItRounds) {
  for (const int64_t stride : {2, 4, 8}) {
    for (int64_t first = 0; first < stride; ++first) {
      const auto runner =
          LoadFeatures("[:, " + std::to_string(first) + "::" + std::to_string(stride) + "]", 0);
      ASSERT_NE(runner, nullptr);
      for (int64_t length = first + 1; length < 60; ++length) {
        ASSERT_EQ(runner->description().LengthOf(0, length), (length - first + stride - 1) / stride)
            << "stride " << stride << " from " << first << " at length " << length;
      }
    }
  }
}

TEST(TorchScriptRunnerTest, LengthIsForeseenOfAModelThatTakesShortInputsOnly) {
  for (const int64_t longest : {2, 3, 8, 9, 13}) {
    const auto runner = LoadFeatures("", longest);
    ASSERT_NE(runner, nullptr);
    for (int64_t length = 1; length <= longest; ++length) {
      ASSERT_EQ(runner->description().LengthOf(0, length), length) << "of at most " << longest;
    }
  }
}

TEST(TorchScriptRunnerTest, ObserverStopsTheRun) {
  const auto runner = Load(MakeTinyModel(3, /*fused=*/true).module);
  ASSERT_NE(runner, nullptr);
  CollectingObserver observer(/*stop_after=*/2);
  EXPECT_TRUE(runner->Run({TinyIds(2, 5), RaggedMask(2, 5)}, observer).ok());
  EXPECT_EQ(observer.layers().size(), 2);
}

// Wants only the second layer.
class SecondLayerObserver : public CollectingObserver {
 public:
  bool BeginLayer(const LayerShape& shape) override {
    return begun_++ == 1 && CollectingObserver::BeginLayer(shape);
  }

 private:
  int begun_ = 0;
};

TEST(TorchScriptRunnerTest, LayerThatIsNotWantedDoesNotChangeTheNext) {
  const TinyModel model = MakeTinyModel(3, /*fused=*/true);
  const auto runner = Load(model.module);
  ASSERT_NE(runner, nullptr);
  SecondLayerObserver observer;
  const at::Tensor mask = RaggedMask(3, 9);
  ASSERT_TRUE(runner->Run({TinyIds(3, 9), mask}, observer).ok());
  ASSERT_EQ(observer.layers().size(), 1);
  EXPECT_LE(LargestDifference(observer.layers()[0].probabilities, model.Attentions(TinyIds(3, 9), mask)[1]),
            2e-5);
}

TEST(TorchScriptRunnerTest, TwoThreadsOnOneModelAreRight) {
  const TinyModel model = MakeTinyModel(2, /*fused=*/true);
  const auto runner = Load(model.module);
  ASSERT_NE(runner, nullptr);
  std::array<std::thread, 2> threads;
  for (size_t i = 0; i < threads.size(); ++i) {
    const auto number = static_cast<int64_t>(i);
    threads[i] = std::thread([&runner, &model, number] {
      for (int turn = 0; turn < 5; ++turn) ExpectTrueAttention(*runner, model, 2 + number, 9 + 8 * number);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(TorchScriptRunnerTest, BFloat16ModelLoads) {
  TinyModel model = MakeTinyModel(2, /*fused=*/true);
  for (const at::Tensor& parameter : model.module.parameters())
    parameter.set_data(parameter.to(at::kBFloat16));
  const auto runner = Load(model.module);
  ASSERT_NE(runner, nullptr);
  EXPECT_EQ(runner->description().sites.size(), 2);
}

// Looks at nothing, so that what is counted is the model's and the operators' own.
class BlindObserver : public AttentionObserver {
 public:
  bool BeginLayer(const LayerShape&) override { return true; }
  void AddRows(int64_t, int64_t, const at::Tensor&) override {}
  void EndSequence(int64_t) override {}
  bool EndLayer() override { return true; }
};

TEST(TorchScriptRunnerTest, NoSquareOfTheLengthIsAllocatedForFusedAttention) {
  const auto runner = Load(MakeTinyModel(2, /*fused=*/true).module);
  ASSERT_NE(runner, nullptr);
  constexpr int64_t kLength = 512;
  memory::AllocationCounter counter;
  BlindObserver observer;
  {
    const memory::AllocationScope scope(counter);
    ASSERT_TRUE(runner->Run({TinyIds(4, kLength), at::ones({4, kLength}, at::kLong)}, observer).ok());
  }
  const int64_t block =
      kTinyHeads * RowsInWork(at::get_num_threads()) * kLength * static_cast<int64_t>(sizeof(float));
  EXPECT_GE(counter.attention_peak_bytes(), block);
  EXPECT_LE(counter.attention_peak_bytes(), block * 3 / 2);
  EXPECT_LT(counter.peak_bytes(), 16 * block) << "[B, H, S, S]";
}

TEST(TorchScriptRunnerTest, ActivationCostPredictsAnotherShape) {
  const auto runner = Load(MakeTinyModel(2, /*fused=*/true).module);
  ASSERT_NE(runner, nullptr);
  memory::AllocationCounter counter;
  class Indifferent : public BlindObserver {
    bool BeginLayer(const LayerShape&) override { return false; }
  } observer;
  {
    const memory::AllocationScope scope(counter);
    ASSERT_TRUE(runner->Run({TinyIds(6, 90), at::ones({6, 90}, at::kLong)}, observer).ok());
  }
  const MomentCost& cost = runner->description().activation_cost.ranges.back().forward;
  const double of_each = cost.bytes_per_token * 90 + cost.bytes_per_cell * 90 * 90 + cost.bytes_per_sequence;
  const double shared = cost.bytes_per_position * 90 + cost.bytes_per_square * 90 * 90 + cost.fixed_bytes;
  EXPECT_GE(6 * of_each + shared, static_cast<double>(counter.peak_bytes()) * 0.9);
}

TEST(TorchScriptRunnerTest, ModelWithoutAttentionLoadsWithoutSites) {
  const auto runner =
      Load(ModuleOf("def forward(self, input_ids, attention_mask):\n    return input_ids * 1.0\n"));
  ASSERT_NE(runner, nullptr);
  EXPECT_THAT(runner->description().sites, IsEmpty());
  EXPECT_THAT(runner->description().execution_order, IsEmpty());
}

TEST(TorchScriptRunnerTest, IdOutOfTheTableIsTheCallersMistake) {
  const TinyModel model = MakeTinyModel(1, /*fused=*/true);
  const auto runner = Load(model.module);
  ASSERT_NE(runner, nullptr);
  CollectingObserver unused;
  const at::Tensor mask = RaggedMask(1, 4);
  const absl::Status status = runner->Run({at::full({1, 4}, kTinyVocabulary, at::kLong), mask}, unused);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("An input is outside the range of an embedding."));
  ExpectTrueAttention(*runner, model, 2, 9);  // and the runner goes on
}

// A tiny model that refuses one id.
torch::jit::Module RefusingModel(int64_t refused) {
  torch::jit::Module module("__torch__.Refusing");
  module.register_module("model", MakeTinyModel(1, /*fused=*/true).module);
  module.define("def forward(self, input_ids, attention_mask):\n    assert bool((input_ids != " +
                std::to_string(refused) +
                ").all()), 'the model refuses this token'\n"
                "    return self.model.forward(input_ids, attention_mask)\n");
  return module;
}

TEST(TorchScriptRunnerTest, ModelThatThrowsIsInternalWithItsFirstLine) {
  LoadOptions options;
  options.vocabulary_size = 49;  // so that loading does not try the last id
  const auto runner = Load(RefusingModel(49), options);
  ASSERT_NE(runner, nullptr);
  CollectingObserver unused;
  const absl::Status status = runner->Run({at::full({1, 4}, 49, at::kLong), RaggedMask(1, 4)}, unused);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("It said: the model refuses this token, at __torch__.py:"));
}

// The id comes after those of the warm-up batches in the same stream of made-up ids, so only the longer runs
// that measure memory meet it.
TEST(TorchScriptRunnerTest, IdThatIsRefusedOnlyWhileMeasuringDoesNotFailTheLoad) {
  LoadOptions options;
  options.vocabulary_size = 100000;
  const std::vector<RunnerInput> inputs = {{"input_ids", InputRole::kInputIds}};
  const at::Tensor stream =
      MakeWarmUpBatch(inputs, 1, 48, options.vocabulary_size, /*seed=*/0, at::kCPU).inputs[0][0];
  const std::string refused = std::to_string(stream[40].item<int64_t>());
  EXPECT_NE(Load(ModuleOf("def forward(self, input_ids):\n    assert bool((input_ids != " + refused +
                          ").all()), 'the model refuses this token'\n    return input_ids * 1.0\n"),
                 options),
            nullptr);
}

TEST(TorchScriptRunnerTest, ModelThatNeverRunsIsRefused) {
  const auto runner =
      LoadTorchScript(Save(ModuleOf("def forward(self, input_ids):\n    assert input_ids.size(0) > 99, 'too "
                                    "few'\n    return input_ids\n")),
                      {});
  EXPECT_EQ(runner.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(runner.status().message()),
              HasSubstr("The model does not run on the warm-up shapes."));
  EXPECT_THAT(std::string(runner.status().message()), HasSubstr("too few"));
}

TEST(TorchScriptRunnerTest, FileThatIsNoModelIsRefused) {
  const std::string path = testing::TempDir() + "capture-garbage.pt";
  std::ofstream(path) << "this is not a TorchScript archive\n";
  const auto runner = LoadTorchScript(path, {});
  EXPECT_EQ(runner.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(runner.status().message()),
              HasSubstr("The file is not a TorchScript model that can be read."));
}

TEST(TorchScriptRunnerTest, MissingFileIsRefused) {
  EXPECT_EQ(LoadTorchScript(testing::TempDir() + "capture-nowhere.pt", {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(TorchScriptRunnerTest, ModelWithoutForwardIsRefused) {
  const auto runner =
      LoadTorchScript(Save(ModuleOf("def encode(self, input_ids):\n    return input_ids\n")), {});
  EXPECT_EQ(runner.status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace attribution::capture
