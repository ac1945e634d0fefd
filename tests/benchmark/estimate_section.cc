// Every request is predicted twice, from what was measured at load alone and with what the requests before it
// taught, then run as the engine runs a chunk, and measured.
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/admission/chunk_planner.h"
#include "server/admission/cost_correction.h"
#include "server/capture/blocked_attention.h"
#include "server/engine/chunk_batch.h"
#include "server/engine/chunk_fold.h"
#include "server/engine/chunk_output.h"
#include "server/engine/plan_request.h"
#include "server/memory/allocation_counter.h"
#include "server/models/load_bundle.h"
#include "server/models/model_repository.h"
#include "tests/benchmark/contender.h"
#include "tests/benchmark/sections.h"

namespace attribution::benchmark {
namespace {

constexpr double kLeastRatio = 0.8;  // of measured to estimated: what is wanted is between this and 1

// Mixed requests for one model. Deterministic.
class RequestMaker {
 public:
  RequestMaker(const capture::ModelDescription& description, Shape largest)
      : largest_(largest), vocabulary_(description.vocabulary_size > 0 ? description.vocabulary_size : 100) {
    if (description.max_sequence_length > 0)
      largest_.length = std::min(largest_.length, description.max_sequence_length);
    ragged_ = description.has_mask();
  }

  AttributionRequest Make() {
    const int64_t batch = Any(largest_.batch);
    const int64_t longest = Any(largest_.length);
    TokenBatch input;
    for (int64_t i = 0; i < batch; ++i) {
      const bool shorter = ragged_ && i > 0 && generator_() % 2 == 0;
      TokenSequence sequence;
      sequence.input_ids.resize(shorter ? longest - longest / 2 : longest);
      for (int64_t& id : sequence.input_ids) id = static_cast<int64_t>(generator_()) % vocabulary_;
      input.sequences.push_back(std::move(sequence));
    }
    AttributionRequest request;
    request.input = std::move(input);
    AskForOutput(request.output);
    return request;
  }

 private:
  // From 1 to `largest`, every octave as often.
  int64_t Any(int64_t largest) {
    std::uniform_real_distribution<double> exponent(0, std::log(static_cast<double>(largest)));
    return std::clamp<int64_t>(std::llround(std::exp(exponent(generator_))), 1, largest);
  }

  void AskForOutput(OutputSelection& output) {
    switch (generator_() % 10) {
      case 0:
        output.rollout_matrix = true;
        break;
      case 1:
        output.layer_matrices = true;
        break;
      case 2:
        output = RolloutRows(RowSelection::Kind::kLastValid);
        break;
      case 3:
        output.top_k = 10;
        break;
      case 4:
      case 5:
        output.layer_metrics = true;
        break;
      default:
        break;
    }
  }

  std::mt19937 generator_;
  Shape largest_;
  int64_t vocabulary_;
  bool ragged_ = false;
};

// The peak of a whole request in one chunk.
absl::StatusOr<int64_t> MeasurePeak(const engine::PreparedRequest& request, const admission::Chunk& chunk,
                                    RolloutMethod method) {
  const models::ResidentModel& model = *request.model;
  const c10::InferenceMode inference;
  memory::AllocationCounter counter;
  const memory::AllocationScope scope(counter);
  std::vector<const TokenSequence*> sequences;
  sequences.reserve(request.sequences.size());
  for (const TokenSequence& sequence : request.sequences) sequences.push_back(&sequence);
  const std::vector<at::Tensor> inputs = engine::MakeChunkBatch(
      sequences, chunk.padded_length, model.runner->description().inputs, /*pad_token_id=*/0);
  at::Tensor spare;
  engine::ChunkFold fold(request, 0, chunk.num_sequences, [](int32_t, const auto&) {}, method, spare);
  if (absl::Status status = model.runner->Run(inputs, fold); !status.ok()) return status;
  if (absl::Status status = fold.Finish(); !status.ok()) return status;
  for (int32_t i = 0; i < chunk.num_sequences && !request.output.skip_rollout_metrics; ++i) {
    (void)fold.fold(i).MeasureRollout();
  }
  const absl::Status told = engine::TellChunkOutput(
      request, 0, chunk.num_sequences, fold, counter, [] { return absl::OkStatus(); },
      [&counter](const Event&, int64_t bytes) { counter.AddExternal(bytes); });
  return told.ok() ? absl::StatusOr<int64_t>(counter.peak_bytes()) : told;
}

// Ratios of measured to estimated bytes.
struct Ratios {
  std::vector<double> values;
  int over_reserved = 0;  // measured more than would have been reserved

  void Add(int64_t measured, int64_t estimated) {
    values.push_back(static_cast<double>(measured) / static_cast<double>(std::max<int64_t>(estimated, 1)));
    if (measured > admission::ReservedBytes(estimated)) ++over_reserved;
  }

  std::string Text() {
    std::sort(values.begin(), values.end());
    const auto at = [this](double part) {
      return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1))];
    };
    const auto good = std::count_if(values.begin(), values.end(),
                                    [](double ratio) { return ratio >= kLeastRatio && ratio <= 1; });
    return absl::StrFormat(
        "%5.2f %5.2f %5.2f %5.2f %5.2f  %5.1f %%  %4d", values.front(), at(0.05), at(0.5), at(0.95),
        values.back(), 100 * static_cast<double>(good) / static_cast<double>(values.size()), over_reserved);
  }
};

// One line of the table, or why there is none.
void MeasureModel(const std::shared_ptr<const models::ResidentModel>& model, const Shape& largest,
                  int requests) {
  const capture::ModelDescription& description = model->runner->description();
  if (description.sites.empty() || description.takes_tensors() || description.layers_depend_on_input) return;
  RequestMaker maker(description, largest);
  admission::CostCorrection correction;
  Ratios at_load;
  Ratios corrected;
  for (int i = 0; i < requests; ++i) {
    auto prepared = engine::PrepareRequest(maker.Make(), {}, model);
    if (!prepared.ok()) return;
    admission::PlanRequest request =
        engine::MakePlanRequest(*prepared, capture::RowsInWork(at::get_num_threads()));
    const auto plan = admission::PlanChunks(request, memory::kUnlimited);
    if (plan->chunks.size() != 1) continue;
    if (plan->rollout_method == RolloutMethod::kFullMatrix) request.rows_alone.reset();
    const admission::ChunkShape shape = admission::ShapeOf(plan->chunks.front(), request.lengths);
    const auto measured = MeasurePeak(*prepared, plan->chunks.front(), plan->rollout_method);
    if (!measured.ok()) continue;
    at_load.Add(*measured, plan->estimated_peak_bytes);
    request.cost.correction = correction.factors();
    const int64_t estimated =
        admission::PredictPeakBytes(request.cost, shape, request.output, request.rows_alone);
    correction.Observe(request.cost, shape, request.output, request.rows_alone, *measured);
    if (i >= requests / 3) corrected.Add(*measured, estimated);
  }
  if (corrected.values.empty()) return;
  std::cout << absl::StrFormat("%-36s  %s   %s", model->name, at_load.Text(), corrected.Text()) << std::endl;
}

}  // namespace

void MeasureEstimates(const Arguments& arguments) {
  at::set_num_threads(arguments.threads);
  const auto scan = models::ScanRepository(arguments.repository);
  Require(scan.status());
  std::cout
      << "Measured / estimated peak bytes of mixed requests, each in one chunk: from load alone, and of "
         "the last two thirds with what was learned.\n"
         "Good: from 0.8 to 1. Over: requests that would have been refused memory.\n"
         "model                                  least    5%   50%   95%  most     good  over   least    "
         "5%   50%   95%  most     good  over\n";
  for (const models::BundlePaths& bundle : scan->bundles) {
    if (arguments.model != "all" && bundle.name != arguments.model) continue;
    const auto model = models::LoadBundle(bundle, c10::Device(c10::kCPU), capture::LoadTorchScript);
    if (model.ok()) MeasureModel(*model, arguments.shapes.front(), arguments.rounds);
  }
}

}  // namespace attribution::benchmark
