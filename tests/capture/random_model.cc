// A model is a list of layers over `x` [B, S, W]. Each layer writes its lines twice: as a person would write
// them, and by definition for the oracle, in which q, k and v have their heads apart.
#include "tests/capture/random_model.h"

#include <initializer_list>
#include <random>

#include "absl/strings/str_cat.h"

namespace attribution::capture {
namespace {

constexpr const char* kHeader = R"(
def weight(self, rows: int, columns: int, number: float, like: Tensor) -> Tensor:
    cells = torch.arange(rows * columns).view([rows, columns])
    return torch.sin(cells * (0.7 + number)).to(like.dtype) * 0.6

def apart(self, x: Tensor, heads: int) -> Tensor:
    return x.view([x.size(0), x.size(1), heads, x.size(2) // heads]).transpose(1, 2)

def together(self, x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape([x.size(0), x.size(2), x.size(1) * x.size(3)])

def normal(self, x: Tensor) -> Tensor:
    return torch.layer_norm(x, [x.size(2)])

def truth(self, q: Tensor, k: Tensor, scale: float, cap: float, allowed: Tensor) -> Tensor:
    scores = torch.matmul(q, k.transpose(2, 3)) * scale
    if cap > 0.0:
        scores = torch.tanh(scores / cap) * cap
    scores = scores.masked_fill(torch.logical_not(allowed), -1e300)
    weights = torch.exp(scores - scores.max(dim=-1, keepdim=True)[0])
    return weights / weights.sum(-1, keepdim=True)
)";

class Writer {
 public:
  explicit Writer(uint64_t seed) : random_(seed) {}

  RandomModel Write() {
    heads_ = Choose({1, 2, 3});
    width_ = heads_ * 4;
    const int layers = Choose({1, 2, 3, 4});
    const int sure = static_cast<int>(random_() % static_cast<uint64_t>(layers));
    for (int layer = 0; layer < layers; ++layer) AddLayer(layer == sure);
    RandomModel model;
    model.depends_on_input = depends_on_input_;
    const std::string start = absl::StrCat(
        "    x = torch.embedding(self.weight(50, ", width_, ", 0.1, table), input_ids)\n",
        "    m = torch.embedding(self.weight(50, ", width_, ", 0.2, table), (input_ids + 1) % 50)\n",
        "    valid = attention_mask[:, None, None, :] != 0\n",
        "    steps = torch.arange(input_ids.size(1))\n",
        "    causal = steps[None, None, :, None] >= steps[None, None, None, :]\n",
        "    everywhere = torch.ones_like(valid)\n");
    model.source =
        absl::StrCat(kHeader, "\ndef forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:\n",
                     "    table = torch.ones([1], dtype=6)\n", start, forward_, "    return x\n",
                     "\ndef oracle(self, input_ids: Tensor, attention_mask: Tensor) -> List[Tensor]:\n",
                     "    table = torch.ones([1], dtype=7)\n", start, "    found: List[Tensor] = []\n",
                     oracle_, "    return found\n");
    return model;
  }

 private:
  template <typename T>
  T Choose(std::initializer_list<T> choices) {
    return choices.begin()[random_() % choices.size()];
  }
  bool OneIn(uint64_t n) { return random_() % n == 0; }

  // Adds the same line to both.
  void Both(const std::string& line) {
    absl::StrAppend(&forward_, indent_, line, "\n");
    absl::StrAppend(&oracle_, indent_, line, "\n");
  }
  void Forward(const std::string& line) { absl::StrAppend(&forward_, indent_, line, "\n"); }
  void Oracle(const std::string& line) { absl::StrAppend(&oracle_, indent_, line, "\n"); }

  void AddLayer(bool sure) {
    const int kind = sure ? 0 : Choose({0, 0, 0, 0, 1, 2, 3, 4, 5});
    const int around = sure ? Choose({0, 0, 2}) : Choose({0, 0, 0, 1, 2, 3});
    if (around == 1) {  // a branch that an input of the tried lengths takes, or does not
      Both(absl::StrCat("    if input_ids.size(1) > ", Choose({3, 10, 20}), ":"));
      depends_on_input_ = true;
    } else if (around == 2) {
      Both(absl::StrCat("    for round in range(", Choose({1, 2, 3}), "):"));
    } else if (around == 3) {  // a branch that is decided beforehand
      Both("    if 2 > 1:");
    }
    if (around != 0) indent_ = "    ";
    switch (kind) {
      case 0:
        AddSelfAttention(/*dead=*/false);
        if (OneIn(5)) AddSelfAttention(/*dead=*/false);
        break;
      case 1:
        AddSelfAttention(/*dead=*/true);
        break;
      case 2:
        AddCrossAttention();
        break;
      case 3:
        AddPrefix();
        break;
      case 4:
        AddGate();
        break;
      default:
        Both("    x = x + torch.softmax(x.sum(1), -1).unsqueeze(1)");
    }
    Both("    x = self.normal(x)");  // or small errors would grow
    indent_.clear();
  }

  void Project(const char* memory) {
    number_ += 1;
    const std::string weight = absl::StrCat("self.weight(", width_, ", ", width_, ", ", number_);
    Both(absl::StrCat("    q = self.apart(torch.matmul(x, ", weight, ".11, x)), ", heads_, ")"));
    Both(absl::StrCat("    k = self.apart(torch.matmul(", memory, ", ", weight, ".23, x)), ", heads_, ")"));
    Both(absl::StrCat("    v = self.apart(torch.matmul(", memory, ", ", weight, ".37, x)), ", heads_, ")"));
  }

  void AddSelfAttention(bool dead) {
    const std::string allowed = Choose<std::string>({"everywhere", "valid", "causal", "(valid & causal)"});
    const std::string scale = Choose<std::string>({"0.5", "0.9", "0.25"});
    const int form = Choose({0, 0, 1, 2, 3, 4, 5});
    const bool capped = form == 2;
    if (dead) {
      Forward("    before = x");
      Project("x");
      WriteForm(form, allowed, scale, "y = ");
      return;
    }
    Project("x");
    WriteForm(form, allowed, scale, "y = ");
    Forward("    x = x + self.together(y)");
    Oracle(
        absl::StrCat("    p = self.truth(q, k, ", scale, ", ", capped ? "2.5" : "0.0", ", ", allowed, ")"));
    Oracle("    found.append(p)");
    Oracle("    x = x + self.together(torch.matmul(p, v))");
    if (form == 4) Both("    x = x + 0.1 * p.sum(-1).sum(1).unsqueeze(-1)");
    if (form == 5) Oracle("    x = x + 0.0");
  }

  // Writes `result` [B, H, S, D] of attention over q, k and v.
  void WriteForm(int form, const std::string& allowed, const std::string& scale, const std::string& result) {
    switch (form) {
      case 0:  // fused
        Forward(absl::StrCat("    ", result, "torch.scaled_dot_product_attention(q, k, v, ",
                             allowed == "everywhere" && OneIn(2) ? "None" : allowed,
                             ", 0.0, False, scale=", scale, ")"));
        return;
      case 1:  // written out, the mask filled in
        Forward(absl::StrCat("    s = torch.matmul(q, k.transpose(2, 3)) * ", scale));
        Forward(absl::StrCat("    s = s.masked_fill(torch.logical_not(", allowed, "), -1e30)"));
        Forward(absl::StrCat("    ", result, "torch.matmul(torch.softmax(s, -1), v)"));
        return;
      case 2:  // a soft cap, the mask added
        Forward(absl::StrCat("    s = torch.matmul(q * ", scale, ", k.transpose(-1, -2))"));
        Forward("    s = torch.tanh(s / 2.5) * 2.5");
        Forward(absl::StrCat("    s += torch.where(", allowed, ", 0.0, -1e30).to(s.dtype)"));
        Forward(
            absl::StrCat("    ", result, "torch.matmul(torch.dropout(torch.softmax(s, -1), 0.1, False), v)"));
        return;
      case 3:  // batch and heads in one dimension
        Forward(absl::StrCat("    f = q.reshape([-1, q.size(2), q.size(3)]) * ", scale));
        Forward("    g = k.reshape([-1, k.size(2), k.size(3)])");
        Forward(absl::StrCat("    h = torch.where(", allowed, ", 0.0, -1e30).to(f.dtype).expand([q.size(0), ",
                             heads_, ", q.size(2), q.size(2)])"));
        Forward(
            "    p = torch.softmax(torch.baddbmm(h.reshape([-1, q.size(2), q.size(2)]), f, g.transpose(1, "
            "2)), -1)");
        Forward(absl::StrCat("    ", result,
                             "torch.bmm(p, v.reshape([-1, v.size(2), v.size(3)])).view(v.size())"));
        return;
      case 4:  // something else reads the probabilities
        Forward(absl::StrCat("    s = torch.matmul(q, k.transpose(2, 3)) * ", scale));
        Forward(absl::StrCat("    p = torch.softmax(s.masked_fill(torch.logical_not(", allowed,
                             "), -1e30), -1)"));
        Forward(absl::StrCat("    ", result, "torch.matmul(p, v)"));
        return;
      default:  // another order of the operands, then a division
        Forward(
            absl::StrCat("    s = torch.matmul(k, q.transpose(2, 3)).transpose(2, 3) / (1.0 / ", scale, ")"));
        Forward(absl::StrCat("    s = torch.where(", allowed, ", s, -1e30)"));
        Forward(absl::StrCat("    ", result, "torch.matmul(torch.softmax(s, 3), v)"));
    }
  }

  void AddCrossAttention() {
    Project("m");
    Forward("    x = x + self.together(torch.scaled_dot_product_attention(q, k, v, valid))");
    Oracle("    x = x + self.together(torch.matmul(self.truth(q, k, 0.5, 0.0, valid), v))");
  }

  void AddPrefix() {
    Project("x");
    Both("    k = torch.cat([0.3 * torch.ones_like(k[:, :, :1]), k], 2)");
    Both("    v = torch.cat([0.1 * torch.ones_like(v[:, :, :1]), v], 2)");
    Both("    seen = torch.ones([1, 1, 1, k.size(2)], dtype=11)");
    Forward(
        "    x = x + self.together(torch.matmul(torch.softmax(torch.matmul(q, k.transpose(2, 3)) * 0.5, -1), "
        "v))");
    Oracle("    x = x + self.together(torch.matmul(self.truth(q, k, 0.5, 0.0, seen), v))");
  }

  void AddGate() {
    number_ += 1;
    Both(absl::StrCat("    g = torch.softmax(torch.matmul(x, self.weight(", width_, ", 5, ", number_,
                      ".5, x)), -1)"));
    Both("    x = x * (1.0 + g.sum(-1, keepdim=True) * g[:, :, :1])");
  }

  std::mt19937_64 random_;
  int heads_ = 1;
  int width_ = 4;
  int number_ = 0;
  bool depends_on_input_ = false;
  std::string indent_;
  std::string forward_;
  std::string oracle_;
};

}  // namespace

RandomModel MakeRandomModel(uint64_t seed) { return Writer(seed).Write(); }

}  // namespace attribution::capture
