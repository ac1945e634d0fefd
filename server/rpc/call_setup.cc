#include "server/rpc/call_setup.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"

namespace attribution::rpc {
namespace {

constexpr char kRequestId[] = "x-request-id";
constexpr char kPriority[] = "x-priority";
constexpr size_t kMaxRequestIdBytes = 128;

std::optional<std::string> Metadata(const grpc::CallbackServerContext& context, const char* key) {
  const auto entry = context.client_metadata().find(key);
  if (entry == context.client_metadata().end()) return std::nullopt;
  return std::string(entry->second.data(), entry->second.size());
}

std::string NewRequestId() {
  thread_local std::mt19937_64 random{(uint64_t{std::random_device{}()} << 32) ^ std::random_device{}()};
  return absl::StrCat(absl::Hex(random(), absl::kZeroPad16), absl::Hex(random(), absl::kZeroPad16));
}

bool IsUsableRequestId(const std::string& id) {
  return !id.empty() && id.size() <= kMaxRequestIdBytes &&
         std::all_of(id.begin(), id.end(), [](unsigned char c) { return absl::ascii_isprint(c); });
}

}  // namespace

absl::StatusOr<CallContext> SetUpCall(grpc::CallbackServerContext* context) {
  CallContext call;
  call.request_id = Metadata(*context, kRequestId).value_or("");
  if (!IsUsableRequestId(call.request_id)) call.request_id = NewRequestId();
  context->AddTrailingMetadata(kRequestId, call.request_id);

  const std::chrono::system_clock::time_point deadline = context->deadline();
  if (deadline != std::chrono::system_clock::time_point::max()) call.deadline = absl::FromChrono(deadline);
  call.peer = context->peer();

  const std::optional<std::string> priority = Metadata(*context, kPriority);
  if (priority && !absl::SimpleAtoi(*priority, &call.priority)) {
    return InvalidField(kPriority,
                        "Metadata x-priority is not a 32-bit integer. Send one, larger goes first, or none.");
  }
  return call;
}

}  // namespace attribution::rpc
