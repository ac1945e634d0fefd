// Which positions of attention the mask of a request's tensors speaks of.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/request_intake.h"
#include "tests/models/fake_runner.h"

namespace attribution::engine {
namespace {

template <typename T>
NamedTensor TensorOf(const std::string& name, TensorDtype dtype, std::vector<int64_t> shape,
                     const std::vector<T>& values) {
  std::string data(values.size() * sizeof(T), '\0');
  std::memcpy(data.data(), values.data(), data.size());
  return {name, dtype, std::move(shape), std::move(data)};
}

// A request of one sequence of features [1, 6, 2] with `mask` to a model of one layer, of length `rule` if
// that is known.
PreparedRequest Prepared(std::optional<capture::LengthRule> rule, int64_t mask_size,
                         const std::vector<int64_t>& mask) {
  capture::ModelDescription description;
  description.inputs = {
      {"features", capture::InputRole::kOther, TensorDtype::kFloat32, {-1, -1, 2}},
      {"attention_mask", capture::InputRole::kAttentionMask, TensorDtype::kInt64, {-1, mask_size}}};
  description.sites = {AttentionSite{0, "layer", SiteKind::kBlocked, "aten::softmax", 1}};
  description.execution_order = {0};
  description.site_heads = {1};
  if (rule.has_value()) description.site_lengths = {*rule};
  description.num_heads = 1;
  auto model = std::make_shared<models::ResidentModel>();
  model->runner = std::make_unique<models::FakeRunner>(std::move(description));
  AttributionRequest request;
  request.input = TensorBatch{
      {TensorOf("features", TensorDtype::kFloat32, {1, 6, 2}, std::vector<float>(12)),
       TensorOf("attention_mask", TensorDtype::kInt64, {1, static_cast<int64_t>(mask.size())}, mask)}};
  auto prepared = PrepareRequest(std::move(request), {}, model);
  EXPECT_TRUE(prepared.ok()) << prepared.status();
  return *std::move(prepared);
}

const std::vector<int64_t> kMask = {1, 1, 1, 1, 0, 0};

TEST(TensorMasksTest, MaskSpeaksOfAttentionOverTheInput) {
  for (const auto& rule : {std::optional<capture::LengthRule>(capture::LengthRule{}), {}}) {
    const PreparedRequest request = Prepared(rule, -1, kMask);
    EXPECT_EQ(request.LengthOf(0), 6);
    EXPECT_EQ(request.MaskOf(0), std::vector<int32_t>(kMask.begin(), kMask.end()));
  }
}

TEST(TensorMasksTest, MaskDoesNotSpeakOfAttentionThatHasItsLengthByChance) {
  const PreparedRequest request = Prepared(capture::LengthRule{.slope = 0, .offset = 6}, -1, kMask);
  EXPECT_EQ(request.LengthOf(0), 6);
  EXPECT_TRUE(request.MaskOf(0).empty());
}

TEST(TensorMasksTest, MaskDoesNotSpeakOfAttentionOfAnotherLength) {
  EXPECT_TRUE(
      Prepared(capture::LengthRule{.slope = 1, .offset = 0, .divisor = 2}, -1, kMask).MaskOf(0).empty());
}

TEST(TensorMasksTest, MaskOfFixedSizeSpeaksOfAttentionOfThatSize) {
  EXPECT_EQ(Prepared(capture::LengthRule{.slope = 0, .offset = 6}, 6, kMask).MaskOf(0),
            std::vector<int32_t>(kMask.begin(), kMask.end()));
  EXPECT_TRUE(Prepared(capture::LengthRule{}, 6, kMask).MaskOf(0).empty());
}

}  // namespace
}  // namespace attribution::engine
