// Client asks an attribution server for attention attribution, over gRPC, in plain types.
//
// Thread-safe: one client serves any number of threads. Calls block the calling thread.
#ifndef ATTRIBUTION_CLIENT_H_
#define ATTRIBUTION_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "attribution/attention_header.h"
#include "attribution/estimate.h"
#include "attribution/events.h"
#include "attribution/model_info.h"
#include "attribution/request.h"

namespace attribution {

// Reason of an UNAVAILABLE error that came from the network and not from a server (see ReasonOf).
inline constexpr char kCannotConnectReason[] = "CANNOT_CONNECT";

struct ClientOptions {
  // `host:port`, or a gRPC target such as `dns:///name:port` or `unix:/path`. A bare `host:port` is resolved
  // by DNS and calls go round all of its addresses.
  std::string target = "127.0.0.1:8500";
  // File whose first line is a bearer token, sent with every call. Empty: none. Without TLS everybody on the
  // way can read it.
  std::string token_file;
  // Whether the connection is encrypted and the server proves who it is. Set by each of the files below too.
  bool tls = false;
  // Authorities that the server's certificate is checked against, PEM. Empty: those of the system.
  std::string tls_ca_file;
  // Certificate of this client and its key, PEM, for servers that ask for one. Both or neither.
  std::string tls_cert_file;
  std::string tls_key_file;
  // How long Connect may take.
  absl::Duration connect_timeout = absl::Seconds(10);
  // How long each call may take, retries included.
  absl::Duration timeout = absl::InfiniteDuration();
  // Whether calls that the server refuses for now are tried again by themselves.
  bool retry = true;
};

// How a call that was started has ended.
struct CallEnd {
  absl::Status status;         // as that of the blocking call
  int64_t received_bytes = 0;  // of the messages, without the framing of the network
};

// Whether a service takes requests, as the standard health service tells it.
enum class HealthState { kUnknown, kServing, kNotServing };

class Client {
 public:
  virtual ~Client() = default;

  // Connects to a server. UNAVAILABLE with kCannotConnectReason if none answers; INVALID_ARGUMENT or
  // NOT_FOUND if a file of the options cannot be used.
  //
  // Calls that the server refuses with UNAVAILABLE or RESOURCE_EXHAUSTED are tried again by themselves, up to
  // five times, after the pause that the server names, until the call's timeout, unless options.retry is
  // false.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const ClientOptions& options);

  // Attributes the request and calls `on_event` for each event, in order, on this thread. Returns OK after
  // the AttributionResult; else the server's error, with the details of status_details.h. `on_event` may be
  // empty.
  virtual absl::Status Attribute(const AttributionRequest& request,
                                 const std::function<void(const Event&)>& on_event) = 0;

  // Attributes the request without blocking. `on_event` gets each event and `on_done`, last, how the call
  // ended; both on threads of gRPC, one at a time for one call, which they must not block. The
  // client's destructor, which must not run on such a thread, waits for the calls that still run.
  virtual void StartAttribute(const AttributionRequest& request, std::function<void(const Event&)> on_event,
                              std::function<void(const CallEnd&)> on_done) = 0;

  // Says what admission would decide for a shape; nothing runs.
  virtual absl::StatusOr<AdmissionEstimate> Estimate(const EstimateRequest& request) = 0;

  // Rolls out attention that the caller has. Once the server has admitted the header, `next_layer` is asked
  // for the bytes of layer 0, 1, … (row-major, little-endian, as the header says); its error ends the call
  // and is returned. Events as Attribute; both functions are called on this thread. What is held is one layer
  // and the events that were not yet taken.
  virtual absl::Status Rollout(const RolloutRequest& request,
                               const std::function<absl::StatusOr<std::string>(int32_t layer)>& next_layer,
                               const std::function<void(const Event&)>& on_event) = 0;

  // Lists every version of every model, by name, then version.
  virtual absl::StatusOr<std::vector<ModelInfo>> ListModels() = 0;

  // Tells about one version. Empty: the newest that serves, else the newest. NOT_FOUND if there is none.
  virtual absl::StatusOr<ModelInfo> GetModel(const std::string& name, const std::string& version) = 0;

  // Loads or reloads a version, the newest in the repository if `version` is empty, and returns it once it
  // serves. FAILED_PRECONDITION with the load error; RESOURCE_EXHAUSTED if it does not fit.
  virtual absl::StatusOr<ModelInfo> LoadModel(const std::string& name, const std::string& version,
                                              LoadModelOptions options) = 0;

  // Takes a version, the newest that serves if `version` is empty, out of memory, and returns once its last
  // request has ended.
  virtual absl::Status UnloadModel(const std::string& name, const std::string& version) = 0;

  // Asks for the health of `service`: empty for the whole server, `model/<name>` for one model. NOT_FOUND if
  // unknown.
  virtual absl::StatusOr<HealthState> CheckHealth(const std::string& service) = 0;
};

}  // namespace attribution

#endif  // ATTRIBUTION_CLIENT_H_
