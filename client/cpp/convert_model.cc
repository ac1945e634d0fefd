#include "client/cpp/convert.h"

namespace attribution::client {
namespace {

ModelState FromProto(v1::ModelState state) {
  switch (state) {
    case v1::MODEL_STATE_LOADING:
      return ModelState::kLoading;
    case v1::MODEL_STATE_SERVING:
      return ModelState::kServing;
    case v1::MODEL_STATE_FAILED:
      return ModelState::kFailed;
    default:
      return ModelState::kUnloaded;
  }
}

TensorDtype FromProto(v1::TensorDtype dtype) {
  switch (dtype) {
    case v1::TENSOR_DTYPE_FLOAT16:
      return TensorDtype::kFloat16;
    case v1::TENSOR_DTYPE_BFLOAT16:
      return TensorDtype::kBfloat16;
    case v1::TENSOR_DTYPE_INT64:
      return TensorDtype::kInt64;
    case v1::TENSOR_DTYPE_INT32:
      return TensorDtype::kInt32;
    case v1::TENSOR_DTYPE_BOOL:
      return TensorDtype::kBool;
    default:
      return TensorDtype::kFloat32;
  }
}

SiteKind FromProto(v1::SiteKind kind) {
  switch (kind) {
    case v1::SITE_KIND_TAPPED:
      return SiteKind::kTapped;
    case v1::SITE_KIND_RETURNED:
      return SiteKind::kReturned;
    default:
      return SiteKind::kBlocked;
  }
}

}  // namespace

ModelInfo FromProto(const v1::Model& message) {
  ModelInfo model;
  model.name = message.name();
  model.version = message.version();
  model.state = FromProto(message.state());
  model.sha256 = message.sha256();
  model.device = message.device();
  model.num_layers = message.num_layers();
  model.num_heads = message.num_heads();
  model.vocabulary_size = message.vocabulary_size();
  model.max_sequence_length = message.max_sequence_length();
  for (const v1::ModelInput& input : message.inputs()) {
    model.inputs.push_back({.name = input.name(),
                            .dtype = FromProto(input.dtype()),
                            .shape = {input.shape().begin(), input.shape().end()}});
  }
  if (message.has_patch_grid()) {
    const v1::PatchGrid& grid = message.patch_grid();
    model.patch_grid = {
        .rows = grid.rows(), .columns = grid.columns(), .first_position = grid.first_position()};
  }
  model.has_tokenizer = message.has_tokenizer();
  for (const v1::AttentionSite& site : message.sites()) {
    model.sites.push_back({.index = site.index(),
                           .module_path = site.module_path(),
                           .kind = FromProto(site.kind()),
                           .operator_name = site.operator_name(),
                           .executions = site.executions(),
                           .tap_reason = site.tap_reason(),
                           .group = site.group(),
                           .source = site.source()});
  }
  for (const v1::SkippedSite& skipped : message.skipped()) {
    model.skipped.push_back({.name = skipped.name(), .reason = skipped.reason(), .source = skipped.source()});
  }
  model.resident_bytes = message.resident_bytes();
  model.load_error = message.load_error();
  return model;
}

}  // namespace attribution::client
