// Needle in a haystack, served by libtamis: the model's attention goes through a paged KV cache and a selector, so one program
// compares dense attention, StreamingLLM and TokenSelect on the same haystacks.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cblas.h>

#include "model.hpp"
#include "table.hpp"
#include "tokenizer.hpp"
#include "trial.hpp"

namespace {

using namespace haystack;

struct Options {
  std::string model = "Models/haystack", text, json, device = "cpu", dtype = "f32", scoring = "none";
  std::vector<std::int64_t> lengths{512, 1024, 2048, 4096, 8192, 16384};
  std::vector<std::string> methods{"dense", "streaming", "tokenselect"};
  std::vector<int> chunks{16, 32, 64, 128};
  std::int64_t chunks_at = 4096;
  int trials = 250, needles = 10, threads = 0;
  int sinks = 8, top_k = 192, recent = 128, chunk = 64, pool = 0;
  float similarity = 0.9f;
  std::uint64_t seed = 1;
  bool markdown = false;
};

const std::map<std::string, tamis_method> kMethods{
    {"dense", TAMIS_SELECT_DENSE}, {"streaming", TAMIS_SELECT_STREAMING}, {"tokenselect", TAMIS_SELECT_TOKENSELECT}};
const std::map<std::string, tamis_dtype> kDtypes{{"f32", TAMIS_F32}, {"f16", TAMIS_F16}, {"bf16", TAMIS_BF16}, {"i8", TAMIS_I8}};
const std::map<std::string, tamis_dtype> kScoring{{"none", -1}, {"bf16", TAMIS_BF16}, {"i8", TAMIS_I8}};

void declare(CLI::App &app, Options &o) {
  app.option_defaults()->always_capture_default();
  app.add_option("--model", o.model, "folder with config.json, model.safetensors and tokenizer.json");
  app.add_option("--text", o.text, "UTF-8 text to hide the needles in (default: text/haystack.txt of the model)")->always_capture_default(false);
  app.add_option("--lengths", o.lengths, "tokens of haystack, question and answer")->delimiter(',')->check(CLI::Range(16, 1 << 24));
  app.add_option("--methods", o.methods, "dense, streaming, tokenselect")->delimiter(',')->check(CLI::IsMember(kMethods));
  app.add_option("--trials", o.trials, "questions per length and method, rounded up to whole haystacks")->check(CLI::Range(1, 1000000));
  app.add_option("--needles", o.needles, "needles, and so questions, per haystack")->check(CLI::Range(1, 1000));
  app.add_option("--sinks", o.sinks, "first tokens that are always attended")->check(CLI::Range(0, 1 << 20));
  app.add_option("--topk", o.top_k, "tokens selected by score; StreamingLLM spends them on its window")->check(CLI::Range(0, 1 << 20));
  app.add_option("--recent", o.recent, "last tokens that are always attended; at least --chunk")->check(CLI::Range(1, 1 << 20));
  app.add_option("--chunk", o.chunk, "prefill tokens that share one selection")->check(CLI::Range(1, 1 << 20));
  app.add_option("--pool", o.pool, "max-pool of the votes over so many neighbours: odd, or 0 for none")->check(CLI::Range(0, 1 << 20));
  app.add_option("--similarity", o.similarity, "cosine from which a decode step reuses a selection; above 1: never");
  app.add_option("--chunks", o.chunks, "prefill chunk sizes of the second table")->delimiter(',')->check(CLI::Range(1, 1 << 20));
  app.add_option("--chunks-at", o.chunks_at, "length of the second table; 0 leaves it out")->check(CLI::Range(0, 1 << 24));
  app.add_option("--threads", o.threads, "threads of the library; 0: all cores")->check(CLI::Range(0, 1024));
  app.add_option("--seed", o.seed, "same seed, same haystacks");
  app.add_option("--dtype", o.dtype, "KV cache: f32, f16, bf16 or i8")->check(CLI::IsMember(kDtypes));
  app.add_option("--scoring", o.scoring, "second copy of the keys for scoring: none, bf16 or i8")->check(CLI::IsMember(kScoring));
  app.add_option("--device", o.device, "cpu or opencl")->check(CLI::IsMember({"cpu", "opencl"}));
  app.add_option("--json", o.json, "also write the results to this file")->always_capture_default(false);
  app.add_flag("--markdown", o.markdown, "print Markdown tables");
}

std::string read_file(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be opened");
  try {
    return {std::istreambuf_iterator<char>(file), {}};
  } catch (const std::ios_base::failure &) {  // a folder opens, and fails at the first read
    throw std::runtime_error(path + ": cannot be read");
  }
}

HaystackMaker make_haystacks(const Options &o) {
  const Tokenizer tokenizer(o.model + "/tokenizer.json");
  const std::string path = o.text.empty() ? o.model + "/text/haystack.txt" : o.text;
  const std::string text = read_file(path);
  try {
    return HaystackMaker(tokenizer, tokenizer.encode(text));
  } catch (const std::runtime_error &e) {
    throw std::runtime_error(path + ": " + e.what());
  }
}

tamis::Context make_context(const Options &o) {
  auto options = tamis::defaults<tamis_context_options>();
  options.device = o.device == "opencl" ? TAMIS_DEVICE_OPENCL : TAMIS_DEVICE_CPU;
  options.n_threads = o.threads;
  return tamis::Context(options);
}

Settings settings(const Options &o, tamis_method method) { return {method, o.sinks, o.top_k, o.recent, o.chunk, o.pool, o.similarity}; }

void write_json(std::ofstream &file, const Options &o, const std::string &device, const std::vector<Cell> &methods, const std::vector<Cell> &chunks) {
  nlohmann::ordered_json json{{"device", device}, {"dtype", o.dtype}, {"scoring", o.scoring}, {"threads", o.threads}, {"seed", o.seed}};
  for (const Cell &cell : methods) json["methods"].push_back(to_json(cell));
  for (const Cell &cell : chunks) json["chunks"].push_back(to_json(cell));
  file << json.dump(1) << '\n';
  if (!file.flush()) throw std::runtime_error(o.json + ": cannot be written");
}

void run(const Options &o) {
  if (o.recent < o.chunk)
    throw std::runtime_error("--recent is " + std::to_string(o.recent) + "; expected at least --chunk, " + std::to_string(o.chunk));
  // this model's products are too small to share between threads, and OpenBLAS's own would spin against the library's
  openblas_set_num_threads(1);

  std::ofstream json;
  if (!o.json.empty()) json.open(o.json);  // before the work, not after it
  if (!o.json.empty() && !json) throw std::runtime_error(o.json + ": cannot be written");
  const tamis::Context context = make_context(o);
  Model model(context, o.model);
  const HaystackMaker maker = make_haystacks(o);
  for (const std::int64_t length : o.lengths) maker.check(length, o.needles);
  if (o.chunks_at > 0) maker.check(o.chunks_at, o.needles);
  const bool terminal = isatty(STDERR_FILENO) == 1;
  const auto note = [terminal](const std::string &line) {
    if (terminal) std::cerr << "\r\x1b[K" << line << std::flush;
  };
  Experiment experiment{context, model, maker, o.trials, o.needles, o.seed, kDtypes.at(o.dtype), kScoring.at(o.scoring), note};

  std::vector<Cell> methods, chunks;
  for (const std::int64_t length : o.lengths)
    for (const std::string &method : o.methods) methods.push_back(run_cell(experiment, length, settings(o, kMethods.at(method))));
  const bool selecting = std::find(o.methods.begin(), o.methods.end(), "tokenselect") != o.methods.end();
  if (selecting && o.chunks_at > 0)
    for (const int chunk : o.chunks) {
      Settings s = settings(o, TAMIS_SELECT_TOKENSELECT);
      s.chunk = chunk;
      s.recent = std::max(s.recent, chunk);
      chunks.push_back(run_cell(experiment, o.chunks_at, s));
    }
  note("");

  const Style style = o.markdown ? Style::markdown : Style::text;
  const std::string device = context.device_name();
  std::cout << "Exact answers to needles in real text; the model was trained on " << model.config().trained_length << " tokens.\n"
            << device << ", " << context.threads() << (context.threads() == 1 ? " thread" : " threads") << ", " << o.dtype << " cache, seed " << o.seed
            << ", " << experiment.questions() << " questions a row.\n"
            << "TokenSelect: " << o.sinks << " sinks + " << o.top_k << " selected + " << o.recent << " recent, chunks of " << o.chunk;
  if (o.scoring != "none") std::cout << ", scored on " << o.scoring << " keys";
  if (o.pool > 1) std::cout << ", votes pooled over " << o.pool;
  std::cout << "; StreamingLLM: " << o.sinks << " sinks + " << o.top_k + o.recent << " recent.\n\n";
  print_methods(std::cout, methods, style);
  std::cout << "\nexact: both answer tokens right, in % (95 % Wilson interval), and by the needle's depth. tokens/step: keys one query attends in one\n"
               "layer. KV/step: keys and values read per decoded token, all layers, scoring included. prefill: one haystack. (x): how many times less than dense.\n";
  if (!chunks.empty()) {
    std::cout << "\nThe prefill chunk (its tokens share one selection):\n\n";
    print_chunks(std::cout, chunks, style);
  }
  std::cout << std::flush;
  if (!o.json.empty()) write_json(json, o, device, methods, chunks);
}

}  // namespace

int main(int argc, char **argv) {
  Options options;
  CLI::App app{"Hides needles in a text and asks a small language model for them: dense attention, StreamingLLM, TokenSelect.", "tamis-haystack"};
  declare(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  try {
    run(options);
  } catch (const std::exception &e) {
    std::cerr << "tamis-haystack: " << e.what() << '\n';
    return 2;
  }
  return 0;
}
