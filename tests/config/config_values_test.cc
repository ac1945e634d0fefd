#include "server/config_values.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace attribution::config {
namespace {

TEST(ConfigValuesTest, SizesTakeBinaryAndDecimalUnits) {
  EXPECT_EQ(*ParseSize("4096"), 4096);
  EXPECT_EQ(*ParseSize("0"), 0);
  EXPECT_EQ(*ParseSize("7B"), 7);
  EXPECT_EQ(*ParseSize("3KiB"), 3072);
  EXPECT_EQ(*ParseSize("512MiB"), 536870912);
  EXPECT_EQ(*ParseSize("2GiB"), 2147483648);
  EXPECT_EQ(*ParseSize("1.5GB"), 1500000000);
}

TEST(ConfigValuesTest, RefusesWhatIsNoSize) {
  for (const char* text : {"", "GiB", "-1", "2 GiB", "2gib", "1.2.3", "2Gi", "0.5B", "99999999TiB", "1e9"}) {
    EXPECT_EQ(ParseSize(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(ConfigValuesTest, SizesAreWrittenInTheLargestUnitThatDivides) {
  EXPECT_EQ(FormatSize(2147483648), "2GiB");
  EXPECT_EQ(FormatSize(1536), "1536");
  EXPECT_EQ(FormatSize(3072), "3KiB");
  EXPECT_EQ(FormatSize(0), "0");
}

TEST(ConfigValuesTest, DurationsTakeUnits) {
  EXPECT_EQ(*ParseDuration("30s"), absl::Seconds(30));
  EXPECT_EQ(*ParseDuration("500ms"), absl::Milliseconds(500));
  EXPECT_EQ(*ParseDuration("2m"), absl::Minutes(2));
  EXPECT_EQ(*ParseDuration("1h30m"), absl::Minutes(90));
}

TEST(ConfigValuesTest, RefusesWhatIsNoDuration) {
  for (const char* text : {"", "30", "-1s", "inf", "1 s", "abc"}) {
    EXPECT_EQ(ParseDuration(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(ConfigValuesTest, IntegersKeepTheirRange) {
  EXPECT_EQ(*ParseInteger("-3", -3, 3), -3);
  EXPECT_FALSE(ParseInteger("4", -3, 3).ok());
  EXPECT_FALSE(ParseInteger("1.0", -3, 3).ok());
  EXPECT_FALSE(ParseInteger("", -3, 3).ok());
}

}  // namespace
}  // namespace attribution::config
