#include "server/engine/plan_request.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "tests/models/fake_runner.h"

namespace attribution::engine {
namespace {

// A request of two sequences, 3 and 2 ids long, with `output` and `options`.
PreparedRequest Prepared(OutputSelection output, AttributionOptions options = {}) {
  auto model = std::make_shared<models::ResidentModel>();
  model->runner = std::make_unique<models::FakeRunner>(models::ThreeLayers());
  AttributionRequest request;
  request.input = TokenBatch{{{{1, 2, 3}, {}, {}}, {{4, 5}, {}, {}}}};
  request.output = std::move(output);
  request.options = std::move(options);
  auto prepared = PrepareRequest(std::move(request), {}, model);
  EXPECT_TRUE(prepared.ok()) << prepared.status();
  return *std::move(prepared);
}

admission::OutputCost CostOf(OutputSelection output) {
  return MakePlanRequest(Prepared(std::move(output)), /*rows_in_work=*/128).output;
}

TEST(PlanRequestTest, TakesShapesFromTheModelAndTheSequences) {
  const admission::PlanRequest plan = MakePlanRequest(Prepared({}), /*rows_in_work=*/256);
  EXPECT_EQ(plan.cost.layers, 3);
  EXPECT_EQ(plan.cost.heads, 4);
  EXPECT_EQ(plan.cost.block_rows, 256);
  EXPECT_EQ(plan.lengths, (std::vector<int64_t>{3, 2}));
  EXPECT_FALSE(plan.equal_lengths_only);
}

TEST(PlanRequestTest, MetricsAloneCostNoOutput) {
  const admission::OutputCost cost = CostOf({});
  EXPECT_FALSE(cost.rollout_matrix);
  EXPECT_FALSE(cost.layer_matrices);
  EXPECT_EQ(cost.top_cells, 0);
}

TEST(PlanRequestTest, MatricesCostTheirRowsInTheirEncoding) {
  OutputSelection output;
  output.rollout_matrix = true;
  output.top_k = 7;
  EXPECT_TRUE(CostOf(output).rollout_matrix);
  EXPECT_EQ(CostOf(output).rows, admission::kAllRows);
  EXPECT_EQ(CostOf(output).cell_bytes, 4);
  EXPECT_EQ(CostOf(output).top_cells, 7);
  output = {};
  output.layer_matrices = true;
  output.encoding = MatrixEncoding::kFloat16;
  EXPECT_TRUE(CostOf(output).layer_matrices);
  EXPECT_EQ(CostOf(output).cell_bytes, 2);
  for (const auto kind : {RowSelection::Kind::kFirstValid, RowSelection::Kind::kLastValid}) {
    output.rows.kind = kind;
    EXPECT_EQ(CostOf(output).rows, 1);
  }
  output.rows = {RowSelection::Kind::kIndices, {1, 0, 1}};
  EXPECT_EQ(CostOf(output).rows, 2);
}

TEST(PlanRequestTest, RowsMayBeFoldedAloneWhereNothingNeedsTheMatrix) {
  OutputSelection output;
  output.rollout_matrix = output.skip_rollout_metrics = true;
  output.rows.kind = RowSelection::Kind::kLastValid;
  const auto rows_alone = [](const OutputSelection& selection, AttributionOptions options = {}) {
    return MakePlanRequest(Prepared(selection, options), /*rows_in_work=*/128).rows_alone;
  };
  ASSERT_TRUE(rows_alone(output).has_value());
  EXPECT_EQ(rows_alone(output)->rows, 1);
  EXPECT_EQ(rows_alone(output)->layers, 3);
  EXPECT_TRUE(rows_alone(output)->keeps_layers);

  AttributionOptions options;
  options.start_layer = 1;
  EXPECT_EQ(rows_alone(output, options)->layers, 2);
  options = {};
  options.preset = Preset::kIclrMetrics;
  EXPECT_FALSE(rows_alone(output, options)->keeps_layers);
  options.discard_ratio = 0.5;
  EXPECT_FALSE(rows_alone(output, options).has_value());

  OutputSelection more = output;
  more.skip_rollout_metrics = false;
  EXPECT_FALSE(rows_alone(more).has_value());
  more = output;
  more.top_k = 1;
  EXPECT_FALSE(rows_alone(more).has_value());
  more = output;
  more.rows.kind = RowSelection::Kind::kAll;
  EXPECT_FALSE(rows_alone(more).has_value());
  more = output;
  more.rollout_matrix = false;
  more.layer_matrices = true;
  EXPECT_FALSE(rows_alone(more).has_value());
}

}  // namespace
}  // namespace attribution::engine
