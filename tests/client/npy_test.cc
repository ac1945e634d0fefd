#include "client/cli/npy.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/client/sample_reply.h"

namespace attribution::cli {
namespace {

// Expected bytes follow numpy's documented format, version 1.0 (numpy.lib.format).
TEST(NpyTest, HeaderHasTheDocumentedBytes) {
  const std::string header = NpyHeader({2, 3, 3});
  EXPECT_EQ(header.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  EXPECT_EQ(header.size() % 64, 0u);
  const size_t length = static_cast<unsigned char>(header[8]) + 256u * static_cast<unsigned char>(header[9]);
  EXPECT_EQ(length, header.size() - 10);
  EXPECT_EQ(header.substr(10, 64), "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 3, ), }");
  EXPECT_EQ(header.substr(74).find_first_not_of(' '), header.size() - 74 - 1);
  EXPECT_EQ(header.back(), '\n');
}

TEST(NpyTest, ShorterSequencesArePaddedWithZeros) {
  const std::string file = NpyOfRollouts(SampleReply());
  const std::string header = NpyHeader({2, 2, 2});
  ASSERT_EQ(file.size(), header.size() + 8 * sizeof(float));
  EXPECT_EQ(file.substr(0, header.size()), header);
  float cells[8];
  std::memcpy(cells, file.data() + header.size(), sizeof(cells));
  const float expected[8] = {0.5f, 0.5f, 0.1f, 0.9f, 1.0f, 0.0f, 0.0f, 0.0f};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(cells[i], expected[i]) << i;
}

TEST(NpyTest, RowsThatDidNotComeAreZero) {
  Reply reply;
  ASSERT_TRUE(Collect(SliceOf(0, 1, 2, {0.25f, 0.75f}), reply).ok());
  const std::string file = NpyOfRollouts(reply);
  float cells[4];
  std::memcpy(cells, file.data() + file.size() - sizeof(cells), sizeof(cells));
  EXPECT_EQ(cells[0], 0.0f);
  EXPECT_EQ(cells[1], 0.0f);
  EXPECT_EQ(cells[2], 0.25f);
  EXPECT_EQ(cells[3], 0.75f);
}

}  // namespace
}  // namespace attribution::cli
