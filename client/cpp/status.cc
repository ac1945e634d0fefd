#include "client/cpp/status.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "attribution/client.h"
#include "attribution/status_details.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace attribution::client {
namespace {

void AddDetail(const google::protobuf::Any& detail, absl::Status& status) {
  google::rpc::BadRequest bad_request;
  google::rpc::ErrorInfo error_info;
  google::rpc::RetryInfo retry_info;
  if (detail.UnpackTo(&bad_request) && bad_request.field_violations_size() > 0) {
    status.SetPayload(kFieldPayload, absl::Cord(bad_request.field_violations(0).field()));
  } else if (detail.UnpackTo(&error_info)) {
    status = WithReason(std::move(status), error_info.reason(),
                        {error_info.metadata().begin(), error_info.metadata().end()});
  } else if (detail.UnpackTo(&retry_info)) {
    status = WithRetryDelay(std::move(status), absl::Seconds(retry_info.retry_delay().seconds()) +
                                                   absl::Nanoseconds(retry_info.retry_delay().nanos()));
  }
}

}  // namespace

absl::Status FromGrpcStatus(const grpc::Status& status, const std::string& target) {
  if (status.ok()) return absl::OkStatus();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && status.error_details().empty()) {
    return WithReason(absl::UnavailableError(absl::StrCat("The connection to the server was lost: ", target,
                                                          " (", status.error_message(), ").")),
                      kCannotConnectReason);
  }
  // Both number the codes as google.rpc.Code does.
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status details;
  if (details.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& detail : details.details()) AddDetail(detail, result);
  }
  return result;
}

}  // namespace attribution::client
