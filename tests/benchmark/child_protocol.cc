#include "tests/benchmark/child_protocol.h"

#include <iostream>
#include <sstream>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace attribution::benchmark {
namespace {

// Reads the values of a line, in order. Throws if one is missing or of another type.
template <typename... Values>
void Scan(std::istream& words, const std::string& line, Values&... values) {
  if (!(words >> ... >> values))
    throw std::runtime_error(absl::StrCat("A line between benchmark and contender is malformed: ", line));
}

}  // namespace

std::string LineOf(const ModelFacts& model) {
  std::string line = absl::StrCat(model.name, " ", model.version, " ", model.num_layers, " ", model.num_heads,
                                  " ", model.vocabulary_size);
  for (const std::string& input : model.inputs) absl::StrAppend(&line, " ", input);
  return line;
}

ModelFacts ModelFactsOf(const std::string& line) {
  std::istringstream words(line);
  ModelFacts model;
  Scan(words, line, model.name, model.version, model.num_layers, model.num_heads, model.vocabulary_size);
  for (std::string input; words >> input;) model.inputs.push_back(input);
  return model;
}

void AnswerRequests(Contender& contender) {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string request;
    Scan(words, line, request);
    if (request == "prepare") {
      Shape shape;
      Scan(words, line, shape.batch, shape.length);
      const Memory memory = contender.Prepare(shape);
      std::cout << absl::StrCat(memory.peak_bytes, " ", memory.attention_bytes, " ", memory.num_chunks);
    } else {
      int64_t repetitions = 0;
      Scan(words, line, repetitions);
      std::cout << absl::StrFormat("%.9f", contender.Run(repetitions));
    }
    std::cout << std::endl;
  }
}

Memory ChildContender::Prepare(const Shape& shape) {
  process_.WriteLine(absl::StrCat("prepare ", shape.batch, " ", shape.length));
  const std::string line = process_.ReadLine();
  std::istringstream words(line);
  Memory memory;
  Scan(words, line, memory.peak_bytes, memory.attention_bytes, memory.num_chunks);
  return memory;
}

double ChildContender::Run(int64_t repetitions) {
  process_.WriteLine(absl::StrCat("run ", repetitions));
  const std::string line = process_.ReadLine();
  std::istringstream words(line);
  double seconds = 0;
  Scan(words, line, seconds);
  return seconds;
}

}  // namespace attribution::benchmark
