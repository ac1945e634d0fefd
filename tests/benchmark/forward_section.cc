#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/benchmark/contenders.h"
#include "tests/benchmark/figures.h"
#include "tests/benchmark/ratios.h"
#include "tests/benchmark/rounds.h"
#include "tests/benchmark/sections.h"
#ifdef ATTRIBUTION_BENCH_CLIENT
#include "tests/benchmark/over_grpc.h"
#endif

namespace attribution::benchmark {
namespace {

// Places in a row of measurements.
enum Place : size_t { kPlain, kControl, kCut, kEngine, kOverGrpc };

struct Table {
  std::vector<std::string> times;
  std::vector<std::string> memory;
};

void AddShape(const Shape& shape, int64_t repetitions, const ModelFacts& model,
              const std::vector<Measurement>& measurements, Table& table) {
  const std::vector<double>& plain = measurements[kPlain].seconds;
  std::string line = absl::StrFormat("%-9s  %4d  %13s", ToString(shape), repetitions, Milliseconds(plain));
  for (size_t i = kControl; i < measurements.size(); ++i)
    absl::StrAppendFormat(&line, "  %-22s", ToString(RatioOf(measurements[i].seconds, plain)));
  absl::StrAppend(&line, "  ", ToString(RatioOf(measurements[kEngine].seconds, measurements[kCut].seconds)));
  table.times.push_back(line);

  const double all_layers = BytesOfAllLayers(shape, model);
  const Memory& memory = measurements[kEngine].memory;
  const auto attention = static_cast<double>(memory.attention_bytes);
  table.memory.push_back(
      absl::StrFormat("%-9s  %13s  %13s  %13s  %16s  %12.1fx  %6d", ToString(shape),
                      Megabytes(static_cast<double>(measurements[kPlain].memory.peak_bytes)),
                      Megabytes(static_cast<double>(memory.peak_bytes)), Megabytes(attention),
                      Megabytes(all_layers), all_layers / attention, memory.num_chunks));
}

void Print(const Table& table, bool over_grpc) {
  std::cout
      << "Time per run: median of the plain forward; the others as ratio to the plain forward of the "
         "same round,\n"
         "median [smallest, largest]. The A/A control is a second plain forward: the noise of the rest. "
         "Cut: the\n"
         "plain forward as far as attribution needs it, nothing captured.\n"
         "batch x S  runs  plain forward  A/A control             cut                     in process     "
         "         "
      << (over_grpc ? "over gRPC               " : "") << "in process / cut\n";
  for (const std::string& line : table.times) std::cout << line << "\n";
  std::cout
      << "\nMemory above the resident model, peak. Every layer kept: L x H x B x S x S x 4 bytes.\n"
         "batch x S  plain forward    attribution    of it: attn  all layers kept  ratio to attn  chunks\n";
  for (const std::string& line : table.memory) std::cout << line << "\n";
}

}  // namespace

void CompareWithForward(const Arguments& arguments) {
  const auto engine = StartEngine(arguments);
  const auto plain = StartPlain(arguments, engine->model());
  const auto control = StartPlain(arguments, engine->model());
  const auto cut = StartCut(arguments, engine->model());
  std::vector<Contender*> contenders = {plain.get(), control.get(), cut.get(), engine.get()};
#ifdef ATTRIBUTION_BENCH_CLIENT
  std::unique_ptr<OverGrpc> over_grpc;
  if (arguments.server.empty()) {
    std::cout << "Over gRPC is not shown: no --server was given.\n";
  } else {
    over_grpc = std::make_unique<OverGrpc>(arguments.server, engine->model());
    contenders.push_back(over_grpc.get());
  }
#else
  std::cout << "Over gRPC is not shown: this build has none (ATTRIBUTION_BUILD_SERVER=OFF).\n";
#endif

  Table table;
  for (const Shape& shape : arguments.shapes) {
    int64_t repetitions = 0;
    const auto measurements = Measure(contenders, shape, arguments.rounds, repetitions);
    AddShape(shape, repetitions, engine->model(), measurements, table);
  }
  Print(table, contenders.size() > kOverGrpc);
}

}  // namespace attribution::benchmark
