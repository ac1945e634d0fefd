// The estimate over a real connection.
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "attribution/status_details.h"
#include "tests/rpc/server_fixture.h"

namespace attribution::rpc {
namespace {

class EstimateTest : public ServerFixture {
 protected:
  // Asks, and answers with `answer` from another thread than gRPC's.
  EstimateRequest Ask(const v1::EstimateRequest& request, const absl::StatusOr<AdmissionEstimate>& answer) {
    std::thread client([&] {
      grpc::ClientContext context;
      status_ = stub_->Estimate(&context, request, &response_);
    });
    FakeEstimate estimate = engine_.TakeEstimate();
    estimate.done(answer);
    client.join();
    return estimate.request;
  }

  grpc::Status status_;
  v1::EstimateResponse response_;
};

TEST_F(EstimateTest, TheShapeReachesTheEngineAndTheAnswerComesBack) {
  v1::EstimateRequest request;
  request.set_model("minilm");
  request.set_model_version("3");
  request.set_batch_size(8);
  request.set_seq_length(512);
  request.mutable_options()->set_max_chunk_size(2);
  request.mutable_output()->set_rollout_matrix(true);
  AdmissionEstimate answer;
  answer.estimated_peak_bytes = 1;
  answer.chunk_size = 2;
  answer.num_chunks = 3;
  answer.fits_now = false;
  answer.ever_fits = true;
  answer.max_seq_length_that_fits = 4;
  answer.expected_wait_seconds = 5;
  answer.expected_duration_seconds = 6;
  const EstimateRequest seen = Ask(request, answer);
  EXPECT_EQ(seen.model, "minilm");
  EXPECT_EQ(seen.model_version, "3");
  EXPECT_EQ(seen.batch_size, 8);
  EXPECT_EQ(seen.seq_length, 512);
  EXPECT_EQ(seen.options.max_chunk_size, 2);
  EXPECT_TRUE(seen.output.rollout_matrix);
  ASSERT_TRUE(status_.ok()) << status_.error_message();
  EXPECT_EQ(response_.estimated_peak_bytes(), 1);
  EXPECT_EQ(response_.chunk_size(), 2);
  EXPECT_EQ(response_.num_chunks(), 3);
  EXPECT_FALSE(response_.fits_now());
  EXPECT_TRUE(response_.ever_fits());
  EXPECT_EQ(response_.max_seq_length_that_fits(), 4);
  EXPECT_EQ(response_.expected_wait_seconds(), 5);
  EXPECT_EQ(response_.expected_duration_seconds(), 6);
}

TEST_F(EstimateTest, AnErrorOfTheEngineIsTheAnswer) {
  Ask({}, absl::NotFoundError("No such model."));
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status_.error_message(), "No such model.");
}

TEST_F(EstimateTest, AnUnknownEnumNeverReachesTheEngine) {
  v1::EstimateRequest request;
  request.mutable_options()->set_preset(static_cast<v1::Preset>(99));
  grpc::ClientContext context;
  EXPECT_EQ(stub_->Estimate(&context, request, &response_).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(EstimateTest, BytesThatAreNoRequestAreInvalid) {
  const grpc::Status status = SendBytes("/attribution.v1.AttributionService/Estimate", "\xFF");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace attribution::rpc
