#include "server/rpc/model_service.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "attribution/status_details.h"
#include "server/rpc/unary_call.h"

namespace attribution::rpc {
namespace {

constexpr int32_t kDefaultPageSize = 100;
constexpr int32_t kMaxPageSize = 1000;
constexpr char kTokenPrefix[] = "after";  // tells our tokens from other base64

using NameAndVersion = std::pair<std::string, std::string>;

// Versions are integers without leading zeros, compared by value.
std::pair<size_t, std::string> VersionOrder(const std::string& version) { return {version.size(), version}; }

bool Before(const NameAndVersion& a, const NameAndVersion& b) {
  if (a.first != b.first) return a.first < b.first;
  return VersionOrder(a.second) < VersionOrder(b.second);
}

std::string MakeToken(const ModelInfo& last) {
  return absl::WebSafeBase64Escape(absl::StrCat(kTokenPrefix, "/", last.name, "/", last.version));
}

absl::StatusOr<NameAndVersion> ReadToken(const std::string& token) {
  std::string text;
  if (absl::WebSafeBase64Unescape(token, &text)) {
    const std::vector<std::string> parts = absl::StrSplit(text, '/');
    if (parts.size() == 3 && parts[0] == kTokenPrefix && !parts[1].empty())
      return NameAndVersion{parts[1], parts[2]};
  }
  return InvalidField("page_token",
                      "Unknown page_token. Send the next_page_token of the page before, or none.");
}

}  // namespace

absl::StatusOr<v1::ListModelsResponse> PageOfModels(const std::vector<ModelInfo>& models,
                                                    const v1::ListModelsRequest& request) {
  if (request.page_size() < 0) {
    return InvalidField("page_size", absl::StrCat("Negative page_size. It is ", request.page_size(),
                                                  ". Send 0 for the default of ", kDefaultPageSize, "."));
  }
  auto first = models.begin();
  if (!request.page_token().empty()) {
    const absl::StatusOr<NameAndVersion> after = ReadToken(request.page_token());
    if (!after.ok()) return after.status();
    first = std::upper_bound(models.begin(), models.end(), *after,
                             [](const NameAndVersion& key, const ModelInfo& model) {
                               return Before(key, {model.name, model.version});
                             });
  }
  const int32_t size =
      request.page_size() == 0 ? kDefaultPageSize : std::min(request.page_size(), kMaxPageSize);
  v1::ListModelsResponse response;
  auto model = first;
  for (; model != models.end() && response.models_size() < size; ++model)
    *response.add_models() = ToProto(*model);
  if (model != models.end()) response.set_next_page_token(MakeToken(*(model - 1)));
  return response;
}

grpc::ServerUnaryReactor* ModelServiceImpl::ListModels(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request,
                                                       grpc::ByteBuffer* response) {
  return AnswerUnary<v1::ListModelsRequest>(
      context, SetUpCall(context, gate_, Role::kAttribute).status(), request, response,
      [this](const v1::ListModelsRequest& list) {
        std::vector<ModelInfo> models = engine_.ListModels();
        std::sort(models.begin(), models.end(), [](const ModelInfo& a, const ModelInfo& b) {
          return Before({a.name, a.version}, {b.name, b.version});
        });
        return PageOfModels(models, list);
      });
}

grpc::ServerUnaryReactor* ModelServiceImpl::GetModel(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  return AnswerUnary<v1::GetModelRequest>(
      context, SetUpCall(context, gate_, Role::kAttribute).status(), request, response,
      [this](const v1::GetModelRequest& get) -> absl::StatusOr<v1::GetModelResponse> {
        const absl::StatusOr<ModelInfo> model = engine_.GetModel(get.model(), get.model_version());
        if (!model.ok()) return model.status();
        v1::GetModelResponse reply;
        *reply.mutable_model() = ToProto(*model);
        return reply;
      });
}

grpc::ServerUnaryReactor* ModelServiceImpl::LoadModel(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  return AnswerLater<v1::LoadModelRequest, v1::LoadModelResponse>(
      context, SetUpCall(context, gate_, Role::kAdmin).status(), request, response,
      [this](const v1::LoadModelRequest& load, const auto& finish) {
        engine_.LoadModel(load.model(), load.model_version(), {load.force(), load.unload_first()},
                          [finish](const absl::StatusOr<ModelInfo>& model) {
                            if (!model.ok()) return finish(model.status());
                            v1::LoadModelResponse reply;
                            *reply.mutable_model() = ToProto(*model);
                            finish(reply);
                          });
      });
}

grpc::ServerUnaryReactor* ModelServiceImpl::UnloadModel(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* response) {
  return AnswerLater<v1::UnloadModelRequest, v1::UnloadModelResponse>(
      context, SetUpCall(context, gate_, Role::kAdmin).status(), request, response,
      [this](const v1::UnloadModelRequest& unload, const auto& finish) {
        engine_.UnloadModel(unload.model(), unload.model_version(),
                            [finish](const absl::StatusOr<ModelInfo>& model) {
                              if (!model.ok()) return finish(model.status());
                              finish(v1::UnloadModelResponse());
                            });
      });
}

}  // namespace attribution::rpc
