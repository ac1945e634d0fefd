// ModelServiceImpl answers attribution.v1.ModelService with an Engine. Thread-safe.
#ifndef SERVER_RPC_MODEL_SERVICE_H_
#define SERVER_RPC_MODEL_SERVICE_H_

#include "attribution/engine.h"
#include "attribution/v1/model_service.grpc.pb.h"
#include "server/rpc/call_gate.h"

namespace attribution::rpc {

using RawModelService = v1::ModelService::WithRawCallbackMethod_ListModels<
    v1::ModelService::WithRawCallbackMethod_GetModel<v1::ModelService::WithRawCallbackMethod_LoadModel<
        v1::ModelService::WithRawCallbackMethod_UnloadModel<v1::ModelService::Service>>>>;

class ModelServiceImpl : public RawModelService {
 public:
  // REQUIRES: `engine` and `gate` outlive the grpc::Server that this is registered with.
  ModelServiceImpl(Engine& engine, const CallGate& gate) : engine_(engine), gate_(gate) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* LoadModel(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* UnloadModel(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;

 private:
  Engine& engine_;
  const CallGate& gate_;
};

// A page of `models`, which are sorted by name, then version. Its token names the last model of the page
// before, so that models that come or go between two calls are neither repeated nor cost others their place.
// INVALID_ARGUMENT for a negative size or a token that no page ended with.
absl::StatusOr<v1::ListModelsResponse> PageOfModels(const std::vector<ModelInfo>& models,
                                                    const v1::ListModelsRequest& request);

}  // namespace attribution::rpc

#endif  // SERVER_RPC_MODEL_SERVICE_H_
