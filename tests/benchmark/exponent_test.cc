#include "tests/benchmark/exponent.h"

#include <gtest/gtest.h>

namespace attribution::benchmark {
namespace {

TEST(ExponentTest, FindsThePowerWhateverTheFactor) {
  EXPECT_NEAR(Exponent({1, 2, 4, 8}, {5, 20, 80, 320}), 2, 1e-12);
  EXPECT_NEAR(Exponent({10, 1000}, {7, 7}), 0, 1e-12);
}

TEST(ExponentTest, IsTheLeastSquaresOfTheLogarithms) {
  // numpy.polyfit(numpy.log([128, 256, 512, 1024]), numpy.log([3, 10, 50, 130]), 1)[0]
  EXPECT_NEAR(Exponent({128, 256, 512, 1024}, {3, 10, 50, 130}), 1.8634144031809246, 1e-12);
}

}  // namespace
}  // namespace attribution::benchmark
