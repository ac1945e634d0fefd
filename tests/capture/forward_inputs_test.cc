#include "server/capture/forward_inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/frontend/function_schema_parser.h>

#include <string>
#include <vector>

namespace attribution::capture {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Binds `forward(self, <arguments>)`.
absl::StatusOr<std::vector<RunnerInput>> Bind(const std::string& arguments,
                                              const std::vector<std::string>& names = {}) {
  return BindForwardInputs(torch::jit::parseSchema("forward(Tensor self, " + arguments + ") -> Tensor"),
                           names);
}

std::vector<std::string> Names(const absl::StatusOr<std::vector<RunnerInput>>& inputs) {
  std::vector<std::string> names;
  if (!inputs.ok()) return {std::string(inputs.status().message())};
  for (const RunnerInput& input : *inputs) names.push_back(input.name);
  return names;
}

TEST(ForwardInputsTest, KnownNamesBindInAnyOrder) {
  const auto inputs = Bind("Tensor token_type_ids, Tensor input_ids, Tensor attention_mask");
  ASSERT_TRUE(inputs.ok()) << inputs.status();
  EXPECT_THAT(Names(inputs), ElementsAre("token_type_ids", "input_ids", "attention_mask"));
  EXPECT_EQ((*inputs)[0].role, InputRole::kTokenTypeIds);
  EXPECT_EQ((*inputs)[1].role, InputRole::kInputIds);
  EXPECT_EQ((*inputs)[2].role, InputRole::kAttentionMask);
}

TEST(ForwardInputsTest, NamesThatSayNothingBindByPlace) {
  EXPECT_THAT(Names(Bind("Tensor x, Tensor argument_2, Tensor y")),
              ElementsAre("input_ids", "attention_mask", "token_type_ids"));
}

TEST(ForwardInputsTest, InputIdsAloneIsEnough) {
  EXPECT_THAT(Names(Bind("Tensor x")), ElementsAre("input_ids"));
}

TEST(ForwardInputsTest, MaskBehindAnUnknownArgumentIsRefused) {
  const auto inputs = Bind("Tensor input_ids, bool return_dict=False, Tensor? attention_mask=None");
  EXPECT_EQ(inputs.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(inputs.status().message()),
              HasSubstr("\"attention_mask\" follows \"return_dict\""));
}

TEST(ForwardInputsTest, UnknownTrailingArgumentsKeepTheirDefaults) {
  EXPECT_THAT(Names(Bind("Tensor input_ids, Tensor attention_mask, bool return_dict=False")),
              ElementsAre("input_ids", "attention_mask"));
}

TEST(ForwardInputsTest, KnownArgumentsAreGivenInSpiteOfADefault) {
  EXPECT_THAT(Names(Bind("Tensor input_ids, Tensor? attention_mask=None")),
              ElementsAre("input_ids", "attention_mask"));
}

TEST(ForwardInputsTest, ManifestNamesGoBeforeThoseOfTheSchema) {
  EXPECT_THAT(Names(Bind("Tensor a, Tensor b", {"attention_mask", "input_ids"})),
              ElementsAre("attention_mask", "input_ids"));
}

TEST(ForwardInputsTest, ManifestMayNameAnArgumentThatHasADefault) {
  EXPECT_THAT(Names(Bind("Tensor a, Tensor? b=None", {"input_ids", "attention_mask"})),
              ElementsAre("input_ids", "attention_mask"));
}

void ExpectRefused(const absl::StatusOr<std::vector<RunnerInput>>& inputs, const std::string& sentence) {
  ASSERT_FALSE(inputs.ok());
  EXPECT_EQ(inputs.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(inputs.status().message()), HasSubstr(sentence));
}

TEST(ForwardInputsTest, RefusesAnArgumentThatNoRequestCanProvide) {
  ExpectRefused(Bind("Tensor input_ids, Tensor attention_mask, Tensor token_type_ids, Tensor pixels"),
                "needs an input that no request can provide. Argument 4 is \"pixels\"");
}

TEST(ForwardInputsTest, RefusesAnUnknownManifestName) {
  ExpectRefused(Bind("Tensor a, Tensor b", {"input_ids", "pixels"}), "Argument 2 is \"pixels\"");
}

TEST(ForwardInputsTest, RefusesTheSameInputTwice) {
  ExpectRefused(Bind("Tensor x, Tensor input_ids"), "Argument 2 is \"input_ids\"");
}

TEST(ForwardInputsTest, RefusesMoreManifestNamesThanArguments) {
  ExpectRefused(Bind("Tensor a", {"input_ids", "attention_mask"}), "It names 2, forward takes 1");
}

TEST(ForwardInputsTest, RefusesAForwardWithoutIds) {
  ExpectRefused(Bind("Tensor attention_mask"), "takes no input_ids");
}

TEST(ForwardInputsTest, RefusesAForwardWithoutArguments) {
  ExpectRefused(BindForwardInputs(torch::jit::parseSchema("forward(Tensor self) -> Tensor"), {}),
                "takes no input_ids");
}

// Zeros in place of positions would be a wrong answer without an error.
TEST(ForwardInputsTest, DoesNotTakePositionsForTokenTypes) {
  ExpectRefused(Bind("Tensor input_ids, Tensor attention_mask, Tensor position_ids"),
                "Argument 3 is \"position_ids\"");
}

}  // namespace
}  // namespace attribution::capture
