#include <string>
#include <variant>
#include <vector>

#include "attribution/status_details.h"
#include "gtest/gtest.h"
#include "server/rpc/convert_request.h"
#include "server/rpc/convert_response.h"

namespace attribution::rpc {
namespace {

TEST(ConvertRequestTest, UnsetFieldsStayUnset) {
  const AttributionRequest request = *FromProto(v1::AttributeRequest());
  EXPECT_TRUE(std::holds_alternative<std::monostate>(request.input));
  EXPECT_FALSE(request.options.layer_idx.has_value());
  EXPECT_FALSE(request.options.preset.has_value());
  EXPECT_FALSE(request.options.residual_weight.has_value());
  EXPECT_FALSE(request.options.head_fusion.has_value());
  EXPECT_FALSE(request.options.head.has_value());
  EXPECT_FALSE(request.options.start_layer.has_value());
  EXPECT_FALSE(request.options.end_layer.has_value());
  EXPECT_FALSE(request.options.discard_ratio.has_value());
  EXPECT_EQ(request.options.chunk_policy, ChunkPolicy::kServerDefault);
  EXPECT_EQ(request.output.rows.kind, RowSelection::Kind::kAll);
}

TEST(ConvertRequestTest, ZerosThatWereSetAreSet) {
  v1::AttributeRequest message;
  message.mutable_options()->set_layer_idx(0);
  message.mutable_options()->set_residual_weight(0);
  message.mutable_options()->set_head(0);
  const AttributionRequest request = *FromProto(message);
  EXPECT_EQ(request.options.layer_idx, 0);
  EXPECT_EQ(request.options.residual_weight, 0.0);
  EXPECT_EQ(request.options.head, 0);
}

TEST(ConvertRequestTest, EveryFieldArrives) {
  v1::AttributeRequest message;
  message.set_model("m");
  message.set_model_version("3");
  auto* sequence = message.mutable_tokens()->add_sequences();
  sequence->add_input_ids(101);
  sequence->add_attention_mask(1);
  sequence->add_token_type_ids(2);
  message.mutable_tokens()->add_sequences()->add_input_ids(5);
  auto* options = message.mutable_options();
  options->set_attention_layer_pattern("attn");
  options->set_preset(v1::PRESET_ICLR_METRICS);
  options->set_head_fusion(v1::HEAD_FUSION_MAX);
  options->set_start_layer(-2);
  options->set_end_layer(-1);
  options->set_discard_ratio(0.5);
  options->set_include_padding(true);
  options->set_causal_correction(v1::CAUSAL_CORRECTION_DROP_FIRST);
  options->set_max_chunk_size(4);
  options->set_chunk_policy(v1::CHUNK_POLICY_REFERENCE);
  auto* output = message.mutable_output();
  output->set_layer_metrics(true);
  output->set_rollout_matrix(true);
  output->set_layer_matrices(true);
  output->mutable_rows()->set_kind(v1::RowSelection::KIND_INDICES);
  output->mutable_rows()->add_indices(7);
  output->set_top_k(8);
  output->set_encoding(v1::MATRIX_ENCODING_FP16);
  output->set_tokens(true);
  output->set_skip_rollout_metrics(true);

  const AttributionRequest request = *FromProto(message);
  EXPECT_EQ(request.model, "m");
  EXPECT_EQ(request.model_version, "3");
  const auto& tokens = std::get<TokenBatch>(request.input);
  ASSERT_EQ(tokens.sequences.size(), 2u);
  EXPECT_EQ(tokens.sequences[0].input_ids, std::vector<int64_t>{101});
  EXPECT_EQ(tokens.sequences[0].attention_mask, std::vector<int32_t>{1});
  EXPECT_EQ(tokens.sequences[0].token_type_ids, std::vector<int64_t>{2});
  EXPECT_TRUE(tokens.sequences[1].attention_mask.empty());
  EXPECT_EQ(request.options.attention_layer_pattern, "attn");
  EXPECT_EQ(request.options.preset, Preset::kIclrMetrics);
  EXPECT_EQ(request.options.head_fusion, HeadFusion::kMax);
  EXPECT_EQ(request.options.start_layer, -2);
  EXPECT_EQ(request.options.end_layer, -1);
  EXPECT_EQ(request.options.discard_ratio, 0.5);
  EXPECT_TRUE(request.options.include_padding);
  EXPECT_EQ(request.options.causal_correction, CausalCorrection::kDropFirst);
  EXPECT_EQ(request.options.max_chunk_size, 4);
  EXPECT_EQ(request.options.chunk_policy, ChunkPolicy::kReference);
  EXPECT_TRUE(request.output.layer_metrics);
  EXPECT_TRUE(request.output.rollout_matrix);
  EXPECT_TRUE(request.output.layer_matrices);
  EXPECT_EQ(request.output.rows.kind, RowSelection::Kind::kIndices);
  EXPECT_EQ(request.output.rows.indices, std::vector<int32_t>{7});
  EXPECT_EQ(request.output.top_k, 8);
  EXPECT_EQ(request.output.encoding, MatrixEncoding::kFloat16);
  EXPECT_TRUE(request.output.tokens);
  EXPECT_TRUE(request.output.skip_rollout_metrics);
}

TEST(ConvertRequestTest, TensorsArrive) {
  v1::AttributeRequest message;
  auto* tensor = message.mutable_tensors()->add_tensors();
  tensor->set_name("pixels");
  tensor->set_dtype(v1::TENSOR_DTYPE_FLOAT16);
  tensor->add_shape(1);
  tensor->set_data("ab");
  const AttributionRequest request = *FromProto(message);
  const NamedTensor& out = std::get<TensorBatch>(request.input).tensors.at(0);
  EXPECT_EQ(out.name, "pixels");
  EXPECT_EQ(out.dtype, TensorDtype::kFloat16);
  EXPECT_EQ(out.shape, std::vector<int64_t>{1});
  EXPECT_EQ(out.data, "ab");
}

// Sets one enum of a request to a number that it does not have.
struct EnumCase {
  const char* field;
  void (*spoil)(v1::AttributeRequest&);
};

TEST(ConvertRequestTest, AnUnknownNumberOfAnyEnumIsInvalidAndNamed) {
  const EnumCase cases[] = {
      {"options.preset", [](auto& m) { m.mutable_options()->set_preset(static_cast<v1::Preset>(99)); }},
      {"options.head_fusion",
       [](auto& m) { m.mutable_options()->set_head_fusion(static_cast<v1::HeadFusion>(99)); }},
      {"options.causal_correction",
       [](auto& m) { m.mutable_options()->set_causal_correction(static_cast<v1::CausalCorrection>(-1)); }},
      {"options.chunk_policy",
       [](auto& m) { m.mutable_options()->set_chunk_policy(static_cast<v1::ChunkPolicy>(3)); }},
      {"output.rows.kind",
       [](auto& m) { m.mutable_output()->mutable_rows()->set_kind(static_cast<v1::RowSelection::Kind>(5)); }},
      {"output.encoding",
       [](auto& m) { m.mutable_output()->set_encoding(static_cast<v1::MatrixEncoding>(3)); }},
      {"tensors.tensors[0].dtype",
       [](auto& m) { m.mutable_tensors()->add_tensors()->set_dtype(static_cast<v1::TensorDtype>(7)); }},
      {"tensors.tensors[0].dtype", [](auto& m) { m.mutable_tensors()->add_tensors(); }},
  };
  for (const EnumCase& spoiled : cases) {
    v1::AttributeRequest message;
    spoiled.spoil(message);
    const absl::Status status = FromProto(message).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << spoiled.field;
    EXPECT_EQ(FieldOf(status), spoiled.field);
  }
}

// Every name of an enum, bar those that are never sent, must have a conversion.
TEST(ConvertRequestTest, EveryNameOfEveryEnumIsKnown) {
  const auto each = [](const google::protobuf::EnumDescriptor* descriptor, auto set) {
    for (int i = 0; i < descriptor->value_count(); ++i) {
      v1::AttributeRequest message;
      set(message, descriptor->value(i)->number());
      EXPECT_TRUE(FromProto(message).ok()) << descriptor->value(i)->full_name();
    }
  };
  each(v1::Preset_descriptor(),
       [](auto& m, int n) { m.mutable_options()->set_preset(static_cast<v1::Preset>(n)); });
  each(v1::HeadFusion_descriptor(),
       [](auto& m, int n) { m.mutable_options()->set_head_fusion(static_cast<v1::HeadFusion>(n)); });
  each(v1::CausalCorrection_descriptor(), [](auto& m, int n) {
    m.mutable_options()->set_causal_correction(static_cast<v1::CausalCorrection>(n));
  });
  each(v1::ChunkPolicy_descriptor(),
       [](auto& m, int n) { m.mutable_options()->set_chunk_policy(static_cast<v1::ChunkPolicy>(n)); });
  each(v1::RowSelection::Kind_descriptor(), [](auto& m, int n) {
    m.mutable_output()->mutable_rows()->set_kind(static_cast<v1::RowSelection::Kind>(n));
  });
  each(v1::MatrixEncoding_descriptor(),
       [](auto& m, int n) { m.mutable_output()->set_encoding(static_cast<v1::MatrixEncoding>(n)); });
}

TEST(ConvertResponseTest, AMetricThatIsAbsentStaysAbsent) {
  AttributionResult result;
  result.metrics.rollout_entropy = 0.0;
  const v1::AttributionResult message = ToProto(result);
  EXPECT_TRUE(message.metrics().has_rollout_entropy());
  EXPECT_FALSE(message.metrics().has_rollout_max());
  EXPECT_FALSE(message.has_corrected());
}

TEST(ConvertResponseTest, ResolvedOptionsReadBackAsOptions) {
  Admitted admitted;
  admitted.options.preset = Preset::kIclrMetrics;
  admitted.options.residual_weight = 0.2;
  admitted.options.layer_idx = 5;
  admitted.options.end_layer = 5;
  admitted.options.head = 3;
  v1::AttributeRequest message;
  *message.mutable_options() = ToProto(admitted).options();
  const AttributionOptions options = FromProto(message)->options;
  EXPECT_EQ(options.preset, Preset::kIclrMetrics);
  EXPECT_EQ(options.residual_weight, 0.2);
  EXPECT_EQ(options.layer_idx, 5);
  EXPECT_EQ(options.start_layer, 0);
  EXPECT_EQ(options.end_layer, 5);
  EXPECT_EQ(options.head, 3);
  EXPECT_EQ(options.head_fusion, HeadFusion::kMean);
  EXPECT_EQ(options.chunk_policy, ChunkPolicy::kAdaptive);
}

TEST(ConvertResponseTest, ASliceKeepsItsBytes) {
  MatrixSlice slice;
  slice.sequence_index = 1;
  slice.first_row = 2;
  slice.rows = 3;
  slice.columns = 4;
  slice.kind = MatrixKind::kLayerAttention;
  slice.layer_idx = 5;
  slice.encoding = MatrixEncoding::kFloat16;
  slice.data = std::string("\0\xFF", 2);
  const v1::MatrixSlice message = ToProto(Event(slice)).matrix();
  EXPECT_EQ(message.sequence_index(), 1);
  EXPECT_EQ(message.first_row(), 2);
  EXPECT_EQ(message.rows(), 3);
  EXPECT_EQ(message.columns(), 4);
  EXPECT_EQ(message.kind(), v1::MATRIX_KIND_LAYER_ATTENTION);
  EXPECT_EQ(message.layer_idx(), 5);
  EXPECT_EQ(message.encoding(), v1::MATRIX_ENCODING_FP16);
  EXPECT_EQ(message.data(), slice.data);
}

TEST(ConvertResponseTest, APieceOfACharacterAsATokenDoesNotSpoilTheReply) {
  Admitted admitted;
  admitted.tokens.push_back({{1}, {"\xE2\x82"}});  // the first two bytes of three
  v1::AttributeResponse message;
  ASSERT_TRUE(ParseMessage(ToBytes(ToProto(Event(admitted))), &message).ok());
  EXPECT_EQ(message.admitted().tokens(0).tokens(0), "\xEF\xBF\xBD\xEF\xBF\xBD");
}

}  // namespace
}  // namespace attribution::rpc
