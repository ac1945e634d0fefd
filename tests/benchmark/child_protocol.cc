#include "tests/benchmark/child_protocol.h"

#include <iostream>
#include <limits>
#include <sstream>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace attribution::benchmark {
namespace {

// Reads the values of a line, in order. Throws if one is missing or of another type.
template <typename... Values>
void Scan(std::istream& words, const std::string& line, Values&... values) {
  if (!(words >> ... >> values))
    throw std::runtime_error(absl::StrCat("A line between benchmark and contender is malformed: ", line));
}

template <typename... Values>
void ScanLine(const std::string& line, Values&... values) {
  std::istringstream words(line);
  Scan(words, line, values...);
}

std::string LineOf(const Metrics& metrics) {
  std::string line;
  for (const auto& value : {metrics.mean_attention, metrics.max_attention, metrics.attention_entropy,
                            metrics.attention_concentration, metrics.rollout_max, metrics.rollout_entropy})
    absl::StrAppendFormat(&line, "%.17g ", value.value_or(std::numeric_limits<double>::max()));
  return line;
}

std::string Answer(Contender& contender, const std::string& line) {
  std::istringstream words(line);
  std::string request;
  Scan(words, line, request);
  if (request == "prepare") {
    Shape shape;
    int warm_ups = 0;
    Scan(words, line, shape.batch, shape.length, warm_ups);
    const Memory memory = contender.Prepare(shape, warm_ups);
    return absl::StrCat(memory.peak_bytes, " ", memory.attention_bytes, " ", memory.num_chunks);
  }
  if (request == "run") {
    int64_t repetitions = 0;
    Scan(words, line, repetitions);
    return absl::StrFormat("%.9f", contender.Run(repetitions));
  }
  if (request == "result") return LineOf(contender.Result());
  if (request == "resident") {
    const ResidentMemory memory = ReadResidentMemory();
    return absl::StrCat(memory.now_bytes, " ", memory.most_bytes);
  }
  if (request == "forget-most-resident") {
    ForgetMostResident();
    return "done";
  }
  throw std::runtime_error(absl::StrCat("A contender does not know the request: ", line));
}

}  // namespace

std::string LineOf(const ModelFacts& model) {
  std::string line = absl::StrCat(model.name, " ", model.version, " ", model.num_layers, " ", model.num_heads,
                                  " ", model.vocabulary_size);
  absl::StrAppend(&line, " ", model.blocked_sites, " ", model.tapped_sites);
  for (const std::string& input : model.inputs) absl::StrAppend(&line, " ", input);
  return line;
}

ModelFacts ModelFactsOf(const std::string& line) {
  std::istringstream words(line);
  ModelFacts model;
  Scan(words, line, model.name, model.version, model.num_layers, model.num_heads, model.vocabulary_size,
       model.blocked_sites, model.tapped_sites);
  for (std::string input; words >> input;) model.inputs.push_back(input);
  return model;
}

void AnswerRequests(Contender& contender) {
  for (std::string line; std::getline(std::cin, line);) std::cout << Answer(contender, line) << std::endl;
}

ChildContender::ChildContender(const std::string& name, const Command& command)
    : process_(name, command), model_(ModelFactsOf(process_.ReadLine())) {}

ChildContender::ChildContender(const std::string& name, const Command& command, const ModelFacts& model)
    : process_(name, command), model_(model) {
  process_.WriteLine(LineOf(model));
}

Memory ChildContender::Prepare(const Shape& shape, int warm_ups) {
  const std::string line = Ask(absl::StrCat("prepare ", shape.batch, " ", shape.length, " ", warm_ups));
  absl::string_view reason = line;
  if (absl::ConsumePrefix(&reason, "not-shown ")) throw NotShown(std::string(reason));
  Memory memory;
  ScanLine(line, memory.peak_bytes, memory.attention_bytes, memory.num_chunks);
  return memory;
}

double ChildContender::Run(int64_t repetitions) {
  double seconds = 0;
  ScanLine(Ask(absl::StrCat("run ", repetitions)), seconds);
  return seconds;
}

Metrics ChildContender::Result() {
  double mean = 0, max = 0, entropy = 0, concentration = 0, rollout_max = 0, rollout_entropy = 0;
  ScanLine(Ask("result"), mean, max, entropy, concentration, rollout_max, rollout_entropy);
  return {mean, max, entropy, concentration, rollout_max, rollout_entropy};
}

ResidentMemory ChildContender::Resident() {
  ResidentMemory memory;
  ScanLine(Ask("resident"), memory.now_bytes, memory.most_bytes);
  return memory;
}

void ChildContender::ForgetMostResident() { Ask("forget-most-resident"); }

std::string ChildContender::Ask(const std::string& request) {
  process_.WriteLine(request);
  return process_.ReadLine();
}

}  // namespace attribution::benchmark
