// Exports of the erasure code: encode, and reconstruct any shards from any K (paper 11).
#include <cstring>

#include "../cpu/common.hpp"
#include "gf256.hpp"

namespace magnet {
namespace {

uint8_t* address(uint64_t value, uint64_t length, const char* what) {
  if (value == 0 && length > 0) fail(MG_E_INVALID, "Reed-Solomon: a %s shard has no buffer", what);
  return reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(value));
}

/** Row of the generator matrix: the identity above the parity rows. */
void copy_generator_row(const gf::Matrix& parity, uint32_t shard, gf::Matrix& out, uint32_t row) {
  for (uint32_t j = 0; j < parity.cols; j++) {
    const uint8_t unit = shard == j ? 1 : 0;
    out.at(row, j) = shard < parity.cols ? unit : parity.at(shard - parity.cols, j);
  }
}

void reconstruct(uint32_t k, uint32_t m, const uint64_t* shards, const uint8_t* states,
                 uint64_t length, uint32_t threads, const int32_t* cancel) {
  const gf::Matrix parity = gf::parity_matrix(k, m);
  std::vector<uint32_t> used;
  std::vector<uint32_t> wanted;
  for (uint32_t i = 0; i < k + m; i++) {
    if (states[i] > MG_RS_WANTED) fail(MG_E_INVALID, "Reed-Solomon: state %u", states[i]);
    if (states[i] == MG_RS_PRESENT && used.size() < k) used.push_back(i);
    if (states[i] == MG_RS_WANTED) wanted.push_back(i);
  }
  if (used.size() < k)
    fail(MG_E_INVALID, "Reed-Solomon %u+%u: only %u shards are present", k, m,
         static_cast<unsigned>(used.size()));
  if (wanted.empty() || length == 0) return;
  gf::Matrix chosen(k, k);
  for (uint32_t r = 0; r < k; r++) copy_generator_row(parity, used[r], chosen, r);
  gf::Matrix outputs(static_cast<uint32_t>(wanted.size()), k);
  for (uint32_t r = 0; r < wanted.size(); r++) copy_generator_row(parity, wanted[r], outputs, r);
  const gf::Matrix rows = gf::product(outputs, gf::inverse(chosen));
  gf::Job job{rows, {}, {}, length};
  for (const uint32_t i : used) job.src.push_back(address(shards[i], length, "present"));
  for (const uint32_t i : wanted) job.dst.push_back(address(shards[i], length, "wanted"));
  gf::apply(job, threads, cancel);
}

}  // namespace
}  // namespace magnet

using namespace magnet;

extern "C" {

int32_t mg_rs_matrix(uint32_t data_shards, uint32_t parity_shards, uint32_t* out_id, uint8_t* out) {
  return guard([&] {
    require(out_id != nullptr, MG_E_INVALID, "mg_rs_matrix: out_id is null");
    *out_id = gf::matrix_id(data_shards, parity_shards);
    if (out == nullptr) return int32_t{MG_OK};
    const gf::Matrix rows = gf::parity_matrix(data_shards, parity_shards);
    std::memcpy(out, rows.values.data(), rows.values.size());
    return int32_t{MG_OK};
  });
}

int32_t mg_rs_encode(uint32_t data_shards, uint32_t parity_shards, const uint64_t* data,
                     const uint64_t* parity, uint64_t length, uint32_t threads,
                     const int32_t* cancel) {
  return guard([&] {
    const gf::Matrix rows = gf::parity_matrix(data_shards, parity_shards);
    require(data != nullptr && parity != nullptr, MG_E_INVALID, "mg_rs_encode: a table is null");
    gf::Job job{rows, {}, {}, length};
    for (uint32_t j = 0; j < data_shards; j++) job.src.push_back(address(data[j], length, "data"));
    for (uint32_t i = 0; i < parity_shards; i++)
      job.dst.push_back(address(parity[i], length, "parity"));
    gf::apply(job, threads, cancel);
    return int32_t{MG_OK};
  });
}

int32_t mg_rs_reconstruct(uint32_t data_shards, uint32_t parity_shards, const uint64_t* shards,
                          const uint8_t* states, uint64_t length, uint32_t threads,
                          const int32_t* cancel) {
  return guard([&] {
    gf::matrix_id(data_shards, parity_shards);
    require(shards != nullptr && states != nullptr, MG_E_INVALID,
            "mg_rs_reconstruct: a table is null");
    reconstruct(data_shards, parity_shards, shards, states, length, threads, cancel);
    return int32_t{MG_OK};
  });
}
}
