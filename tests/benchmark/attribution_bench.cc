// attribution-bench compares attribution with the plain forward pass of the same TorchScript file.
//
// A program of its own rather than Google Benchmark, which runs one function many times before the next: here
// every round runs each contender once, so that a machine that is slow for a while is slow for all of them,
// and a second plain forward in each round (the A/A control) shows how far two equal things differ.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/telemetry/logging.h"
#include "tests/benchmark/in_process.h"
#include "tests/benchmark/plain_forward.h"
#include "tests/benchmark/ratios.h"
#ifdef ATTRIBUTION_BENCH_CLIENT
#include "absl/time/clock.h"
#include "attribution/client.h"
#endif

namespace attribution::benchmark {
namespace {

constexpr char kUsage[] =
    "usage: attribution-bench --repository DIR [--model NAME] [--server HOST:PORT] [--rounds N] [--threads "
    "N]\n"
    "  --repository  model repository\n"
    "  --model       model to run (minilm)\n"
    "  --server      attribution-server on the same repository, with one worker of as many threads\n"
    "  --rounds      rounds of each shape (9)\n"
    "  --threads     threads of every contender (one a core)\n";

struct Arguments {
  std::string repository;
  std::string model = "minilm";
  std::string server;
  int rounds = 9;
  int threads = static_cast<int>(std::thread::hardware_concurrency());
};

[[noreturn]] void ExitWithUsage() {
  std::cerr << kUsage;
  std::exit(2);
}

Arguments Parse(const std::vector<std::string>& words) {
  Arguments arguments;
  const std::map<std::string, std::string*> texts = {{"--repository", &arguments.repository},
                                                     {"--model", &arguments.model},
                                                     {"--server", &arguments.server}};
  const std::map<std::string, int*> numbers = {{"--rounds", &arguments.rounds},
                                               {"--threads", &arguments.threads}};
  for (size_t i = 0; i < words.size(); i += 2) {
    if (words[i] == "--help") {
      std::cout << kUsage;
      std::exit(0);
    }
    if (i + 1 == words.size()) ExitWithUsage();
    if (texts.count(words[i]) > 0) {
      *texts.at(words[i]) = words[i + 1];
    } else if (numbers.count(words[i]) == 0 || !absl::SimpleAtoi(words[i + 1], numbers.at(words[i])) ||
               *numbers.at(words[i]) < 1) {
      ExitWithUsage();
    }
  }
  if (arguments.repository.empty()) ExitWithUsage();
  return arguments;
}

struct Shape {
  int64_t batch = 0;
  int64_t length = 0;
};

// Random ids, every position valid, metrics only: preset and everything else at their defaults.
AttributionRequest RequestOf(const Shape& shape, const ModelInfo& model) {
  std::mt19937 generator(1);
  const int64_t vocabulary = model.vocabulary_size > 0 ? model.vocabulary_size : 1000;
  TokenBatch batch;
  for (int64_t b = 0; b < shape.batch; ++b) {
    TokenSequence sequence;
    for (int64_t i = 0; i < shape.length; ++i) sequence.input_ids.push_back(generator() % vocabulary);
    batch.sequences.push_back(std::move(sequence));
  }
  AttributionRequest request;
  request.model = model.name;
  request.input = std::move(batch);
  return request;
}

struct Contender {
  std::string name;
  std::function<double()> run;  // returns seconds
  std::vector<double> seconds;
};

// Runs every contender once a round, every second round in the opposite order.
void Measure(std::vector<Contender>& contenders, int rounds) {
  constexpr int kWarmUps = 2;  // TorchScript specialises a graph in its first two runs
  for (Contender& contender : contenders) {
    for (int i = 0; i < kWarmUps; ++i) contender.run();
  }
  for (int round = 0; round < rounds; ++round) {
    std::cerr << "round " << round + 1 << " of " << rounds << std::endl;
    for (size_t i = 0; i < contenders.size(); ++i) {
      Contender& contender = contenders[round % 2 == 0 ? i : contenders.size() - 1 - i];
      contender.seconds.push_back(contender.run());
    }
  }
}

std::string Megabytes(double bytes) { return absl::StrFormat("%.1f MB", bytes / 1e6); }

struct Report {
  std::vector<std::string> times;
  std::vector<std::string> memory;
};

void MeasureShape(const Shape& shape, int rounds, PlainForward& plain, InProcess& in_process,
                  const std::function<double(const AttributionRequest&)>& over_grpc, Report& report) {
  const AttributionRequest request = RequestOf(shape, in_process.model());
  plain.SetBatch(std::get<TokenBatch>(request.input).sequences);
  AttributionResult result;
  std::vector<Contender> contenders = {{"plain forward", [&] { return plain.Run(); }, {}},
                                       {"A/A control", [&] { return plain.Run(); }, {}},
                                       {"in process",
                                        [&] {
                                          InProcess::Run run = in_process.Attribute(request);
                                          result = std::move(run.result);
                                          return run.seconds;
                                        },
                                        {}}};
  if (over_grpc) contenders.push_back({"over gRPC", [&] { return over_grpc(request); }, {}});
  Measure(contenders, rounds);

  const std::string name = absl::StrCat(shape.batch, " x ", shape.length);
  const std::vector<double>& baseline = contenders[0].seconds;
  std::string line = absl::StrFormat("%-9s  %7.3f s      ", name, Median(baseline));
  for (size_t i = 1; i < contenders.size(); ++i)
    absl::StrAppendFormat(&line, "  %-22s", ToString(RatioOf(contenders[i].seconds, baseline)));
  report.times.push_back(line);

  const ModelInfo& model = in_process.model();
  const double naive = 4.0 * model.num_layers * model.num_heads * static_cast<double>(shape.batch) *
                       static_cast<double>(shape.length * shape.length);
  const auto attention = static_cast<double>(result.measured_attention_bytes);
  report.memory.push_back(absl::StrFormat("%-9s  %13s  %13s  %13s  %13s  %9.0fx  %6d", name,
                                          Megabytes(static_cast<double>(plain.MeasurePeakBytes())),
                                          Megabytes(static_cast<double>(result.measured_peak_bytes)),
                                          Megabytes(attention), Megabytes(naive), naive / attention,
                                          result.num_chunks));
}

void Print(const Arguments& arguments, const ModelInfo& model, const Report& report, bool over_grpc) {
  std::cout
      << "attribution-bench: " << model.name << " version " << model.version << ", " << model.num_layers
      << " layers x " << model.num_heads << " heads, on the CPU\n"
      << arguments.threads << " threads for every contender, " << arguments.rounds
      << " rounds, each contender once a round\n\n"
      << "Time: median of the plain forward; the others as ratio to the plain forward of the same round,\n"
      << "median [smallest, largest]. The A/A control is a second plain forward: the noise of the rest.\n"
      << "batch x S  plain forward    A/A control             in process            "
      << (over_grpc ? "  over gRPC" : "") << "\n";
  for (const std::string& line : report.times) std::cout << line << "\n";
  std::cout
      << "\nMemory above the resident model, peak. Every layer kept: L x H x B x S x S x 4 bytes.\n"
      << "batch x S  plain forward    attribution   of it: attn  all layers kept  ratio to attn  chunks\n";
  for (const std::string& line : report.memory) std::cout << line << "\n";
}

int Main(const std::vector<std::string>& words) {
  const Arguments arguments = Parse(words);
  telemetry::SetUpLogging(telemetry::LogFormat::kText, telemetry::LogLevel::kWarning);
  at::set_num_threads(arguments.threads);
  InProcess in_process(arguments.repository, arguments.model, arguments.threads);
  const ModelInfo& model = in_process.model();
  PlainForward plain(absl::StrCat(arguments.repository, "/", model.name, "/", model.version, "/model.pt"),
                     model.inputs);

  std::function<double(const AttributionRequest&)> over_grpc;
#ifdef ATTRIBUTION_BENCH_CLIENT
  std::unique_ptr<Client> client;
  if (arguments.server.empty()) {
    std::cout << "No --server was given, so attribution over gRPC is left out.\n";
  } else {
    ClientOptions options;
    options.target = arguments.server;
    auto connected = Client::Connect(options);
    Require(connected.status());
    client = *std::move(connected);
    over_grpc = [&client](const AttributionRequest& request) {
      const absl::Time start = absl::Now();
      Require(client->Attribute(request, [](const Event&) {}));
      return absl::ToDoubleSeconds(absl::Now() - start);
    };
  }
#else
  std::cout
      << "This build has no gRPC (ATTRIBUTION_BUILD_SERVER=OFF), so attribution over gRPC is left out.\n";
#endif

  Report report;
  for (const Shape& shape : {Shape{16, 256}, Shape{8, 512}})
    MeasureShape(shape, arguments.rounds, plain, in_process, over_grpc, report);
  Print(arguments, model, report, static_cast<bool>(over_grpc));
  return 0;
}

}  // namespace
}  // namespace attribution::benchmark

int main(int argc, char** argv) { return attribution::benchmark::Main({argv + 1, argv + argc}); }
