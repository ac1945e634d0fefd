#include "client/cli/attention_files.h"

#include <gtest/gtest.h>

#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "client/cli/errors.h"
#include "client/cli/npy.h"

namespace attribution::cli {
namespace {

// Writes float32 of the shape: 0, 1, 2, …, counted from `first`.
std::string WriteArray(const std::string& name, const std::vector<int64_t>& shape, float first = 0) {
  size_t cells = 1;
  for (const int64_t size : shape) cells *= static_cast<size_t>(size);
  std::vector<float> values(cells);
  std::iota(values.begin(), values.end(), first);
  const std::string path = ::testing::TempDir() + "/attention_files_test_" + name + ".npy";
  std::ofstream(path, std::ios::binary)
      << NpyHeader(shape) << std::string(reinterpret_cast<const char*>(values.data()), cells * sizeof(float));
  return path;
}

float FirstCell(const std::string& bytes) { return *reinterpret_cast<const float*>(bytes.data()); }

TEST(AttentionFilesTest, OneFileOfFiveDimensionsHoldsEveryLayer) {
  auto files = AttentionFiles::Open({WriteArray("five", {3, 1, 2, 4, 4})}, false);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->header().form, AttentionForm::kPerHead);
  EXPECT_EQ(files->header().layers, 3);
  EXPECT_EQ(files->header().batch, 1);
  EXPECT_EQ(files->header().heads, 2);
  EXPECT_EQ(files->header().length, 4);
  const std::string layer = *files->Layer(2);
  EXPECT_EQ(layer.size(), 32 * sizeof(float));
  EXPECT_EQ(FirstCell(layer), 64);
}

TEST(AttentionFilesTest, EachFileIsALayer) {
  auto files = AttentionFiles::Open({WriteArray("a", {2, 3, 3}), WriteArray("b", {2, 3, 3}, 100)}, false);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->header().form, AttentionForm::kFused);
  EXPECT_EQ(files->header().layers, 2);
  EXPECT_EQ(files->header().batch, 2);
  EXPECT_EQ(files->header().heads, 1);
  EXPECT_EQ(FirstCell(*files->Layer(0)), 0);
  EXPECT_EQ(FirstCell(*files->Layer(1)), 100);
}

TEST(AttentionFilesTest, LayersFirstMakesStackedMatricesLayers) {
  auto files = AttentionFiles::Open({WriteArray("single", {5, 3, 3})}, true);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->header().form, AttentionForm::kSingle);
  EXPECT_EQ(files->header().layers, 5);
  EXPECT_EQ(FirstCell(*files->Layer(1)), 9);
}

TEST(AttentionFilesTest, RefusesWhatIsNoAttention) {
  const std::string square = WriteArray("square", {3, 3});
  for (const std::vector<std::string>& paths : {std::vector<std::string>{WriteArray("oblong", {3, 4})},
                                                {WriteArray("line", {3})},
                                                {WriteArray("six", {1, 1, 1, 1, 2, 2})},
                                                {WriteArray("stack", {2, 1, 1, 2, 2}), square},
                                                {"/nonexistent/x.npy"},
                                                {}}) {
    EXPECT_EQ(ExitCodeOf(AttentionFiles::Open(paths, false).status()), kExitUsage);
  }
}

TEST(AttentionFilesTest, RefusesALayerOfAnotherShape) {
  auto files = AttentionFiles::Open({WriteArray("one", {3, 3}), WriteArray("other", {4, 4})}, false);
  ASSERT_TRUE(files.ok());
  EXPECT_TRUE(files->Layer(0).ok());
  EXPECT_EQ(ExitCodeOf(files->Layer(1).status()), kExitUsage);
}

TEST(ReadMasksTest, RefusesFloatsAndOtherShapes) {
  AttentionHeader header;
  header.batch = 2;
  header.length = 3;
  EXPECT_EQ(ExitCodeOf(ReadMasks(WriteArray("float", {2, 3}), header).status()), kExitUsage);
  EXPECT_EQ(ExitCodeOf(ReadMasks(WriteArray("shape", {3, 2}), header).status()), kExitUsage);
}

TEST(ReadMasksTest, ReadsABooleanMaskOfOneSequence) {
  AttentionHeader header;
  header.length = 3;
  const std::string path = ::testing::TempDir() + "/attention_files_test_mask.npy";
  std::string description = "{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }\n";
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(description.size());
  bytes += '\0';
  std::ofstream(path, std::ios::binary) << bytes << description << std::string("\x01\x00\x01", 3);
  const auto masks = ReadMasks(path, header);
  ASSERT_TRUE(masks.ok()) << masks.status();
  EXPECT_EQ(*masks, (std::vector<std::vector<int32_t>>{{1, 0, 1}}));
}

}  // namespace
}  // namespace attribution::cli
