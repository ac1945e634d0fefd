#include "server/capture/graph_plan.h"

#include <c10/core/InferenceMode.h>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/capture/attention_operators.h"
#include "server/capture/torch_message.h"
#include "server/memory/out_of_memory.h"

namespace attribution::capture {
absl::Status ModelError(const std::exception& error) {
  if (memory::IsOutOfMemory(error)) return memory::OutOfMemory(error);
  const TorchMessage said = ReadTorchMessage(error.what());
  const std::string& message = said.sentence;
  // Of an embedding, and of a table that is indexed like a tensor.
  if (message.find("index out of range") != std::string::npos ||
      message.find("is out of bounds for dimension") != std::string::npos) {
    return InvalidField(
        "input", absl::StrCat("An input is outside the range of an embedding. The model said: ", message,
                              ". Check the token ids and the length of each sequence."));
  }
  const std::string sentence = absl::StrCat("The model failed while it ran. It said: ", said.Text(),
                                            ". The server's log has the whole message.");
  return WithLogDetail(WithReason(absl::InternalError(sentence), "MODEL_FAILED"), error.what());
}

GraphPlan::GraphPlan(const std::shared_ptr<torch::jit::Graph>& graph, const std::string& name)
    : executor_(graph, name, torch::jit::ExecutorExecutionMode::SIMPLE) {}

absl::StatusOr<torch::jit::Stack> GraphPlan::Run(torch::jit::Stack inputs,
                                                 AttentionObserver* observer) const {
  const c10::InferenceMode inference;
  c10::intrusive_ptr<ObserverHandle> handle;
  if (observer != nullptr) {
    handle = c10::make_intrusive<ObserverHandle>(observer);
    inputs.emplace_back(handle);
  }
  const memory::OutOfMemoryWatch watch;
  try {
    // A model may change its inputs in place; the caller runs others, or the same again, on them.
    for (c10::IValue& input : inputs) {
      if (input.isTensor()) input = input.toTensor().clone();
    }
    executor_.run(inputs);
    return inputs;
  } catch (const std::exception& error) {
    if (handle && handle->stopped()) return torch::jit::Stack{};
    if (watch.happened()) return memory::OutOfMemory(error);
    return ModelError(error);
  }
}

}  // namespace attribution::capture
