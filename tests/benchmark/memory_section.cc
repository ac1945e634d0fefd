#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/benchmark/contenders.h"
#include "tests/benchmark/figures.h"
#include "tests/benchmark/sections.h"

namespace attribution::benchmark {
namespace {

// Makes threads, kernels and buffers that every request needs, and hardly a byte for attention.
constexpr Shape kWarmUp = {1, 16};

// What the engine made of the file's attention.
std::string KindOf(const ModelFacts& model) {
  if (model.tapped_sites == 0) return "blocked";
  return model.blocked_sites == 0 ? "tapped" : "both";
}

// One row, from a fresh process: what an earlier request has freed may not serve a later one.
void MeasureShape(const Arguments& arguments, const Shape& shape) {
  const auto engine = StartEngine(arguments);
  const ModelFacts& model = engine->model();
  engine->Prepare(kWarmUp, kWarmUps);
  engine->ForgetMostResident();
  const double warm_bytes = static_cast<double>(engine->Resident().now_bytes);
  const Memory memory = engine->Prepare(shape, /*warm_ups=*/0);
  const double growth = static_cast<double>(engine->Resident().most_bytes) - warm_bytes;
  if (memory.num_chunks != 1) {
    throw NotShown(absl::StrCat("the engine cut the batch into ", memory.num_chunks,
                                " chunks, so the memory that is free now does not hold it"));
  }

  Arguments plain_arguments = arguments;
  if (!arguments.plain_repository.empty()) plain_arguments.repository = arguments.plain_repository;
  const auto plain =
      static_cast<double>(StartPlain(plain_arguments, model)->Prepare(shape, /*warm_ups=*/0).peak_bytes);
  const auto peak = static_cast<double>(memory.peak_bytes);
  const auto attention = static_cast<double>(memory.attention_bytes);
  const double all_layers = BytesOfAllLayers(shape, model);
  std::cout << absl::StrFormat("%-9s  %-7s  %15s  %11s  %7.2f %%  %11s  %11s  %12s  %11s  %11s",
                               ToString(shape), KindOf(model), Megabytes(all_layers), Megabytes(attention),
                               100 * (attention / all_layers - 1), Megabytes(peak), Megabytes(plain),
                               Megabytes(peak - plain), Megabytes(growth), Megabytes(1.3 * peak + 20e6))
            << std::endl;
}

}  // namespace

void MeasureMemory(const Arguments& arguments) {
  std::cout
      << "Sites: blocked where attention is computed a block at a time, tapped where the model's own "
         "probabilities are read.\n"
         "Peak: most bytes alive above the resident model. Plain: the plain forward pass, exported with "
         "fused attention.\n"
         "High-water: what the resident set of a fresh process grew by, at most, during its first request "
         "of this shape,\n"
         "above the warm one; to be held against 1.3 x peak + 20 MB.\n"
         "batch x S  sites    all layers kept    attention     saving         peak        plain  "
         "peak - plain   high-water        bound\n";
  for (const Shape& shape : arguments.shapes) {
    std::cerr << ToString(shape) << std::endl;
    try {
      MeasureShape(arguments, shape);
    } catch (const NotShown& reason) {
      std::cout << absl::StrFormat("%-9s  not shown: %s", ToString(shape), reason.what()) << std::endl;
    }
  }
}

}  // namespace attribution::benchmark
