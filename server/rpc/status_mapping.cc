#include "server/rpc/status_mapping.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "attribution/status_details.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/rpc/valid_utf8.h"

namespace attribution::rpc {
namespace {

constexpr size_t kMaxValueBytes = 200;  // of one metadata value in ErrorInfo
constexpr char kEllipsis[] = "...";

// Returns `text` as UTF-8 of at most `limit` bytes, cut between two characters.
std::string Shortened(std::string text, size_t limit) {
  text = ValidUtf8(std::move(text));
  if (text.size() <= limit) return text;
  size_t end = limit - (sizeof(kEllipsis) - 1);
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
  return absl::StrCat(text.substr(0, end), kEllipsis);
}

void SetDuration(absl::Duration duration, google::protobuf::Duration* out) {
  const int64_t seconds = absl::IDivDuration(duration, absl::Seconds(1), &duration);
  out->set_seconds(seconds);
  out->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto code = static_cast<grpc::StatusCode>(status.code());  // the numbers are the same
  const std::string message = Shortened(std::string(status.message()), kMaxMessageBytes);
  google::rpc::Status details;
  details.set_code(static_cast<int32_t>(code));
  details.set_message(message);
  if (const auto field = FieldOf(status)) {
    google::rpc::BadRequest bad_request;
    auto* violation = bad_request.add_field_violations();
    violation->set_field(Shortened(*field, kMaxValueBytes));
    violation->set_description(Shortened(message, kMaxValueBytes));
    details.add_details()->PackFrom(bad_request);
  }
  if (const auto reason = ReasonOf(status)) {
    google::rpc::ErrorInfo info;
    info.set_reason(*reason);
    info.set_domain(kErrorDomain);
    for (const auto& [key, value] : MetadataOf(status)) {
      (*info.mutable_metadata())[key] = Shortened(value, kMaxValueBytes);
    }
    details.add_details()->PackFrom(info);
  }
  if (const auto delay = RetryDelayOf(status)) {
    google::rpc::RetryInfo retry;
    SetDuration(*delay, retry.mutable_retry_delay());
    details.add_details()->PackFrom(retry);
  }
  if (details.details_size() == 0) return grpc::Status(code, message);
  return grpc::Status(code, message, details.SerializeAsString());
}

grpc::Status ToFinalStatus(const absl::Status& status, grpc::ServerContextBase* context) {
  if (const auto delay = RetryDelayOf(status)) {
    context->AddTrailingMetadata("grpc-retry-pushback-ms", absl::StrCat(absl::ToInt64Milliseconds(*delay)));
  }
  return ToGrpcStatus(status);
}

}  // namespace attribution::rpc
