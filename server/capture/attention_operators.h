// The operators that a rewritten graph calls, and the value that carries the observer to them.
//
//   attribution::blocked_attention(Tensor query, Tensor key, Tensor value, Tensor? mask, float dropout, bool
//   is_causal,
//       float? scale, bool enable_gqa, int site, int heads, bool needs_output, Observer observer) -> Tensor
//     takes the place of aten::scaled_dot_product_attention.
//   attribution::eager_attention[Subgraph, site, heads, needs_output](…, Observer observer) -> Tensor
//     takes the place of attention that is written out, which it holds as a graph of the same inputs.
//   attribution::tap(Tensor probabilities, int site, int heads, Observer observer) -> Tensor
//     follows a softmax and hands the same tensor on.
//
// Tensors of three dimensions, [B·H, S, …], do not say how many heads there are: `heads` is H, batch first.
//
// The observer is an input of the graph, so one graph serves many threads and no operator looks at a hidden
// global. All are registered as CONSERVATIVE: to the optimiser they have side effects and may alias
// anything, so dead code elimination keeps them.
#ifndef SERVER_CAPTURE_ATTENTION_OPERATORS_H_
#define SERVER_CAPTURE_ATTENTION_OPERATORS_H_

#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>
#include <torch/custom_class.h>

#include <exception>

#include "server/capture/attention_observer.h"

namespace attribution::capture {

// Carries a borrowed observer through one run of a graph. REQUIRES: the observer outlives the run.
class ObserverHandle : public torch::CustomClassHolder {
 public:
  explicit ObserverHandle(AttentionObserver* observer) : observer_(observer) {}

  AttentionObserver& observer() const { return *observer_; }

  // Whether the observer stopped the run. The interpreter rewrites exceptions as text, so the fact is kept
  // here.
  bool stopped() const { return stopped_; }
  [[noreturn]] void Stop();

 private:
  AttentionObserver* observer_;
  bool stopped_ = false;
};

// Leaves the forward pass early; never an error.
class StopForward : public std::exception {
 public:
  const char* what() const noexcept override { return "The observer has seen the last layer it needs."; }
};

c10::Symbol BlockedAttentionSymbol();
c10::Symbol EagerAttentionSymbol();
c10::Symbol TapSymbol();

// Attributes of attribution::eager_attention: the site, its heads, and 0 if nobody reads its output.
c10::Symbol SiteAttribute();
c10::Symbol HeadsAttribute();
c10::Symbol NeedsOutputAttribute();

// The TorchScript type of ObserverHandle. Registers class and operators at the first call.
c10::TypePtr ObserverType();

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_ATTENTION_OPERATORS_H_
