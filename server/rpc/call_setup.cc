#include "server/rpc/call_setup.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/rpc/valid_utf8.h"
#include "server/telemetry/label_values.h"
#include "server/telemetry/logging.h"

namespace attribution::rpc {
namespace {

constexpr char kRequestId[] = "x-request-id";
constexpr char kPriority[] = "x-priority";
constexpr char kTraceParent[] = "traceparent";
constexpr size_t kMaxRequestIdBytes = 128;
constexpr size_t kMaxLoggedBytes = 256;  // of an error, which may quote what the client sent

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

// Whether `text` is lower-case hexadecimal and not all zeros.
bool IsHexNumber(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos &&
         text.find_first_not_of('0') != std::string_view::npos;
}

// The trace id of version-traceid-parentid-flags, 2-32-16-2 hexadecimal digits; empty for anything else.
// Later versions may have more behind another dash.
std::string TraceIdOf(std::string_view trace_parent) {
  constexpr size_t kLength = 55;
  if (trace_parent.size() < kLength) return "";
  const std::string_view version = trace_parent.substr(0, 2);
  const std::string_view trace = trace_parent.substr(3, 32);
  const std::string_view parent = trace_parent.substr(36, 16);
  const std::string_view flags = trace_parent.substr(53, 2);
  const bool longer = trace_parent.size() > kLength;
  const bool well_formed = trace_parent[2] == '-' && trace_parent[35] == '-' && trace_parent[52] == '-' &&
                           version != "ff" && (version == "00" || IsHexNumber(version)) &&
                           (flags == "00" || IsHexNumber(flags)) && IsHexNumber(trace) &&
                           IsHexNumber(parent) &&
                           (!longer || (version != "00" && trace_parent[kLength] == '-'));
  return well_formed ? std::string(trace) : "";
}

}  // namespace

absl::StatusOr<CallContext> SetUpCall(grpc::CallbackServerContext* context, const CallGate& gate, Role role) {
  absl::StatusOr<CallContext> call = SetUpCall(context);
  if (!call.ok()) return call;
  absl::StatusOr<std::string> client = gate.LetIn(*context, role);
  if (!client.ok()) {
    LogRefused(*call, client.status());
    return client.status();
  }
  call->client = *std::move(client);
  return call;
}

absl::StatusOr<CallContext> SetUpCall(grpc::CallbackServerContext* context) {
  CallContext call;
  call.request_id = Metadata(*context, kRequestId).value_or("");
  if (!IsUsableRequestId(call.request_id)) call.request_id = NewRequestId();
  context->AddTrailingMetadata(kRequestId, call.request_id);

  const std::chrono::system_clock::time_point deadline = context->deadline();
  if (deadline != std::chrono::system_clock::time_point::max()) call.deadline = absl::FromChrono(deadline);
  call.peer = context->peer();
  call.trace_id = TraceIdOf(Metadata(*context, kTraceParent).value_or(""));

  const std::optional<std::string> priority = Metadata(*context, kPriority);
  if (priority && !absl::SimpleAtoi(*priority, &call.priority)) {
    absl::Status status = InvalidField(
        kPriority, "Metadata x-priority is not a 32-bit integer. Send one, larger goes first, or none.");
    LogRefused(call, status);
    return status;
  }
  return call;
}

void LogRefused(const CallContext& call, const absl::Status& status) {
  telemetry::Log(telemetry::LogLevel::kInfo, "Request refused before it reached the engine.",
                 {{"request_id", call.request_id},
                  {"trace_id", call.trace_id},
                  {"peer", call.peer},
                  {"code", telemetry::GrpcCodeName(static_cast<int>(status.code()))},
                  {"error", ValidUtf8(std::string(status.message())).substr(0, kMaxLoggedBytes)}});
}

}  // namespace attribution::rpc
