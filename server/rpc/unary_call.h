// What unary methods have in common: parse, answer, finish.
#ifndef SERVER_RPC_UNARY_CALL_H_
#define SERVER_RPC_UNARY_CALL_H_

#include "absl/status/statusor.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/call_setup.h"
#include "server/rpc/convert_request.h"
#include "server/rpc/convert_response.h"
#include "server/rpc/status_mapping.h"

namespace attribution::rpc {

// Parses `bytes` into a Request, answers it with `answer`, a function from Request to
// absl::StatusOr<message>, and finishes the call. `status`: that of SetUpCall(); an error is the answer.
template <typename Request, typename Answer>
grpc::ServerUnaryReactor* AnswerUnary(grpc::CallbackServerContext* context, absl::Status status,
                                      const grpc::ByteBuffer* bytes, grpc::ByteBuffer* response,
                                      const Answer& answer) {
  Request request;
  if (status.ok()) status = ParseMessage(*bytes, &request);
  if (status.ok()) {
    const auto reply = answer(request);
    status = reply.status();
    if (reply.ok()) *response = ToBytes(*reply);
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToFinalStatus(status, context));
  return reactor;
}

// The same for an answer that comes later: `start` takes the request and a function that it calls once, from
// any thread, with absl::StatusOr<Message>.
template <typename Request, typename Message, typename Start>
grpc::ServerUnaryReactor* AnswerLater(grpc::CallbackServerContext* context, absl::Status status,
                                      const grpc::ByteBuffer* bytes, grpc::ByteBuffer* response,
                                      const Start& start) {
  // gRPC keeps reactor, context and response until Finish().
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const auto finish = [context, response, reactor](const absl::StatusOr<Message>& reply) {
    if (reply.ok()) *response = ToBytes(*reply);
    reactor->Finish(ToFinalStatus(reply.status(), context));
  };
  Request request;
  if (status.ok()) status = ParseMessage(*bytes, &request);
  if (status.ok()) {
    start(request, finish);
  } else {
    finish(status);
  }
  return reactor;
}

}  // namespace attribution::rpc

#endif  // SERVER_RPC_UNARY_CALL_H_
