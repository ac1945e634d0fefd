// Makes one flat graph of a module's forward method and finds the places where it computes attention.
#ifndef SERVER_CAPTURE_INLINED_GRAPH_H_
#define SERVER_CAPTURE_INLINED_GRAPH_H_

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <memory>
#include <string>
#include <vector>

#include "attribution/model_info.h"
#include "server/capture/attention_streams.h"

namespace attribution::capture {

// A node that may be attention. What it is shows only at run time, when tensors have shapes.
struct Candidate {
  SiteKind kind = SiteKind::kBlocked;
  bool fused = true;  // aten::scaled_dot_product_attention; else a softmax
  std::string operator_name;
  std::string module_path;      // of the module that owns the node; empty where the graph does not tell
  std::string tap_reason;       // why a softmax is not computed in blocks; empty for kBlocked
  std::string source;           // `file.py:12`; empty if the file does not say
  bool conditional = false;     // it stands in a branch or a loop, so it may not run
  bool loops_by_input = false;  // in a loop whose rounds are not known before it runs
  AttentionRelation relation;
};

struct InlinedGraph {
  // Inputs: the module, then the arguments of forward. No calls are left.
  std::shared_ptr<torch::jit::Graph> graph;
  std::shared_ptr<torch::jit::Graph> as_written;  // the same before anything was changed
  std::vector<Candidate> candidates;              // in graph order, as CandidateNodes gives them

  // For each candidate, whether it is a softmax that is computed in blocks with what surrounds it.
  std::vector<bool> EagerInBlocks() const;
};

// Copies the forward method's graph and inlines every call, keeping the qualified path of each candidate's
// module. Fused modules of PyTorch are taken apart, and what never changes is decided. Attention that is
// written out and can be computed in blocks stands together in the result.
InlinedGraph InlineForward(const torch::jit::Module& module);

// The line that a node was written in, as `file.py:12` without its folder; empty if the model's file does not
// say.
std::string SourceOf(const torch::jit::Node& node);

// The candidates of a graph or of a copy of it, in graph order, nested blocks included.
std::vector<torch::jit::Node*> CandidateNodes(torch::jit::Graph& graph);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_INLINED_GRAPH_H_
