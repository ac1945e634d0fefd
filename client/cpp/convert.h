// Turns plain requests into protobuf, and protobuf events and models into plain structs: the client's
// direction.
//
// Free functions without state. What a newer server may add and this client does not know is left out.
#ifndef ATTRIBUTION_CLIENT_CPP_CONVERT_H_
#define ATTRIBUTION_CLIENT_CPP_CONVERT_H_

#include <optional>

#include "attribution/attention_header.h"
#include "attribution/estimate.h"
#include "attribution/events.h"
#include "attribution/model_info.h"
#include "attribution/request.h"
#include "attribution/v1/attribution_service.pb.h"
#include "attribution/v1/model_service.pb.h"

namespace attribution::client {

// Fills a request message. Fields that the caller left empty stay unset.
v1::AttributeRequest ToProto(const AttributionRequest& request);
v1::EstimateRequest ToProto(const EstimateRequest& request);
v1::RolloutHeader ToProto(const RolloutRequest& request);

// Takes the event out of a response, moving its bytes. Nothing if it is of a kind this client does not know.
std::optional<Event> FromProto(v1::AttributeResponse&& response);
std::optional<Event> FromProto(v1::RolloutResponse&& response);

AdmissionEstimate FromProto(const v1::EstimateResponse& response);

ModelInfo FromProto(const v1::Model& model);

}  // namespace attribution::client

#endif  // ATTRIBUTION_CLIENT_CPP_CONVERT_H_
