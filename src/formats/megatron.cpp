#include "formats/megatron.h"

#include <cstring>
#include <limits>

namespace bm {
namespace {

constexpr char magic[] = "MMIDIDX\0";  // with the closing zero: nine bytes
constexpr size_t magic_size = 9;

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

Result<DType> dtype_of_code(uint8_t code) {
  switch (code) {
    case 1:
      return DType::u8;
    case 2:
      return DType::i8;
    case 3:
      return DType::i16;
    case 4:
      return DType::i32;
    case 5:
      return DType::i64;
    case 8:
      return DType::u16;
    default:
      return bad_input("dtype code " + std::to_string(code) + " is no integer type",
                       "Tokens are stored as uint16 or int32");
  }
}

std::string prefix_of(const std::string& path) {
  for (std::string_view ending : {".bin", ".idx"})
    if (ends_with(path, ending)) return path.substr(0, path.size() - 4);
  return path;
}

template <class T>
bool copy_out(std::span<const std::byte> bytes, size_t& at, std::vector<T>& out, uint64_t count) {
  if (count > (bytes.size() - at) / sizeof(T)) return false;
  out.resize(count);
  if (count) std::memcpy(out.data(), bytes.data() + at, count * sizeof(T));
  at += count * sizeof(T);
  return true;
}

}  // namespace

struct MegatronWriter::State {
  AtomicFile bin;
  std::string prefix;
  int64_t vocab;
  bool wide;  // i32 instead of u16
  uint64_t bytes = 0, tokens = 0;
  std::vector<int32_t> lengths;
  std::vector<int64_t> offsets;
  std::vector<int64_t> documents = {0};
  std::vector<uint16_t> narrow;
};

MegatronWriter::MegatronWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
MegatronWriter::MegatronWriter(MegatronWriter&&) noexcept = default;
MegatronWriter& MegatronWriter::operator=(MegatronWriter&&) noexcept = default;
MegatronWriter::~MegatronWriter() = default;

Result<MegatronWriter> MegatronWriter::create(const std::string& prefix, int64_t vocab_size) {
  BM_TRY(AtomicFile bin, AtomicFile::create(prefix + ".bin"));
  return MegatronWriter(std::make_unique<State>(
      State{std::move(bin), prefix, vocab_size, vocab_size >= 65500, 0, 0, {}, {}, {0}, {}}));
}

Status MegatronWriter::add_sequence(std::span<const int32_t> tokens) {
  if (tokens.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    return bad_input("a sequence of " + std::to_string(tokens.size()) + " tokens does not fit the format")
        .in(state_->prefix + ".bin");
  for (int32_t token : tokens)
    if (token < 0 || token >= state_->vocab)
      return bad_input("token " + std::to_string(token) + " is outside the vocabulary of " +
                       std::to_string(state_->vocab))
          .in("sequence " + std::to_string(sequences()))
          .in(state_->prefix + ".bin");
  if (state_->wide) {
    BM_CHECK_OK(state_->bin.append(std::as_bytes(tokens)));
  } else {
    state_->narrow.assign(tokens.begin(), tokens.end());
    BM_CHECK_OK(state_->bin.append(std::as_bytes(std::span<const uint16_t>(state_->narrow))));
  }
  state_->lengths.push_back(static_cast<int32_t>(tokens.size()));
  state_->offsets.push_back(static_cast<int64_t>(state_->bytes));
  state_->bytes += tokens.size() * (state_->wide ? 4 : 2);
  state_->tokens += tokens.size();
  return {};
}

void MegatronWriter::end_document() {
  state_->documents.push_back(static_cast<int64_t>(state_->lengths.size()));
}
uint64_t MegatronWriter::sequences() const { return state_->lengths.size(); }
uint64_t MegatronWriter::tokens() const { return state_->tokens; }

Status MegatronWriter::commit() {
  if (state_->documents.back() != static_cast<int64_t>(state_->lengths.size())) end_document();
  std::string head(magic, magic_size);
  put(head, uint64_t{1});
  put(head, static_cast<uint8_t>(state_->wide ? 4 : 8));
  put(head, static_cast<uint64_t>(state_->lengths.size()));
  put(head, static_cast<uint64_t>(state_->documents.size()));
  BM_TRY(AtomicFile index, AtomicFile::create(state_->prefix + ".idx"));
  BM_CHECK_OK(index.append(head));
  BM_CHECK_OK(index.append(std::as_bytes(std::span(state_->lengths))));
  BM_CHECK_OK(index.append(std::as_bytes(std::span(state_->offsets))));
  BM_CHECK_OK(index.append(std::as_bytes(std::span(state_->documents))));
  BM_CHECK_OK(state_->bin.commit());
  return index.commit();
}

Result<MegatronReader> MegatronReader::open(const std::string& path) {
  std::string prefix = prefix_of(path);
  constexpr const char* again = "Build the corpus again, or copy both files again";
  MegatronReader reader;
  BM_TRY(MappedFile index, MappedFile::open(prefix + ".idx"));
  BM_TRY(reader.bin_, MappedFile::open(prefix + ".bin"));
  auto bytes = index.bytes();
  auto bad = [&](const std::string& what) { return bad_input(what, again).in(index.path()); };
  constexpr size_t head = magic_size + 8 + 1 + 8 + 8;
  if (bytes.size() < head || std::memcmp(bytes.data(), magic, magic_size) != 0)
    return bad("is no Megatron index (it does not begin with MMIDIDX)");
  uint64_t version, sequences, documents;
  std::memcpy(&version, bytes.data() + 9, 8);
  std::memcpy(&sequences, bytes.data() + 18, 8);
  std::memcpy(&documents, bytes.data() + 26, 8);
  if (version != 1) return bad("version " + std::to_string(version) + " is not supported");
  BM_TRY(reader.dtype_, dtype_of_code(static_cast<uint8_t>(bytes[17])).in(index.path()));
  size_t at = head;
  if (!copy_out(bytes, at, reader.lengths_, sequences) || !copy_out(bytes, at, reader.offsets_, sequences) ||
      !copy_out(bytes, at, reader.documents_, documents))
    return bad("file is " + std::to_string(bytes.size()) + " bytes, too few for " +
               std::to_string(sequences) + " sequences: truncated");
  uint64_t width = dtype_bits(reader.dtype_) / 8;
  for (uint64_t i = 0; i < sequences; ++i) {
    int64_t length = reader.lengths_[i], offset = reader.offsets_[i];
    if (length < 0 || offset < 0 || static_cast<uint64_t>(offset) > reader.bin_.size() ||
        static_cast<uint64_t>(length) * width > reader.bin_.size() - static_cast<uint64_t>(offset))
      return bad("sequence " + std::to_string(i) + " (" + std::to_string(length) + " tokens at byte " +
                 std::to_string(offset) + ") lies outside " + path_name(reader.bin_.path()) + " of " +
                 std::to_string(reader.bin_.size()) + " bytes");
    reader.tokens_ += static_cast<uint64_t>(length);
  }
  for (uint64_t i = 0; i < documents; ++i)
    if (reader.documents_[i] < (i ? reader.documents_[i - 1] : 0) ||
        static_cast<uint64_t>(reader.documents_[i]) > sequences)
      return bad("document " + std::to_string(i) + " starts at sequence " +
                 std::to_string(reader.documents_[i]));
  return reader;
}

void MegatronReader::read(uint64_t sequence, int32_t* out) const {
  const std::byte* from = bin_.bytes().data() + offsets_[sequence];
  auto widen = [&](auto element) {
    for (int32_t i = 0; i < lengths_[sequence]; ++i) {
      std::memcpy(&element, from + static_cast<size_t>(i) * sizeof element, sizeof element);
      out[i] = static_cast<int32_t>(element);
    }
  };
  switch (dtype_) {
    case DType::u8:
      return widen(uint8_t{});
    case DType::i8:
      return widen(int8_t{});
    case DType::i16:
      return widen(int16_t{});
    case DType::i64:
      return widen(int64_t{});
    case DType::u16:
      return widen(uint16_t{});
    default:
      return widen(int32_t{});
  }
}

Status write_npy_tokens(const std::string& path, std::span<const uint32_t> tokens, bool as_u16) {
  std::string text = std::string("{'descr': '") + (as_u16 ? "<u2" : "<u4") +
                     "', 'fortran_order': False, 'shape': (" + std::to_string(tokens.size()) + ",), }";
  // Magic, version, length and text with its line end fill a multiple of 64 bytes.
  text.resize((10 + text.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');
  text += '\n';
  std::string head("\x93NUMPY\x01\0", 8);
  put(head, static_cast<uint16_t>(text.size()));
  BM_TRY(AtomicFile file, AtomicFile::create(path));
  BM_CHECK_OK(file.append(head + text));
  if (!as_u16) {
    BM_CHECK_OK(file.append(std::as_bytes(tokens)));
    return file.commit();
  }
  std::vector<uint16_t> narrow;
  for (size_t i = 0; i < tokens.size(); i += 65536) {
    auto part = tokens.subspan(i, std::min<size_t>(65536, tokens.size() - i));
    for (uint32_t token : part)
      if (token > 0xffff)
        return bad_input("token " + std::to_string(token) + " does not fit 16 bits").in(path);
    narrow.assign(part.begin(), part.end());
    BM_CHECK_OK(file.append(std::as_bytes(std::span<const uint16_t>(narrow))));
  }
  return file.commit();
}

}  // namespace bm
