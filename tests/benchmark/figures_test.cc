#include "tests/benchmark/figures.h"

#include <gtest/gtest.h>

namespace attribution::benchmark {
namespace {

TEST(FiguresTest, AllLayersAreOneFloatACell) {
  ModelFacts model;
  model.num_layers = 28;
  model.num_heads = 16;
  // 28 layers of 16 heads of 16 matrices of 512 x 512 float32: 7 GiB.
  EXPECT_EQ(BytesOfAllLayers({16, 512}, model), 7.0 * 1024 * 1024 * 1024);
}

TEST(FiguresTest, AreWrittenWithTheirUnit) {
  EXPECT_EQ(Megabytes(12'340'000), "12.3 MB");
  EXPECT_EQ(Milliseconds({0.002, 0.001, 0.5}), "2.00 ms");
  EXPECT_EQ(ToString(Shape{16, 256}), "16 x 256");
}

}  // namespace
}  // namespace attribution::benchmark
