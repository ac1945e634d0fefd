#include "server/engine/layers_of_input.h"

#include <utility>

#include "attribution/status_details.h"
#include "server/capture/attention_observer.h"
#include "server/rollout/rollout_options.h"

namespace attribution::engine {
namespace {

class OrderObserver : public capture::AttentionObserver {
 public:
  bool BeginLayer(const capture::LayerShape& shape) override {
    order_.push_back(shape.site);
    return false;
  }
  void AddRows(int64_t, int64_t, const at::Tensor&) override {}
  void EndSequence(int64_t) override {}
  bool EndLayer() override { return true; }

  std::vector<int32_t> TakeOrder() { return std::move(order_); }

 private:
  std::vector<int32_t> order_;
};

}  // namespace

absl::StatusOr<PreparedRequest> WithLayersOfInput(const PreparedRequest& request,
                                                  const std::vector<at::Tensor>& inputs) {
  const capture::ModelRunner& runner = *request.model->runner;
  OrderObserver observer;
  if (absl::Status status = runner.Run(inputs, observer); !status.ok()) return status;
  std::vector<int32_t> order = observer.TakeOrder();
  const auto sites = static_cast<int32_t>(runner.description().sites.size());
  std::erase_if(order, [sites](int32_t site) { return site >= sites; });
  PreparedRequest own = request;
  own.layers = request.layers.InRun(std::move(order));
  if (own.layers.size() == 0) {
    return WithReason(
        absl::FailedPreconditionError(
            "No attention weights captured. The model runs none of its attention layers on this "
            "input. Send another input, or leave attention_layer_pattern empty."),
        "NO_ATTENTION_CAPTURED");
  }
  auto options =
      rollout::ResolveOptions(request.asked_options, own.layers.size(), runner.description().num_heads);
  if (!options.ok()) return options.status();
  own.options = *std::move(options);
  own.options.chunk_policy = request.options.chunk_policy;
  return own;
}

}  // namespace attribution::engine
