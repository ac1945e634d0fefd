#include "server/rpc/status_mapping.h"

#include <string>

#include "attribution/status_details.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "server/rpc/valid_utf8.h"

namespace attribution::rpc {
namespace {

// Returns the detail of type Message in `status`; fails the test if there is none.
template <typename Message>
Message DetailOf(const grpc::Status& status) {
  google::rpc::Status details;
  Message message;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  for (const auto& detail : details.details()) {
    if (detail.UnpackTo(&message)) return message;
  }
  ADD_FAILURE() << "no " << message.GetTypeName();
  return message;
}

TEST(StatusMappingTest, EveryCodeKeepsItsNumber) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status = ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "m"));
    EXPECT_EQ(static_cast<int>(status.error_code()), code);
    EXPECT_EQ(status.error_message(), "m");
  }
}

TEST(StatusMappingTest, OkIsOk) { EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok()); }

TEST(StatusMappingTest, AnErrorWithoutDetailsHasNone) {
  EXPECT_EQ(ToGrpcStatus(absl::InternalError("m")).error_details(), "");
}

TEST(StatusMappingTest, TheFieldBecomesABadRequest) {
  const grpc::Status status = ToGrpcStatus(InvalidField("options.residual_weight", "Out of range."));
  const auto bad_request = DetailOf<google::rpc::BadRequest>(status);
  ASSERT_EQ(bad_request.field_violations_size(), 1);
  EXPECT_EQ(bad_request.field_violations(0).field(), "options.residual_weight");
  EXPECT_EQ(bad_request.field_violations(0).description(), "Out of range.");
}

TEST(StatusMappingTest, TheReasonBecomesAnErrorInfo) {
  const absl::Status never_fits =
      WithReason(absl::FailedPreconditionError("Too long."), "NEVER_FITS", {{"budget_bytes", "1000"}});
  const auto info = DetailOf<google::rpc::ErrorInfo>(ToGrpcStatus(never_fits));
  EXPECT_EQ(info.reason(), "NEVER_FITS");
  EXPECT_EQ(info.domain(), "attribution");
  EXPECT_EQ(info.metadata().at("budget_bytes"), "1000");
}

TEST(StatusMappingTest, TheRetryDelayBecomesARetryInfo) {
  const absl::Status full = WithRetryDelay(absl::ResourceExhaustedError("Full."), absl::Milliseconds(2250));
  const auto retry = DetailOf<google::rpc::RetryInfo>(ToGrpcStatus(full));
  EXPECT_EQ(retry.retry_delay().seconds(), 2);
  EXPECT_EQ(retry.retry_delay().nanos(), 250000000);
}

TEST(StatusMappingTest, DetailsRepeatCodeAndMessage) {
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(ToGrpcStatus(InvalidField("f", "m")).error_details()));
  EXPECT_EQ(details.code(), 3);
  EXPECT_EQ(details.message(), "m");
}

TEST(StatusMappingTest, ALongMessageIsCutBetweenCharacters) {
  std::string message;
  while (message.size() < 3 * kMaxMessageBytes) message += "\xE2\x82\xAC";  // a euro sign, three bytes
  const std::string sent = ToGrpcStatus(absl::InternalError(message)).error_message();
  EXPECT_LE(sent.size(), kMaxMessageBytes);
  EXPECT_GE(sent.size(), kMaxMessageBytes - 6);
  EXPECT_EQ(ValidUtf8(sent), sent);
  EXPECT_EQ(sent.substr(sent.size() - 3), "...");
}

TEST(ValidUtf8Test, KeepsWhatIsValid) {
  for (const char* text :
       {"", "plain", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xED\x9F\xBF", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_EQ(ValidUtf8(text), text);
  }
}

TEST(ValidUtf8Test, ReplacesEachByteThatIsNot) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(ValidUtf8("a\xFFz"), "a" + r + "z");
  EXPECT_EQ(ValidUtf8("\xC0\x80"), r + r);                  // longer than needed
  EXPECT_EQ(ValidUtf8("\xE0\x80\x80"), r + r + r);          // longer than needed
  EXPECT_EQ(ValidUtf8("\xED\xA0\x80"), r + r + r);          // a surrogate
  EXPECT_EQ(ValidUtf8("\xF4\x90\x80\x80"), r + r + r + r);  // above U+10FFFF
  EXPECT_EQ(ValidUtf8("\xE2\x82"), r + r);                  // cut off
  EXPECT_EQ(ValidUtf8("\x80\xC3\xA9"), r + "\xC3\xA9");
}

}  // namespace
}  // namespace attribution::rpc
