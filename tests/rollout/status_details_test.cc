#include "attribution/status_details.h"

#include <gtest/gtest.h>

namespace attribution {
namespace {

TEST(StatusDetailsTest, InvalidFieldCarriesCodeMessageAndField) {
  const absl::Status status = InvalidField("options.head", "Head number out of range.");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "Head number out of range.");
  EXPECT_EQ(FieldOf(status), "options.head");
  EXPECT_EQ(ReasonOf(status), std::nullopt);
}

TEST(StatusDetailsTest, ReasonIsKeptBesideField) {
  const absl::Status status = WithReason(InvalidField("a.b", "No."), "SOME_REASON");
  EXPECT_EQ(FieldOf(status), "a.b");
  EXPECT_EQ(ReasonOf(status), "SOME_REASON");
}

TEST(StatusDetailsTest, OrdinaryStatusHasNeither) {
  EXPECT_EQ(FieldOf(absl::InternalError("x")), std::nullopt);
  EXPECT_EQ(ReasonOf(absl::OkStatus()), std::nullopt);
}

TEST(StatusDetailsTest, OkStatusTakesNoReason) {
  EXPECT_EQ(ReasonOf(WithReason(absl::OkStatus(), "X")), std::nullopt);
}

}  // namespace
}  // namespace attribution
