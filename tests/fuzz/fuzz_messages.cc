// What comes over the network, before a model is chosen.
#include <string>
#include <vector>

#include "server/rpc/convert_request.h"
#include "server/rpc/model_service.h"
#include "tests/fuzz/targets.h"

namespace attribution::fuzz {
namespace {

template <typename Message>
void Convert(const grpc::ByteBuffer& bytes) {
  Message message;
  if (!rpc::ParseMessage(bytes, &message).ok()) return;
  const auto request = rpc::FromProto(std::move(message));
  FUZZ_CHECK(request.ok() || !request.status().message().empty());
}

}  // namespace

void FuzzRequest(std::string_view bytes) {
  if (bytes.empty()) return;
  const grpc::Slice slice(bytes.data() + 1, bytes.size() - 1);
  const grpc::ByteBuffer buffer(&slice, 1);
  switch (bytes[0] % 4) {
    case 0:
      return Convert<v1::AttributeRequest>(buffer);
    case 1:
      return Convert<v1::ComputeMetricsRequest>(buffer);
    case 2:
      return Convert<v1::EstimateRequest>(buffer);
    default:
      return Convert<v1::RolloutHeader>(buffer);
  }
}

void FuzzPageToken(std::string_view bytes) {
  std::vector<ModelInfo> models(3);
  for (size_t i = 0; i < models.size(); ++i) {
    models[i].name = std::string(1, static_cast<char>('a' + i));
    models[i].version = "1";
  }
  v1::ListModelsRequest request;
  request.set_page_token(std::string(bytes));
  request.set_page_size(1);
  const auto page = rpc::PageOfModels(models, request);
  FUZZ_CHECK(!page.ok() || page->models_size() <= 1);
}

}  // namespace attribution::fuzz
