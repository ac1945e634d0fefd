#include "tests/client/fake_server.h"

namespace attribution {

FakeServer::FakeServer() {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(static_cast<v1::AttributionService::Service*>(this));
  builder.RegisterService(static_cast<v1::ModelService::Service*>(this));
  builder.RegisterService(static_cast<grpc::health::v1::Health::Service*>(this));
  server_ = builder.BuildAndStart();
  target_ = "127.0.0.1:" + std::to_string(port);
}

grpc::Status FakeServer::Attribute(grpc::ServerContext* context, const v1::AttributeRequest* message,
                                   grpc::ServerWriter<v1::AttributeResponse>* writer) {
  const LockedScript script(mutex_, script_);
  script->request = *message;
  script->metadata.clear();
  for (const auto& [key, value] : context->client_metadata()) {
    script->metadata.emplace(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
  }
  const int attempt = script->attempts++;
  if (script->attribute_status) {
    if (grpc::Status status = script->attribute_status(attempt, *context); !status.ok()) return status;
  }
  for (const v1::AttributeResponse& event : script->events) writer->Write(event);
  return grpc::Status::OK;
}

grpc::Status FakeServer::Estimate(grpc::ServerContext*, const v1::EstimateRequest* message,
                                  v1::EstimateResponse* response) {
  const LockedScript script(mutex_, script_);
  script->estimate_request = *message;
  *response = script->estimate;
  return grpc::Status::OK;
}

grpc::Status FakeServer::Rollout(grpc::ServerContext*,
                                 grpc::ServerReaderWriter<v1::RolloutResponse, v1::RolloutRequest>* stream) {
  const LockedScript script(mutex_, script_);
  v1::RolloutRequest message;
  if (!stream->Read(&message)) return {grpc::StatusCode::INVALID_ARGUMENT, "There is no header."};
  script->rollout_header = message.header();
  if (!script->rollout_status.ok()) return script->rollout_status;
  auto event = script->rollout_events.begin();
  if (event != script->rollout_events.end()) stream->Write(*event++);
  while (stream->Read(&message)) script->pieces.push_back(message.piece());
  for (; event != script->rollout_events.end(); ++event) stream->Write(*event);
  return grpc::Status::OK;
}

grpc::Status FakeServer::ListModels(grpc::ServerContext*, const v1::ListModelsRequest* message,
                                    v1::ListModelsResponse* response) {
  const LockedScript script(mutex_, script_);
  size_t next = message->page_token().empty() ? 0 : std::stoul(message->page_token());
  for (size_t end = next + script->models_per_page; next < script->models.size() && next < end; ++next) {
    *response->add_models() = script->models[next];
  }
  if (next < script->models.size()) response->set_next_page_token(std::to_string(next));
  return grpc::Status::OK;
}

grpc::Status FakeServer::GetModel(grpc::ServerContext*, const v1::GetModelRequest* message,
                                  v1::GetModelResponse* response) {
  const LockedScript script(mutex_, script_);
  for (const v1::Model& model : script->models) {
    if (model.name() != message->model()) continue;
    *response->mutable_model() = model;
    return grpc::Status::OK;
  }
  return {grpc::StatusCode::NOT_FOUND, "No such model: \"" + message->model() + "\"."};
}

grpc::Status FakeServer::Check(grpc::ServerContext*, const grpc::health::v1::HealthCheckRequest* message,
                               grpc::health::v1::HealthCheckResponse* response) {
  const LockedScript script(mutex_, script_);
  const auto found = script->health.find(message->service());
  if (found == script->health.end()) return {grpc::StatusCode::NOT_FOUND, ""};
  response->set_status(found->second);
  return grpc::Status::OK;
}

std::vector<v1::AttributeResponse> SmallStream() {
  std::vector<v1::AttributeResponse> events(5);
  v1::Admitted& admitted = *events[0].mutable_admitted();
  admitted.set_num_layers(1);
  admitted.set_num_chunks(1);
  admitted.set_model_version("7");
  admitted.set_device("cpu");
  admitted.mutable_options()->set_preset(v1::PRESET_ABNAR_2020);
  admitted.mutable_options()->set_residual_weight(0.5);
  v1::SequenceTokens& tokens = *admitted.add_tokens();
  for (const char* token : {"a", "b"}) tokens.add_tokens(token);
  events[1].mutable_layer()->set_module_path("encoder.0");
  events[2].mutable_chunk()->set_num_sequences(1);
  v1::MatrixSlice& matrix = *events[3].mutable_matrix();
  matrix.set_rows(2);
  matrix.set_columns(2);
  matrix.set_layer_idx(-1);
  matrix.set_kind(v1::MATRIX_KIND_ROLLOUT);
  matrix.set_encoding(v1::MATRIX_ENCODING_FP32);
  const float cells[4] = {1.0f, 0.0f, 0.25f, 0.75f};
  matrix.set_data(std::string(reinterpret_cast<const char*>(cells), sizeof(cells)));
  v1::AttributionResult& result = *events[4].mutable_result();
  for (v1::Metrics* metrics : {result.mutable_metrics(), result.add_sequences()}) {
    metrics->set_rollout_max(1.0);
    metrics->set_batch_size(1);
    metrics->set_seq_length(2);
  }
  result.set_num_chunks(1);
  return events;
}

std::vector<v1::RolloutResponse> SmallRollout() {
  std::vector<v1::RolloutResponse> events;
  for (const v1::AttributeResponse& event : SmallStream()) {
    v1::RolloutResponse& message = events.emplace_back();
    message.ParseFromString(event.SerializeAsString());
    if (message.has_admitted()) message.mutable_admitted()->clear_model_version();
  }
  return events;
}

}  // namespace attribution
