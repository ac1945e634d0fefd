#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "attribution/status_details.h"
#include "server/rollout/attention_stream.h"
#include "tests/rollout/streamed_sample.h"

namespace attribution::rollout {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Two layers, two heads; the second sequence is padded on the right.
Sample Attention() { return RandomSample(61, 2, 2, {{1, 1, 1, 1}, {1, 1, 1}}); }

void ExpectInvalid(const absl::Status& status, const std::string& field, const std::string& start) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(FieldOf(status), field);
  EXPECT_THAT(std::string(status.message()), StartsWith(start));
}

struct HeaderCase {
  const char* name;
  std::function<void(AttentionHeader&)> spoil;
  std::string field;
  std::string start;
};

class AttentionHeaderErrorsTest : public ::testing::TestWithParam<HeaderCase> {};

TEST_P(AttentionHeaderErrorsTest, AreToldWithTheirField) {
  AttentionHeader header = HeaderOf(Attention());
  ASSERT_EQ(CheckHeader(header), absl::OkStatus());
  GetParam().spoil(header);
  const absl::Status status =
      AttentionStream::Make(header, Defaults(2), at::TensorOptions(at::kFloat)).status();
  ExpectInvalid(status, GetParam().field, GetParam().start);
}

INSTANTIATE_TEST_SUITE_P(
    Headers, AttentionHeaderErrorsTest,
    ::testing::Values(
        HeaderCase{"Batch", [](auto& header) { header.batch = 0; }, "header.batch",
                   "A size is not positive."},
        HeaderCase{"Heads", [](auto& header) { header.heads = -1; }, "header.heads",
                   "A size is not positive."},
        HeaderCase{"Length", [](auto& header) { header.length = 0; }, "header.seq_length",
                   "A size is not positive. header.seq_length is 0. "},
        HeaderCase{"Layers", [](auto& header) { header.layers = 0; }, "header.num_layers",
                   "A size is not positive."},
        HeaderCase{"Overflow", [](auto& header) { header.length = int64_t{1} << 31; }, "header.seq_length",
                   "A layer is too large. Its shape is [2, 2, 2147483648, 2147483648], "},
        HeaderCase{"Dtype", [](auto& header) { header.dtype = TensorDtype::kInt32; }, "header.dtype",
                   "Attention has no such element type."},
        HeaderCase{"Form", [](auto& header) { header.form = static_cast<AttentionForm>(9); }, "header.form",
                   "Unknown form of attention. Its number is 9. "},
        HeaderCase{"FusedHeads", [](auto& header) { header.form = AttentionForm::kFused; }, "header.heads",
                   "Attention that is fused has one head. batch is 2, heads is 2. "},
        HeaderCase{"SingleBatch",
                   [](auto& header) {
                     header.form = AttentionForm::kSingle;
                     header.heads = 1;
                   },
                   "header.batch", "A single matrix is one sequence. "},
        HeaderCase{"MaskCount", [](auto& header) { header.masks.pop_back(); }, "header.masks",
                   "There are not as many masks as sequences. masks has 1 for a batch of 2. "},
        HeaderCase{"MaskLength", [](auto& header) { header.masks[1].pop_back(); }, "header.masks[1]",
                   "A mask is not as long as its sequence. header.masks[1] has 3 values for 4 positions."},
        HeaderCase{"MaskValue", [](auto& header) { header.masks[1][2] = 2; }, "header.masks[1]",
                   "A mask value is neither 0 nor 1. It is 2 at position 2 "},
        HeaderCase{"MaskOfZeros", [](auto& header) { header.masks[0].assign(4, 0); }, "header.masks[0]",
                   "A sequence has no valid position."}),
    [](const auto& test) { return test.param.name; });

class AttentionStreamErrorsTest : public ::testing::Test {
 protected:
  absl::Status Add(int32_t layer) { return stream_.AddLayer(LayerTensor(sample_, layer, dtype_)); }
  // Streams `sample` from the beginning after a cell of layer 1, head 1 was set to `value`.
  absl::Status WithCell(Sample sample, size_t sequence, size_t row, size_t column, double value) const {
    sample.layers[1][sequence][1][row][column] = value;
    AttentionStream stream = NewStream(HeaderOf(sample), options_);
    return StreamSample(stream, sample, dtype_, 5);
  }

  const TensorDtype dtype_ = TensorDtype::kFloat32;
  Sample sample_ = Attention();
  ResolvedOptions options_ = Defaults(2);
  AttentionStream stream_ = NewStream(HeaderOf(sample_), Defaults(2));
};

TEST_F(AttentionStreamErrorsTest, LayerOutOfOrder) {
  ExpectInvalid(stream_.Append(1, 0, "1234"), "piece.layer",
                "A layer is out of order. The piece is of layer 1 of 2;");
}

TEST_F(AttentionStreamErrorsTest, NextLayerBeforeThisOneIsComplete) {
  ASSERT_EQ(stream_.Append(0, 0, std::string(100, '\0')), absl::OkStatus());
  const absl::Status status = stream_.Append(1, 0, "1234");
  ExpectInvalid(status, "piece.layer", "A layer is out of order.");
  EXPECT_THAT(std::string(status.message()), HasSubstr("of layer 0 [2, 2, 4, 4] 100 bytes of 256 came."));
}

TEST_F(AttentionStreamErrorsTest, LayersBeyondTheHeader) {
  ASSERT_EQ(Add(0), absl::OkStatus());
  ASSERT_EQ(Add(1), absl::OkStatus());
  ExpectInvalid(stream_.Append(2, 0, "1234"), "piece.layer",
                "A layer is out of order. The piece is of layer 2 of 2;");
}

TEST_F(AttentionStreamErrorsTest, PieceOutOfOrder) {
  ASSERT_EQ(stream_.Append(0, 0, "1234567"), absl::OkStatus());
  ExpectInvalid(stream_.Append(0, 8, "8"), "piece.offset",
                "A piece is out of order. It begins at byte 8 of layer 0 [2, 2, 4, 4]; byte 7 is next.");
}

TEST_F(AttentionStreamErrorsTest, MoreBytesThanTheLayerHas) {
  ExpectInvalid(stream_.Append(0, 0, std::string(257, '\0')), "piece.data", "A layer has too many bytes.");
}

TEST_F(AttentionStreamErrorsTest, FirstErrorStays) {
  const absl::Status first = stream_.Append(0, 3, "1234");
  EXPECT_EQ(Add(0), first);
  EXPECT_EQ(stream_.Finish(), first);
}

TEST_F(AttentionStreamErrorsTest, LayersAreMissing) {
  ASSERT_EQ(Add(0), absl::OkStatus());
  ExpectInvalid(stream_.Finish(), "header.num_layers",
                "Layers are missing. 1 of 2 are complete, of layer 1 [2, 2, 4, 4] 0 bytes of 256 came.");
  ASSERT_EQ(stream_.Append(1, 0, std::string(255, '\0')), absl::OkStatus());
  ExpectInvalid(stream_.Finish(), "header.num_layers", "Layers are missing. 1 of 2 are complete, ");
}

TEST_F(AttentionStreamErrorsTest, TensorOfAnotherShapeOrType) {
  ASSERT_EQ(Add(0), absl::OkStatus());
  for (const at::Tensor& wrong : {at::zeros({2, 2, 4, 5}), at::zeros({2, 2, 3, 3}), at::zeros({2, 4, 4}),
                                  at::zeros({2, 2, 4, 4}, at::kDouble)}) {
    AttentionStream stream = NewStream(HeaderOf(sample_), Defaults(2));
    ExpectInvalid(stream.AddLayer(wrong), "attention", "Attention has the wrong shape or type. Layer 0 is [");
  }
}

TEST_F(AttentionStreamErrorsTest, NanOrInfInAValidCell) {
  for (const double value : {kNan, kInfinity, -kInfinity}) {
    const absl::Status status = WithCell(sample_, 1, 2, 0, value);
    ExpectInvalid(status, "piece.data",
                  "Attention holds NaN or Inf. The cell of layer 1 [2, 2, 4, 4], sequence 1, head 1, row 2, "
                  "column 0, is ");
    EXPECT_EQ(ReasonOf(status), "NON_FINITE_ATTENTION");
  }
}

TEST_F(AttentionStreamErrorsTest, NegativeCellIsNotLostInTheMean) {
  const absl::Status status = WithCell(sample_, 1, 0, 2, -1e-6);
  ExpectInvalid(
      status, "piece.data",
      "Attention holds a negative cell. The cell of layer 1 [2, 2, 4, 4], sequence 1, head 1, row 0, "
      "column 2, is ");
  EXPECT_EQ(ReasonOf(status), "NEGATIVE_ATTENTION");
}

TEST_F(AttentionStreamErrorsTest, MaskedCellsMayHoldAnything) {
  sample_.layers[0][1][0][3][0] = -1;
  sample_.layers[0][1][1][0][3] = kInfinity;
  EXPECT_EQ(StreamSample(stream_, sample_, dtype_, 5), absl::OkStatus());
}

TEST_F(AttentionStreamErrorsTest, HeadsThatAreNotUsedMayHoldAnything) {
  options_.head = 0;
  EXPECT_EQ(WithCell(sample_, 0, 0, 0, kNan), absl::OkStatus());
  options_.head = 1;
  EXPECT_EQ(ReasonOf(WithCell(sample_, 0, 0, 0, kNan)), "NON_FINITE_ATTENTION");
}

TEST_F(AttentionStreamErrorsTest, IncludePaddingTakesNanInMaskedRowsOnly) {
  options_.include_padding = true;
  const Sample padded = PaddedSample(62, 2, 2, {{1, 1, 1, 1}, {1, 1, 1}});
  EXPECT_EQ(WithCell(padded, 1, 3, 0, kNan), absl::OkStatus());
  EXPECT_EQ(ReasonOf(WithCell(padded, 1, 0, 3, kNan)), "NON_FINITE_ATTENTION");
  EXPECT_EQ(ReasonOf(WithCell(padded, 1, 3, 0, -1)), "NEGATIVE_ATTENTION");
}

TEST_F(AttentionStreamErrorsTest, RowsThatDoNotSumToOneAreTaken) {
  for (oracle::Layer& layer : sample_.layers) layer[0][0][1].assign(4, 0.0);
  EXPECT_EQ(StreamSample(stream_, sample_, dtype_, 64), absl::OkStatus());
}

// Each cell is finite, their sum in float32 is not.
TEST_F(AttentionStreamErrorsTest, SumsBeyondFloat32AreTheCallersFault) {
  for (oracle::Matrix& head : sample_.layers[0][0]) head.assign(4, std::vector<double>(4, 1e38));
  const absl::Status status = StreamSample(stream_, sample_, dtype_, 1 << 20);
  ExpectInvalid(status, "piece.data", "Attention holds NaN or Inf. Layer 0, row 0 of [4, 4]. ");
  EXPECT_THAT(std::string(status.message()), HasSubstr("It is sequence 0 of layer 0 [2, 2, 4, 4]."));
  EXPECT_EQ(ReasonOf(status), "NON_FINITE_ATTENTION");
}

}  // namespace
}  // namespace attribution::rollout
