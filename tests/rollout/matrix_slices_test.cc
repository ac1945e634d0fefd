#include "server/rollout/matrix_slices.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace attribution::rollout {
namespace {

std::vector<MatrixSlice> Cut(const at::Tensor& matrix, MatrixEncoding encoding = MatrixEncoding::kFloat32,
                             int32_t first_row = 0) {
  MatrixSlice header;
  header.sequence_index = 4;
  header.kind = MatrixKind::kCorrected;
  header.encoding = encoding;
  header.first_row = first_row;
  std::vector<MatrixSlice> slices;
  CutMatrix(matrix, header, [&](MatrixSlice slice) { slices.push_back(std::move(slice)); });
  return slices;
}

TEST(MatrixSlicesTest, SmallMatrixIsOneSliceRowByRow) {
  const std::vector<MatrixSlice> slices =
      Cut(at::tensor({1.0f, 2.0f, 3.0f, 4.0f}, at::TensorOptions(at::kFloat)).view({2, 2}));
  ASSERT_EQ(slices.size(), 1u);
  EXPECT_EQ(slices[0].sequence_index, 4);
  EXPECT_EQ(slices[0].kind, MatrixKind::kCorrected);
  EXPECT_EQ(slices[0].first_row, 0);
  EXPECT_EQ(slices[0].rows, 2);
  EXPECT_EQ(slices[0].columns, 2);
  // 1, 2, 3, 4 as little-endian binary32.
  EXPECT_EQ(slices[0].data,
            std::string("\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40\x00\x00\x80\x40", 16));
}

TEST(MatrixSlicesTest, Float16TakesTwoBytesACell) {
  const std::vector<MatrixSlice> slices =
      Cut(at::tensor({1.0f, 0.5f, 0.25f, 0.0f}, at::TensorOptions(at::kFloat)).view({2, 2}),
          MatrixEncoding::kFloat16);
  ASSERT_EQ(slices.size(), 1u);
  EXPECT_EQ(slices[0].encoding, MatrixEncoding::kFloat16);
  EXPECT_EQ(slices[0].data, std::string("\x00\x3c\x00\x38\x00\x34\x00\x00", 8));
}

TEST(MatrixSlicesTest, LargeMatrixIsCutIntoWholeRowsOfAtMostOneMebibyte) {
  const int64_t size = 600;  // 1.44 MB
  const at::Tensor matrix = at::arange(size * size, at::TensorOptions(at::kFloat)).view({size, size});
  const std::vector<MatrixSlice> slices = Cut(matrix);
  ASSERT_EQ(slices.size(), 2u);
  int32_t next = 0;
  for (const MatrixSlice& slice : slices) {
    EXPECT_EQ(slice.first_row, next);
    EXPECT_EQ(slice.columns, size);
    EXPECT_LE(slice.data.size(), 1u << 20);
    ASSERT_EQ(slice.data.size(), static_cast<size_t>(slice.rows) * size * 4);
    float first = 0;
    std::memcpy(&first, slice.data.data(), sizeof(first));
    EXPECT_EQ(first, static_cast<float>(static_cast<int64_t>(next) * size));
    next += slice.rows;
  }
  EXPECT_EQ(next, size);
  EXPECT_EQ(slices[0].rows, (1 << 20) / (size * 4));
}

TEST(MatrixSlicesTest, RowLongerThanTheLimitStillGoesOut) {
  const std::vector<MatrixSlice> slices = Cut(at::zeros({2, 300000}, at::TensorOptions(at::kFloat)));
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_EQ(slices[1].first_row, 1);
  EXPECT_EQ(slices[1].rows, 1);
}

TEST(MatrixSlicesTest, RowsAreCountedFromTheFirstOne) {
  const std::vector<MatrixSlice> slices =
      Cut(at::zeros({2, 300000}, at::TensorOptions(at::kFloat)), MatrixEncoding::kFloat32, 5);
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_EQ(slices[0].first_row, 5);
  EXPECT_EQ(slices[1].first_row, 6);
}

}  // namespace
}  // namespace attribution::rollout
