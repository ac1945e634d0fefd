// The graph pass that lets a model run on a device other than the one it was traced on.
#ifndef SERVER_CAPTURE_GRAPH_DEVICE_H_
#define SERVER_CAPTURE_GRAPH_DEVICE_H_

#include <c10/core/Device.h>
#include <torch/csrc/jit/ir/ir.h>

namespace attribution::capture {

// Makes every device that the graph names, nested blocks included, `device`. Where a model asks for the
// device of its input, a trace holds the one it was made on; tensors move when a file is loaded, these names
// do not.
void MoveGraph(torch::jit::Graph& graph, c10::Device device);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_GRAPH_DEVICE_H_
