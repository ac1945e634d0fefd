// What a manifest declares about tensors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/models/manifest.h"

namespace attribution::models {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<Manifest> Parse(const std::string& line) {
  return ParseManifest("format_version: 1\n" + line + "\n");
}

std::string Refusal(const std::string& line) {
  const absl::StatusOr<Manifest> manifest = Parse(line);
  return manifest.ok() ? "" : std::string(manifest.status().message());
}

TEST(ManifestInputsTest, NamesAndDeclarationsTogether) {
  const auto manifest = Parse(
      "inputs:\n- {name: pixel_values, dtype: float16, shape: [-1, 3, 224, 224]}\n- attention_mask\n"
      "- {name: h, dtype: bool, shape: [-1, -1]}");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_THAT(manifest->inputs, ElementsAre("pixel_values", "attention_mask", "h"));
  ASSERT_EQ(manifest->declared_inputs.size(), 2);
  EXPECT_EQ(manifest->declared_inputs[0].name, "pixel_values");
  EXPECT_EQ(manifest->declared_inputs[0].dtype, TensorDtype::kFloat16);
  EXPECT_THAT(manifest->declared_inputs[0].shape, ElementsAre(-1, 3, 224, 224));
  EXPECT_EQ(manifest->declared_inputs[1].dtype, TensorDtype::kBool);
}

TEST(ManifestInputsTest, EveryDtypeHasItsName) {
  for (const auto& [name, dtype] : {std::pair{"float32", TensorDtype::kFloat32},
                                    {"bfloat16", TensorDtype::kBfloat16},
                                    {"int64", TensorDtype::kInt64},
                                    {"int32", TensorDtype::kInt32}}) {
    const auto manifest = Parse(std::string("inputs: [{name: x, dtype: ") + name + ", shape: [-1]}]");
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    EXPECT_EQ(manifest->declared_inputs[0].dtype, dtype);
  }
}

TEST(ManifestInputsTest, RefusesWhatIsNotADeclaration) {
  EXPECT_THAT(Refusal("inputs: [{name: x, dtype: float64, shape: [-1]}]"), HasSubstr("none of float32"));
  EXPECT_THAT(Refusal("inputs: [{name: x, dtype: int64}]"), HasSubstr("mappings of name, dtype and shape"));
  EXPECT_THAT(Refusal("inputs: [{name: x, dtype: int64, size: [-1]}]"), HasSubstr("mappings of name"));
  EXPECT_THAT(Refusal("inputs: [{name: x, dtype: int64, shape: [2, 3]}]"), HasSubstr("begin with -1"));
  EXPECT_THAT(Refusal("inputs: [{name: x, dtype: int64, shape: [-1, 0]}]"), HasSubstr("dimension of 0"));
  EXPECT_THAT(Refusal("inputs: [{name: x, dtype: int64, shape: [-1, -2]}]"), HasSubstr("must be in [-1,"));
  EXPECT_THAT(Refusal("inputs: [{name: x, dtype: int64, shape: []}]"), HasSubstr("1 to 8 dimensions"));
  EXPECT_THAT(Refusal("inputs: [{name: x, dtype: int64, shape: [-1, 1, 1, 1, 1, 1, 1, 1, 1]}]"),
              HasSubstr("1 to 8 dimensions"));
  EXPECT_THAT(Refusal("inputs: [{name: x, dtype: int64, shape: [-1, 9000, 9000]}]"),
              HasSubstr("values a sequence"));
  EXPECT_THAT(Refusal("inputs: [x, {name: x, dtype: int64, shape: [-1]}]"), HasSubstr("names \"x\" twice"));
  EXPECT_THAT(Refusal("inputs: [{name: 1x, dtype: int64, shape: [-1]}]"), HasSubstr("letters, digits"));
}

TEST(ManifestInputsTest, ReadsThePatchGrid) {
  EXPECT_EQ(Parse("patch_grid: {rows: 14, columns: 7, first_position: 1}")->patch_grid,
            (PatchGrid{14, 7, 1}));
  EXPECT_EQ(Parse("patch_grid: {rows: 2, columns: 3}")->patch_grid, (PatchGrid{2, 3, 0}));
  EXPECT_EQ(Parse("name: x")->patch_grid, std::nullopt);
  EXPECT_THAT(Refusal("patch_grid: 14"), HasSubstr("must be a mapping of rows, columns"));
  EXPECT_THAT(Refusal("patch_grid: {rows: 14}"), HasSubstr("must be a mapping of rows, columns"));
  EXPECT_THAT(Refusal("patch_grid: {rows: 1, columns: 2, height: 3}"), HasSubstr("must be a mapping"));
  EXPECT_THAT(Refusal("patch_grid: {rows: 0, columns: 2}"), HasSubstr("must be in [1,"));
  EXPECT_THAT(Refusal("patch_grid: {rows: 1, columns: 2, first_position: -1}"), HasSubstr("must be in [0,"));
}

}  // namespace
}  // namespace attribution::models
