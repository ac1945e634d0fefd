// attribution-bench compares attribution with the plain forward pass of the same TorchScript file.
//
// A program of its own rather than Google Benchmark, which runs one function many times before the next: here
// every round gives each contender one turn, so that a machine that is slow for a while is slow for all of
// them, and a second plain forward in each round (the A/A control) shows how far two equal things differ.
//
// Each contender computes in a process of its own: this program again, or the server. Two teams of OpenMP
// threads in one process are more threads than it has cores; libgomp then puts threads to sleep that would
// have waited awake, and waking them makes whoever runs many small parallel regions look slow.
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/telemetry/logging.h"
#include "tests/benchmark/child_protocol.h"
#include "tests/benchmark/in_process.h"
#include "tests/benchmark/plain_forward.h"
#include "tests/benchmark/ratios.h"
#include "tests/benchmark/rounds.h"
#ifdef ATTRIBUTION_BENCH_CLIENT
#include "tests/benchmark/over_grpc.h"
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
    "  --threads     threads of every contender (one a core)\n"
    "  --contender   plain or engine: be this contender, for the attribution-bench that started this one\n";

struct Arguments {
  std::string repository;
  std::string model = "minilm";
  std::string server;
  std::string contender;
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
                                                     {"--server", &arguments.server},
                                                     {"--contender", &arguments.contender}};
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

// Is one of the contenders, until standard input ends.
void BeContender(const Arguments& arguments) {
  telemetry::SetUpLogging(telemetry::LogFormat::kText, telemetry::LogLevel::kWarning);
  if (arguments.contender == "engine") {
    InProcess engine(arguments.repository, arguments.model, arguments.threads);
    std::cout << LineOf(engine.model()) << std::endl;
    AnswerRequests(engine);
  } else if (arguments.contender == "plain") {
    std::string line;
    if (!std::getline(std::cin, line)) return;
    PlainForward plain(arguments.repository, ModelFactsOf(line), arguments.threads);
    AnswerRequests(plain);
  } else {
    ExitWithUsage();
  }
}

struct Report {
  std::vector<std::string> times;
  std::vector<std::string> memory;
};

// `measurements`: plain forward, A/A control, in process and perhaps over gRPC.
void AddShape(const Shape& shape, int64_t repetitions, const ModelFacts& model,
              const std::vector<Measurement>& measurements, Report& report) {
  const std::string name = absl::StrCat(shape.batch, " x ", shape.length);
  const std::vector<double>& baseline = measurements[0].seconds;
  std::string line = absl::StrFormat("%-9s  %4d  %10.2f ms", name, repetitions, 1e3 * Median(baseline));
  for (size_t i = 1; i < measurements.size(); ++i)
    absl::StrAppendFormat(&line, "  %-22s", ToString(RatioOf(measurements[i].seconds, baseline)));
  report.times.push_back(line);

  const auto megabytes = [](double bytes) { return absl::StrFormat("%.1f MB", bytes / 1e6); };
  const double naive = 4.0 * static_cast<double>(model.num_layers * model.num_heads * shape.batch) *
                       static_cast<double>(shape.length * shape.length);
  const Memory& memory = measurements[2].memory;
  const auto attention = static_cast<double>(memory.attention_bytes);
  report.memory.push_back(absl::StrFormat("%-9s  %13s  %13s  %13s  %13s  %12.1fx  %6d", name,
                                          megabytes(static_cast<double>(measurements[0].memory.peak_bytes)),
                                          megabytes(static_cast<double>(memory.peak_bytes)),
                                          megabytes(attention), megabytes(naive), naive / attention,
                                          memory.num_chunks));
}

void Print(const Arguments& arguments, const ModelFacts& model, const Report& report, bool over_grpc) {
  std::cout
      << "attribution-bench: " << model.name << " version " << model.version << ", " << model.num_layers
      << " layers x " << model.num_heads << " heads, on the CPU\n"
      << arguments.threads << " threads for every contender, each in a process of its own; "
      << arguments.rounds << " rounds, each contender one turn a round\n\n"
      << "Time per run: median of the plain forward; the others as ratio to the plain forward of the same\n"
      << "round, median [smallest, largest]. The A/A control is a second plain forward: the noise of the "
      << "rest.\n"
      << "batch x S  runs  plain forward  A/A control             in process            "
      << (over_grpc ? "  over gRPC" : "") << "\n";
  for (const std::string& line : report.times) std::cout << line << "\n";
  std::cout
      << "\nMemory above the resident model, peak. Every layer kept: L x H x B x S x S x 4 bytes.\n"
      << "batch x S  plain forward    attribution    of it: attn  all layers kept  ratio to attn  chunks\n";
  for (const std::string& line : report.memory) std::cout << line << "\n";
}

void Compare(const Arguments& arguments) {
  const auto words_for = [&arguments](const std::string& contender) {
    return std::vector<std::string>{
        "--contender", contender,       "--repository", arguments.repository,
        "--model",     arguments.model, "--threads",    absl::StrCat(arguments.threads)};
  };
  ChildProcess engine("in process", words_for("engine"));
  const std::string model_line = engine.ReadLine();
  const ModelFacts model = ModelFactsOf(model_line);
  ChildProcess plain("plain forward", words_for("plain"));
  plain.WriteLine(model_line);
  ChildProcess control("A/A control", words_for("plain"));
  control.WriteLine(model_line);

  std::vector<std::unique_ptr<Contender>> contenders;
  contenders.push_back(std::make_unique<ChildContender>(plain));
  contenders.push_back(std::make_unique<ChildContender>(control));
  contenders.push_back(std::make_unique<ChildContender>(engine));
#ifdef ATTRIBUTION_BENCH_CLIENT
  if (arguments.server.empty()) {
    std::cout << "No --server was given, so attribution over gRPC is left out.\n";
  } else {
    contenders.push_back(std::make_unique<OverGrpc>(arguments.server, model));
  }
#else
  std::cout
      << "This build has no gRPC (ATTRIBUTION_BUILD_SERVER=OFF), so attribution over gRPC is left out.\n";
#endif

  Report report;
  for (const Shape& shape : {Shape{1, 16}, Shape{16, 256}, Shape{8, 512}}) {
    int64_t repetitions = 0;
    const std::vector<Measurement> measurements = Measure(contenders, shape, arguments.rounds, repetitions);
    AddShape(shape, repetitions, model, measurements, report);
  }
  Print(arguments, model, report, contenders.size() > 3);
}

}  // namespace

// Returns the exit status.
int Main(const std::vector<std::string>& words) {
  const Arguments arguments = Parse(words);
  std::signal(SIGPIPE, SIG_IGN);  // a process that is gone is an error with a sentence, not a signal
  try {
    if (arguments.contender.empty()) {
      Compare(arguments);
    } else {
      BeContender(arguments);
    }
  } catch (const std::exception& error) {
    std::cerr << "attribution-bench: " << error.what() << std::endl;
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}

}  // namespace attribution::benchmark

int main(int argc, char** argv) { return attribution::benchmark::Main({argv + 1, argv + argc}); }
