#include "server/capture/eager_fragment.h"

#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/capture/attention_operators.h"

namespace attribution::capture {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// A graph made of copies of nodes, whose inputs are what these read from outside.
class Fragment {
 public:
  void Copy(Node* node) {
    Node* copy = graph_->createClone(node, [this](Value* value) { return Inside(value); });
    graph_->appendNode(copy);
    for (size_t i = 0; i < node->outputs().size(); ++i) inside_[node->output(i)] = copy->output(i);
  }

  // Returns the copy of a value, which becomes an input if nothing that was copied makes it.
  Value* Inside(Value* value) {
    const auto found = inside_.find(value);
    if (found != inside_.end()) return found->second;
    if (value->node()->kind() == c10::prim::Constant) {
      Copy(value->node());
      return inside_.at(value);
    }
    outside_.push_back(value);
    return inside_[value] = graph_->addInput()->setType(value->type());
  }

  const std::shared_ptr<Graph>& graph() const { return graph_; }
  const std::vector<Value*>& outside() const { return outside_; }

 private:
  std::shared_ptr<Graph> graph_ = std::make_shared<Graph>();
  std::unordered_map<Value*, Value*> inside_;
  std::vector<Value*> outside_;  // in the order of the fragment's inputs
};

}  // namespace

void ReplaceByFragment(Graph& graph, const EagerAttention& attention, int32_t site, int64_t heads,
                       Value* observer) {
  Fragment fragment;
  for (Node* node : attention.nodes) fragment.Copy(node);
  fragment.Inside(observer);
  fragment.graph()->registerOutput(fragment.Inside(attention.output->output()));
  fragment.graph()->lint();

  Node* node = graph.create(EagerAttentionSymbol(), fragment.outside(), 1);
  node->g_(c10::attr::Subgraph, fragment.graph());
  node->i_(SiteAttribute(), site);
  node->i_(HeadsAttribute(), heads);
  node->i_(NeedsOutputAttribute(), 1);
  node->insertBefore(attention.output);
  node->output()->copyMetadata(attention.output->output());
  attention.output->output()->replaceAllUsesWith(node->output());
  for (auto old = attention.nodes.rbegin(); old != attention.nodes.rend(); ++old) (*old)->destroy();
}

}  // namespace attribution::capture
