#include "server/engine/estimate.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/engine/plan_request.h"
#include "server/engine/request_intake.h"

namespace attribution::engine {
namespace {

absl::Status CheckPositive(const char* field, int64_t value) {
  if (value > 0) return absl::OkStatus();
  return InvalidField(field,
                      absl::StrCat("The shape is empty. ", field, " is ", value, "; it must be at least 1."));
}

size_t CellBytes(TensorDtype dtype) {
  switch (dtype) {
    case TensorDtype::kInt64:
      return 8;
    case TensorDtype::kFloat32:
    case TensorDtype::kInt32:
      return 4;
    case TensorDtype::kFloat16:
    case TensorDtype::kBfloat16:
      return 2;
    case TensorDtype::kBool:
      break;
  }
  return 1;
}

// One sequence of `length` positions, all valid, as the model takes it.
AttributionInput InputOf(const capture::ModelDescription& description, int64_t length) {
  if (!description.takes_tensors()) {
    return TokenBatch{{TokenSequence{std::vector<int64_t>(length, 0), {}, {}}}};
  }
  TensorBatch batch;
  for (const capture::RunnerInput& input : description.inputs) {
    NamedTensor tensor{input.name, input.dtype, input.shape, {}};
    size_t cells = 1;
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      if (tensor.shape[i] < 0) tensor.shape[i] = i == 0 ? 1 : length;
      cells *= static_cast<size_t>(tensor.shape[i]);
    }
    tensor.data.assign(cells * CellBytes(input.dtype), '\0');
    if (input.role == capture::InputRole::kAttentionMask) {
      for (size_t i = 0; i < tensor.data.size(); i += CellBytes(input.dtype)) tensor.data[i] = 1;
    }
    batch.tensors.push_back(std::move(tensor));
  }
  return batch;
}

}  // namespace

absl::StatusOr<AdmissionEstimate> EstimateAdmission(const JobServices& services,
                                                    const admission::MemoryBudget& budget,
                                                    EstimateRequest request) {
  if (absl::Status status = CheckPositive("batch_size", request.batch_size); !status.ok()) return status;
  if (absl::Status status = CheckPositive("seq_length", request.seq_length); !status.ok()) return status;
  if (request.batch_size > services.limits.max_sequences) {
    return InvalidField("batch_size", absl::StrCat("The batch is larger than the server takes. It has ",
                                                   request.batch_size, " sequences; at most ",
                                                   services.limits.max_sequences, " are taken. Split it."));
  }
  auto model = services.models.Find(request.model, request.model_version);
  if (!model.ok()) return model.status();
  const capture::ModelDescription& description = (*model)->runner->description();
  const int64_t longest = description.max_sequence_length;
  if (!description.takes_tensors() && longest > 0 && request.seq_length > longest) {
    return InvalidField("seq_length",
                        absl::StrCat("A sequence is longer than the model takes. seq_length is ",
                                     request.seq_length, "; at most ", longest, "."));
  }
  AttributionRequest attribution{request.model, request.model_version,
                                 InputOf(description, request.seq_length), std::move(request.options),
                                 std::move(request.output)};
  auto prepared = PrepareRequest(std::move(attribution), services.limits, *std::move(model));
  if (!prepared.ok()) return prepared.status();
  prepared->learned = services.costs.Of(prepared->model);
  admission::PlanRequest plan_request = MakePlanRequest(*prepared, services.rows_in_work);
  plan_request.lengths.assign(request.batch_size, plan_request.lengths.front());

  const int64_t whole = admission::EstimateThatFits(budget.budget_bytes());
  const admission::AdmissionController::Outlook outlook =
      services.admission.OutlookOf(plan_request, /*priority=*/0);
  std::optional<admission::ChunkPlan> plan;
  if (outlook.starts_now) {
    plan = admission::PlanChunks(plan_request, admission::EstimateThatFits(budget.free_bytes()));
  }
  if (!plan.has_value()) plan = admission::PlanChunks(plan_request, whole);

  AdmissionEstimate estimate;
  estimate.ever_fits = plan.has_value();
  estimate.fits_now = outlook.starts_now && estimate.ever_fits;
  if (!plan.has_value()) plan = admission::SmallestPlan(plan_request);
  estimate.estimated_peak_bytes = plan->estimated_peak_bytes;
  estimate.chunk_size = plan->chunk_size;
  estimate.num_chunks = static_cast<int32_t>(plan->chunks.size());
  const int64_t fits = admission::LongestSequenceThatFits(plan_request, whole);
  estimate.max_seq_length_that_fits = static_cast<int32_t>(longest > 0 ? std::min(fits, longest) : fits);
  estimate.expected_duration_seconds = prepared->learned->duration.RequestSeconds(plan_request.lengths);
  estimate.expected_wait_seconds = absl::ToDoubleSeconds(outlook.wait);
  return estimate;
}

}  // namespace attribution::engine
