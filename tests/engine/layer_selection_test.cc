#include "server/engine/layer_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "attribution/status_details.h"

namespace attribution::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Two sites of an encoder and one of a decoder; a loop runs the second one twice.
capture::ModelDescription Description() {
  capture::ModelDescription description;
  description.sites = {AttentionSite{0, "encoder.layer.0.attention", SiteKind::kBlocked, "", 1},
                       AttentionSite{1, "encoder.layer.1.attention", SiteKind::kBlocked, "", 2},
                       AttentionSite{2, "decoder.layer.0.attention", SiteKind::kTapped, "", 1}};
  description.execution_order = {0, 1, 2, 1};
  return description;
}

std::vector<int32_t> SitesOf(const std::string& pattern) {
  const auto layers = LayerSelection::Make(Description(), pattern, "m");
  EXPECT_TRUE(layers.ok()) << layers.status();
  std::vector<int32_t> sites;
  for (int32_t layer = 0; layer < layers->size(); ++layer) sites.push_back(layers->SiteOf(layer));
  return sites;
}

std::string RefusalOf(const capture::ModelDescription& description, const std::string& pattern) {
  const absl::Status status = LayerSelection::Make(description, pattern, "m").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_EQ(ReasonOf(status), "NO_ATTENTION_CAPTURED");
  return std::string(status.message());
}

TEST(LayerSelectionTest, EmptyPatternTakesEveryExecution) {
  EXPECT_EQ(SitesOf(""), (std::vector<int32_t>{0, 1, 2, 1}));
}

TEST(LayerSelectionTest, PatternMatchesAPartOfThePath) {
  EXPECT_EQ(SitesOf("encoder"), (std::vector<int32_t>{0, 1, 1}));
  EXPECT_EQ(SitesOf("layer\\.0"), (std::vector<int32_t>{0, 2}));
}

TEST(LayerSelectionTest, PatternMayBeAnchored) {
  EXPECT_EQ(SitesOf("^decoder\\..*attention$"), (std::vector<int32_t>{2}));
}

TEST(LayerSelectionTest, SelectsSitesNotLayers) {
  const auto layers = LayerSelection::Make(Description(), "layer\\.1", "m");
  ASSERT_TRUE(layers.ok());
  EXPECT_FALSE(layers->Selects(0));
  EXPECT_TRUE(layers->Selects(1));
  EXPECT_FALSE(layers->Selects(2));
}

TEST(LayerSelectionTest, PatternThatDoesNotCompile) {
  const absl::Status status = LayerSelection::Make(Description(), "layer.(", "m").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(status), "options.attention_layer_pattern");
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("missing )"), HasSubstr("layer.(")));
}

TEST(LayerSelectionTest, PatternOfNothingNamesWhatThereIs) {
  EXPECT_THAT(RefusalOf(Description(), "pooler"),
              AllOf(HasSubstr("No attention weights captured"), HasSubstr("3 attention sites"),
                    HasSubstr("\"encoder.layer.0.attention\""), HasSubstr("none matched \"pooler\"")));
}

TEST(LayerSelectionTest, ModelWithoutAttentionNamesWhatWasSkipped) {
  capture::ModelDescription description;
  description.skipped = {SkippedSite{"router.softmax", "not square"}};
  EXPECT_THAT(RefusalOf(description, ""),
              AllOf(HasSubstr("No attention weights captured"), HasSubstr("holds no self-attention"),
                    HasSubstr("router.softmax: not square")));
}

TEST(LayerSelectionTest, LongListOfSitesIsCut) {
  capture::ModelDescription description;
  for (int32_t i = 0; i < 9; ++i) {
    description.sites.push_back({i, "layer." + std::to_string(i), SiteKind::kBlocked, "", 1});
    description.execution_order.push_back(i);
  }
  const std::string sentence = RefusalOf(description, "x");
  EXPECT_THAT(sentence, HasSubstr("\"layer.3\", …"));
  EXPECT_EQ(sentence.find("layer.4"), std::string::npos);
}

}  // namespace
}  // namespace attribution::engine
